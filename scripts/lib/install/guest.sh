#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# What scripts/check-install wants to see on the booted Debian, in TAP. Comes to it on a SATA disk.
# usage: guest.sh translated|off|uninstalled SHA256-OF-THE-USB-DISK SHA256-OF-WHAT-THE-NETWORK-SERVES
# MODE: the module serves; it was told not to load; it was uninstalled
mode=$1 usb=$2 net=$3
number=0 failed=0
DRIVERS="nvme e1000e ahci xhci_hcd"

ok() {
	number=$((number + 1))
	echo "ok $number $1"
}
fail() {
	number=$((number + 1)) failed=$((failed + 1))
	echo "not ok $number $1${2:+ # $2}"
}
# check TEXT COMMAND...
check() {
	local text=$1 output
	shift
	if output=$("$@" 2>&1); then ok "$text"; else fail "$text" "$(tail -n 1 <<<"$output")"; fi
}
eq() { if [ "$2" = "$3" ]; then ok "$1"; else fail "$1" "want '$2', got '$3'"; fi; }
# quiet TEXT PATTERN: the kernel's log has no such line.
quiet() { eq "$1" "" "$(dmesg | grep -E -m 1 "$2")"; }

bdf_of() { basename "$(echo /sys/bus/pci/drivers/"$1"/0000:*)"; }
sum() { sha256sum | cut -d' ' -f1; }
# With what the driver says of a device; the only use of debugfs.
served() { grep "^$1 " /sys/kernel/debug/rust_iommu/devices; }
group_type() { cat "/sys/bus/pci/devices/$1/iommu_group/type" 2>/dev/null || echo none; }

# Data by each of the devices.
data() {
	local nic
	dd if=/dev/urandom of=/root/file bs=1M count=32 status=none
	sync
	eq "NVMe: the root file system has what was written" "$(sum </root/file)" \
		"$(echo 3 >/proc/sys/vm/drop_caches && dd if=/root/file iflag=direct bs=1M status=none | sum)"
	eq "USB disk" "$usb" "$(sum </dev/disk/by-id/usb-QEMU_QEMU_HARDDISK_data-0:0)"
	check "SATA disk" grep -q '^# What scripts/check-install' /dev/disk/by-id/ata-QEMU_HARDDISK_script
	nic=$(ls "/sys/bus/pci/drivers/e1000e/$(bdf_of e1000e)/net")
	ip link set "$nic" up
	ip addr add 10.0.2.15/24 dev "$nic"
	eq "network" "$net" "$(for _ in 1 2 3 4 5 6 7 8; do
		if exec 3<>/dev/tcp/10.0.2.100/80; then
			sum <&3
			break
		fi 2>/dev/null
		sleep 1
	done)"
}

translated() {
	local driver bdf
	check "the module is loaded" test -e /sys/module/rust_iommu
	eq "it is the one of DKMS" "/lib/modules/$(uname -r)/updates/dkms/rust_iommu.ko" "$(modinfo -n rust_iommu | sed 's/ko.*/ko/')"
	mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
	for driver in $DRIVERS; do
		bdf=$(bdf_of "$driver")
		# Without a driver the device's bus stands before its name.
		check "$driver: in a group before it had a driver" grep -q "pci $bdf: Adding to iommu group" <(dmesg)
		case $(group_type "$bdf") in
		DMA | DMA-FQ) ok "$driver: its group is translated" ;;
		*) fail "$driver: its group is translated" "$(group_type "$bdf")" ;;
		esac
		check "$driver: on page tables of the driver" grep -q "paging" <(served "$bdf")
		echo "# device $driver $bdf"
	done
	quiet "no device was there first" "in use by a driver that was there first"
	check "status is content" /usr/src/rust_iommu-*/packaging/install status
}

off() {
	check "the module is not loaded" test ! -e /sys/module/rust_iommu
	check "the log says why" grep -q "rust_iommu: not loaded: rust_iommu=off" <(dmesg)
	untranslated
	if /usr/src/rust_iommu-*/packaging/install status >/root/status; then fail "status ends with 1"; else ok "status ends with 1"; fi
	check "status says why" grep -q "command line says rust_iommu=off" /root/status
}

untranslated() {
	local driver
	for driver in $DRIVERS; do
		eq "$driver: no group" none "$(group_type "$(bdf_of "$driver")")"
		echo "# device $driver $(bdf_of "$driver")"
	done
}

uninstalled() {
	check "the module is not loaded" test ! -e /sys/module/rust_iommu
	check "there is no module" sh -c '! modinfo rust_iommu'
	eq "nothing of it in /etc" "" "$(find /etc -name '*rust_iommu*')"
	quiet "not a word of it in the log" "rust_iommu: "
	check "the kernel's own driver has the unit" sh -c 'ls /sys/class/iommu | grep -E "^(ivhd|dmar)0"'
}

echo "@@vm-ready@@"
dmesg -n 1
eq "root is on NVMe" nvme "$(findmnt -nvo SOURCE / | sed 's,/dev/\(nvme\)[0-9n]*$,\1,')"
check "systemd is up" sh -c 'systemctl is-system-running --wait | grep -E "running|degraded"'
"$mode"
data
quiet "no fault" "(IO_PAGE_FAULT|DMAR:.*fault|rust_iommu:.*fault)"
[ "$mode" != translated ] || served 0000 | sed 's/^/# /'
echo "1..$number"
echo "@@vm-exit $((failed > 0))@@"
systemctl poweroff
exit
