#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The Debian 13 machine of scripts/check-install: what packaging/README.md has a user install, in
# a folder. Made once and kept by the hash of this file.
#
# usage: debian.sh            makes it if it is missing; prints its path
#        debian.sh run MAKE.SH-ARGUMENTS...
#                             runs make.sh with it, as root of a mount namespace of its own
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
. "$(dirname "$0")/../common.sh"
HERE=$TOP/scripts/lib/install
BASE=$CACHE/debian-$(digest <"$HERE/debian.sh")
# What packaging/README.md names, and what every Debian has that mmdebstrap leaves out.
PACKAGES=linux-image-amd64,linux-headers-amd64,linux-source-7.3,dkms,rustc,rust-src,bindgen,pahole,bc,bison,flex,libelf-dev,libssl-dev,python3
PACKAGES=$PACKAGES,systemd-sysv,udev,kmod,initramfs-tools,dracut-core,e2fsprogs,iproute2,login,make,gcc,xz-utils,zstd,openssl,pciutils

make_base() {
	local mode=root
	[ "$(id -u)" = 0 ] || mode=unshare
	rm -rf "$BASE.partial" 2>/dev/null || unshare --map-auto --map-root-user rm -rf "$BASE.partial"
	mmdebstrap --mode=$mode --variant=minbase --format=directory \
		--aptopt='Acquire::Retries "3"' --aptopt='APT::Sandbox::User "root"' \
		--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--setup-hook='printf "Package: src:linux src:linux-signed-amd64 src:linux-base\nPin: release n=trixie-backports\nPin-Priority: 900\n" >"$1/etc/apt/preferences.d/backports"' \
		--include="$PACKAGES" trixie "$BASE.partial" \
		"deb $MIRROR trixie main" "deb $MIRROR trixie-backports main"
	mv "$BASE.partial" "$BASE"
}

exec 9>"$CACHE/.debian-lock"
flock 9
if [ ! -d "$BASE" ]; then
	command -v mmdebstrap >/dev/null || die "mmdebstrap is missing: run scripts/setup as root, or 'apt-get install mmdebstrap uidmap'"
	need_space "$CACHE" 8000 "the Debian machine"
	say "making a Debian 13 machine (some minutes, about 800 MB to download)"
	log_run "$CACHE/log/debian.log" "Debian machine" make_base
fi
exec 9>&-
if [ "${1:-}" != run ]; then
	echo "$BASE"
	exit
fi
shift
ns=(--mount --pid --fork --kill-child)
[ "$(id -u)" = 0 ] || ns+=(--user --map-root-user --map-auto)
exec unshare "${ns[@]}" bash "$HERE/make.sh" "$BASE" "$@"
