# SPDX-License-Identifier: GPL-2.0
# Second half of in_root(): runs in a fresh mount namespace, binds what the
# command needs into the tool root and changes into it.
# usage: enter.sh ROOT CWD COMMAND...
# shellcheck shell=bash
set -eu
root=$1 cwd=$2
shift 2

mount --make-rprivate / 2>/dev/null || :
for d in dev proc sys tmp; do
	mount --rbind "/$d" "$root/$d"
done
[ -e /etc/resolv.conf ] && { mount --bind /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || :; }
IFS=:
for d in ${RUST_IOMMU_BINDS:-}; do
	case "$d" in
	"" | / | /tmp | /tmp/*) continue ;;
	esac
	[ -e "$d" ] || continue
	if [ -d "$d" ]; then mkdir -p "$root$d"; else mkdir -p "$root${d%/*}" && : >>"$root$d"; fi
	mount --rbind "$d" "$root$d"
done
unset IFS RUST_IOMMU_BINDS
# The host's own tool chain variables would point outside the root.
unset RUSTUP_HOME CARGO_HOME RUSTUP_TOOLCHAIN RUSTC RUSTFLAGS LD_LIBRARY_PATH LD_PRELOAD PYTHONHOME PYTHONPATH
export PATH=/usr/local/bin:/usr/lib/llvm-19/bin:/usr/bin:/usr/sbin:/bin:/sbin LC_ALL=C.UTF-8
exec chroot "$root" /bin/sh -c 'cd "$1" && shift && exec "$@"' sh "$cwd" "$@"
