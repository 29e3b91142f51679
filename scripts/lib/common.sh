# SPDX-License-Identifier: GPL-2.0
# Shared by the scripts: where things are, how messages look, how to enter the tool root.
# shellcheck shell=bash

# Progress and errors go to standard error; standard output is for results.
say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
	say "error: $*"
	exit 1
}

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CACHE=${RUST_IOMMU_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or XDG_CACHE_HOME}/.cache}/rust-iommu}
MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
JOBS=${JOBS:-$(nproc)}

# The first 16 hex digits of the SHA-256 of standard input.
digest() { sha256sum | cut -c1-16; }

# need_space DIR MIB WHAT: refuses to start what cannot end.
need_space() {
	local free
	free=$(df -Pm "$1" | awk 'NR==2 {print $4}')
	[ "$free" -ge "$2" ] || die "$3 needs $2 MiB in $1, which has $free MiB left: free some space or set RUST_IOMMU_CACHE to a folder on another disk"
}

# log_run LOG WHAT COMMAND...: runs COMMAND with its output in LOG; on failure
# shows the end of the log and says where the rest is.
log_run() {
	local log=$1 what=$2 start=$SECONDS pid rc=0
	shift 2
	mkdir -p "$(dirname "$log")"
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		sleep 1
		if [ $(((SECONDS - start) % 60)) = 0 ] && [ $SECONDS -gt $start ]; then
			say "$what: $((SECONDS - start)) s, $(wc -l <"$log") lines of log"
		fi
	done
	wait "$pid" || rc=$?
	if [ $rc != 0 ]; then
		tail -n 15 "$log" >&2
		die "$what failed (exit $rc); full log: $log"
	fi
	say "$what: done in $((SECONDS - start)) s"
}

# The kernel's series: another one than 7.3 only if the archive has no 7.3 (see choose_series).
SERIES=$(cat "$CACHE/series" 2>/dev/null || echo 7.3)

# The package list of the tool root, comments removed.
root_packages() { sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' -e "s/^linux-source-7\.3\$/linux-source-$SERIES/" "$TOP/scripts/lib/root.packages"; }

# The tool root, by the hash of what it is made from.
root_path() { echo "$CACHE/root-$( (root_packages && sed -n '/^# ROOT BEGIN/,/^# ROOT END/p' "$TOP/scripts/setup") | digest)"; }
ROOT=${RUST_IOMMU_ROOT:-$(root_path)}

# compiler_of KDIR: make's arguments for the compiler that a kernel was configured with.
compiler_of() {
	local conf=$1/include/config/auto.conf
	[ -f "$conf" ] || conf=$1/.config
	if grep -q '^CONFIG_CC_IS_CLANG=y' "$conf"; then
		echo LLVM=1
	else
		sed -n 's/^CONFIG_CC_VERSION_TEXT="\{0,1\}\([^ "]*\).*/CC=\1/p' "$conf"
	fi
}

# in_root COMMAND...: runs COMMAND inside the tool root, with the project, the
# cache, the kernel source and the working folder at the paths they have outside.
in_root() {
	[ "$ROOT" = / ] && {
		"$@"
		return
	}
	local ns=(--mount --fork --kill-child)
	[ "$(id -u)" = 0 ] || ns+=(--user --map-root-user --map-auto)
	RUST_IOMMU_BINDS="$TOP:$CACHE:${KERNEL_SRC:-}:${KDIR:-}:${IN_ROOT_BINDS:-}:$PWD" \
		unshare "${ns[@]}" bash "$TOP/scripts/lib/enter.sh" "$ROOT" "$PWD" "$@"
}
