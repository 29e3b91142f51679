#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Installs this tree on a copy of the Debian machine, as its user would, and makes disk images of
# what comes of it. Prints a TAP line for each thing that was to happen. Runs as root of a mount
# namespace of its own (see debian.sh).
#
# usage: make.sh BASE OUT KEPT SOURCE
#   BASE    the Debian machine's folder, which stays as it is
#   OUT     gets NAME.img, NAME.vmlinuz, NAME.initrd and NAME.parameters, NAME being
#           initramfs-tools, dracut and uninstalled
#   KEPT    a folder for the kernel's build folder, from run to run
#   SOURCE  the tree to install
set -euo pipefail
base=$1 out=$2 kept=$3 source=$4
number=0 failed=0
root=$out/root
log=$out/make.log

ok() {
	number=$((number + 1))
	echo "ok $number $1"
}
fail() {
	number=$((number + 1)) failed=$((failed + 1))
	echo "not ok $number $1"
}
# check TEXT COMMAND...
check() {
	local text=$1
	shift
	if "$@" >>"$log" 2>&1; then ok "$text"; else fail "$text"; fi
}
# says TEXT PATTERN COMMAND...: the command fails, and has this line.
says() {
	local text=$1 pattern=$2 output
	shift 2
	if output=$("$@" 2>&1); then
		fail "$text"
	elif grep -q -- "$pattern" <<<"$output"; then
		ok "$text"
	else
		fail "$text"
	fi
	echo "$output" >>"$log"
}
# inside COMMAND...: on the Debian machine.
inside() {
	echo "# $*" >>"$log"
	env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C chroot "$root" /bin/sh -c 'cd /root/rust_iommu 2>/dev/null || cd /; exec "$@"' sh "$@"
}
install() { inside packaging/install "$@"; }
module() { inside packaging/dkms/module "$@"; }

mount_all() {
	local d
	mkdir -p "$out/upper" "$out/work" "$root"
	mount --make-rprivate /
	mount -t overlay overlay -o "lowerdir=$base,upperdir=$out/upper,workdir=$out/work" "$root" 2>/dev/null ||
		mount -t overlay overlay -o "userxattr,lowerdir=$base,upperdir=$out/upper,workdir=$out/work" "$root"
	mkdir -p "$root/var/cache/rust_iommu" "$root/root/rust_iommu"
	for d in dev sys; do mount --rbind "/$d" "$root/$d"; done
	mount -t proc proc "$root/proc"
	for d in tmp run; do mount -t tmpfs tmpfs "$root/$d"; done
	mount --bind "$kept" "$root/var/cache/rust_iommu"
	# As it comes from a clone.
	(cd "$source" && git ls-files -z --cached --others --exclude-standard | tar --null -T - -c) | tar -x -C "$root/root/rust_iommu"
}

# What a machine has that mmdebstrap does not make.
settle() {
	echo "LABEL=rust-iommu / ext4 defaults 0 1" >"$root/etc/fstab"
	echo debian >"$root/etc/hostname"
	echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
	inside passwd -q -d root
}

# What only builds need does not go onto the disk.
trim() {
	local lib=$root/usr/lib/x86_64-linux-gnu
	rm -rf "$root"/usr/lib/{rustlib,gcc,llvm-*,linux-kbuild*} "$lib"/{libLLVM*,librustc*,libclang*,*.a} \
		"$root"/usr/src/{linux,rustc}-* "$root"/usr/include "$root"/var/{cache,lib}/apt
}

# image NAME: the machine's disk as it is now.
image() {
	# A bind has nothing of what is mounted below it.
	mount --bind "$root" "$root/mnt"
	mount --bind "$out" "$root/media"
	inside mke2fs -q -t ext4 -L rust-iommu -d /mnt "/media/$1.img" 3G
	umount "$root/media" "$root/mnt"
}

# boot_files NAME: what a boot loader would take.
boot_files() {
	cp "$root/boot/vmlinuz-$release" "$out/$1.vmlinuz"
	cp "$root/boot/initrd.img-$release" "$out/$1.initrd"
	# shellcheck disable=SC2016 # as grub-mkconfig reads it
	inside sh -c 'GRUB_CMDLINE_LINUX=; for f in /etc/default/grub.d/*.cfg; do [ ! -e "$f" ] || . "$f"; done; echo $GRUB_CMDLINE_LINUX' >"$out/$1.parameters"
}

# What check says when something is missing, or does not fit.
refusals() {
	local dpkg=$root/var/lib/dpkg/status
	cp -p "$dpkg" "$out/status"
	mv "$root/usr/bin/bindgen" "$root/usr/bin/bindgen.away"
	says "a missing tool is named with its package" "bindgen is missing: apt-get install bindgen" module check "$release"
	mv "$root/usr/bin/bindgen.away" "$root/usr/bin/bindgen"
	sed -i '/^Package: linux-source-7.3$/,/^$/s/^Version: .*/Version: 7.3.99-1/' "$dpkg"
	says "a kernel source of another version is refused" "linux-source-7.3 is 7.3.99-1, the headers of $release are" module check "$release"
	cp -p "$out/status" "$dpkg"
	mkdir -p "$root/lib/modules/7.4.0-test/build"
	cp "$root/lib/modules/$release/build/.config" "$root/lib/modules/7.4.0-test/build/"
	says "another kernel than 7.3 is refused" "for Linux 7.3 only" module check 7.4.0-test
	rm -r "$root/lib/modules/7.4.0-test"
	mkdir -p "$root/lib/modules/7.3.0-test/build"
	sed '/^CONFIG_RUST=/d' "$root/lib/modules/$release/build/.config" >"$root/lib/modules/7.3.0-test/build/.config"
	says "a kernel without CONFIG_RUST is refused" "without CONFIG_RUST" module check 7.3.0-test
	rm -r "$root/lib/modules/7.3.0-test"
}

vermagic() { inside modinfo -k "$release" -F vermagic "$1"; }
# Nothing of ours is left but the clone.
is_clean() {
	! (cd "$root" && find etc usr lib/modules var boot -xdev -iname '*rust*iommu*' | grep .)
}
# The second run does nothing.
twice() {
	local output
	output=$(install) || return
	echo "$output"
	[ "$(wc -l <<<"$output")" = 1 ]
}

mount_all
release=$(basename "$(echo "$root"/lib/modules/7.3.*)")
check "the headers have no Rust metadata, as Debian's" test ! -e "$root/lib/modules/$release/build/rust"
refusals
settle
check "installs with dkms and initramfs-tools" install
if [ "$failed" -gt 0 ]; then
	echo "1..$number"
	exit 1
fi
check "DKMS has it installed for $release" sh -c 'grep -q ": installed" "$1"' sh <(inside dkms status rust_iommu)
check "made for Debian's kernel" test "$(vermagic rust_iommu)" = "$(vermagic nvme)"
check "signed with DKMS's key" test "$(inside modinfo -k "$release" -F signer rust_iommu)" = "DKMS module signing key"
check "a second run changes nothing" twice
check "the kernel's build folder is kept" sh -c 'grep -q "using the build folder" "$1"' sh <(module prepare "$release" 2>&1)
trim
boot_files initramfs-tools
image initramfs-tools
check "installs with dracut" install --initrd dracut
boot_files dracut
# What is kept from run to run stays.
umount "$root/var/cache/rust_iommu"
check "uninstalls" install uninstall
check "leaves nothing behind" is_clean
check "uninstalls when there is nothing" install uninstall
check "makes the initramfs anew with initramfs-tools" inside update-initramfs -u -k "$release"
boot_files uninstalled
image uninstalled
rm -rf "$root" 2>/dev/null || :
echo "1..$number"
exit "$((failed > 0))"
