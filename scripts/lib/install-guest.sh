#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What a Debian machine with this module installed looks like from inside, as results in TAP.
#
# usage: check.sh installed|off|uninstall|gone
#   installed  the module drives the units; off: booted with rust_iommu=off; uninstall: takes it from the machine;
#   gone       after that, with the C driver back
n=0
result() { # RESULT TEXT
	n=$((n + 1))
	echo "$1 $n - $2"
}
check() { # TEXT COMMAND...
	text=$1
	shift
	if "$@" >/tmp/out 2>&1; then result ok "$text"; else
		result "not ok" "$text"
		sed 's/^/# /' /tmp/out
	fi
}
install=$(echo /usr/src/rust_iommu-*/packaging/install)
# translated DRIVER: each of its devices is in a group that is translated, from the first bind on: a device
# whose driver came before the module would have no group.
translated() {
	found=1
	for d in /sys/bus/pci/drivers/"$1"/*:*; do
		[ -e "$d" ] || continue
		found=0
		echo "${d##*/} $(cat "$d/iommu_group/type")"
		case $(cat "$d/iommu_group/type") in DMA | DMA-FQ) ;; *) return 1 ;; esac
	done
	return $found
}
no_group() { [ -z "$(ls /sys/kernel/iommu_groups)" ]; }
root_on_nvme() { findmnt -no SOURCE / | grep -q '^/dev/nvme0n1$'; }
reads_and_writes() {
	head -c 8000000 /dev/urandom >/var/tmp/data && sync && echo 3 >/proc/sys/vm/drop_caches &&
		dd if=/var/tmp/data bs=1M iflag=direct 2>/dev/null | cmp - /var/tmp/data
}
no_splat() { ! dmesg | grep -E 'BUG|WARNING|Oops|refused|general protection'; }
served() { [ "$(grep -c " served by \(rust\|core\) maps [1-9]" /sys/kernel/debug/rust_iommu/devices)" -ge 3 ]; }

check "root is on NVMe" root_on_nvme
case $1 in
installed)
	for d in nvme e1000e ahci xhci_hcd; do
		check "$d: translated since its driver was bound" translated $d
	done
	check "its version is that of DKMS" test -d "/usr/src/rust_iommu-$(modinfo -F version rust_iommu)"
	check "the module is signed" sh -c "modinfo -F signer rust_iommu | grep ."
	check "data written and read back" reads_and_writes
	mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
	check "three devices have mapped by now" served
	check "packaging/install status says that all is translated" "$install" status
	;;
off)
	check "the module is not loaded" test ! -e /sys/module/rust_iommu
	check "nothing is translated" no_group
	check "the log says why" sh -c "dmesg | grep -q 'rust_iommu: not loaded: rust_iommu=off'"
	check "data written and read back" reads_and_writes
	;;
uninstall)
	check "uninstall" "$install" uninstall
	for f in /usr/src/rust_iommu-* /etc/initramfs-tools/hooks/rust_iommu /etc/initramfs-tools/scripts/init-top/rust_iommu \
		/etc/modprobe.d/rust_iommu.conf /etc/default/grub.d/rust_iommu.cfg /lib/modules/*/updates/dkms/rust_iommu.ko*; do
		check "gone: $f" test ! -e "$f"
	done
	sync
	;;
gone)
	check "no module" sh -c "! modinfo rust_iommu"
	for d in nvme e1000e; do
		check "$d: translated by the C driver" translated $d
	done
	check "data written and read back" reads_and_writes
	;;
esac
check "no splat" no_splat
echo "1..$n"
