# SPDX-License-Identifier: GPL-2.0
# Installs this tree in a Debian system, as packaging/README.md says, and makes a disk of that: in a mount
# namespace of its own, upon the system's unchanged folder. Nothing of the host is bound into what is removed.
#
# usage: unshare --mount bash install-disk.sh TOP BASE WORK KEPT
#   TOP   this tree; BASE: the system's folder; KEPT: where the kernel's prepared build folder stays
#   WORK  gets disk.img, vmlinuz, initrd.img, dracut.img, parameters and install.log
# shellcheck shell=bash
set -euo pipefail
top=$1 base=$2 work=$3 kept=$4
mount --make-rprivate /
mkdir -p "$work/layer" "$kept"
mount -t tmpfs -o size=100% layer "$work/layer"
mkdir "$work/layer"/{upper,scratch,tree,tools}
tree=$work/layer/tree tools=$work/layer/tools
mount -t overlay overlay -o "lowerdir=$base,upperdir=$work/layer/upper,workdir=$work/layer/scratch" "$tree"
mount -t proc proc "$tree/proc"
mkdir -p "$tree/var/cache/rust_iommu" "$tree/srv/rust_iommu"
mount --bind "$kept" "$tree/var/cache/rust_iommu"
release=$(basename "$(echo "$tree"/lib/modules/7.3*)")

# What a user has: a clone of the project.
git -C "$top" ls-files -z | tar -C "$top" -c --null --files-from=- | tar -C "$tree/srv/rust_iommu" -x --no-same-owner
in_tree() { chroot "$tree" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C "$@"; }
{
	in_tree /srv/rust_iommu/packaging/install --kernel "$release" --initrd initramfs-tools
	in_tree dkms status
	cp "$tree/boot/initrd.img-$release" "$work/initrd.img"
	# The same once more changes nothing.
	in_tree /srv/rust_iommu/packaging/install --kernel "$release" --initrd initramfs-tools | sed 's/^/again: /'
	in_tree /srv/rust_iommu/packaging/install --kernel "$release" --initrd dracut
	cp "$tree/boot/initrd.img-$release" "$work/dracut.img"
	cp "$work/initrd.img" "$tree/boot/initrd.img-$release"
	rm -rf "$tree/usr/lib/dracut/modules.d/50rust_iommu"
} >"$work/install.log" 2>&1
cp "$tree/boot/vmlinuz-$release" "$work/vmlinuz"
# The boot loader's parameters are those of the snippet that was installed.
(GRUB_CMDLINE_LINUX='' && . "$tree/etc/default/grub.d/rust_iommu.cfg" && echo "$GRUB_CMDLINE_LINUX") >"$work/parameters"

# A machine that one logs in to without a password, and without what only the build needed.
in_tree passwd -d root >/dev/null
echo debian >"$tree/etc/hostname"
echo "/dev/nvme0n1 / ext4 defaults 0 1" >"$tree/etc/fstab"
cp "$top/scripts/lib/install-guest.sh" "$tree/usr/local/sbin/check-install"
rm -rf "$tree"/usr/lib/llvm-* "$tree"/usr/lib/x86_64-linux-gnu/libLLVM* "$tree"/usr/lib/x86_64-linux-gnu/libclang* \
	"$tree"/usr/lib/x86_64-linux-gnu/librustc* "$tree/usr/lib/rustlib" "$tree"/usr/lib/gcc "$tree"/usr/src/linux-* \
	"$tree/usr/share/doc" "$tree/usr/share/locale" "$tree/srv/rust_iommu" "$tree"/usr/libexec/gcc
umount "$tree/var/cache/rust_iommu" "$tree/proc"

# The system's own mke2fs.
mount --bind "$base" "$tools"
mount -t tmpfs mnt "$tools/mnt"
mkdir "$tools/mnt/tree" "$tools/mnt/work"
mount --bind "$tree" "$tools/mnt/tree"
mount --bind "$work" "$tools/mnt/work"
rm -f "$work/disk.img"
chroot "$tools" mke2fs -q -t ext4 -d /mnt/tree /mnt/work/disk.img 4G
