#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# On a distribution's kernel: the devices are ours, I/O works, release and removal, all without
# debugfs if LOCKDOWN is set (there its release file refuses every write).
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_test_vm "writes to the disk and gives the units back"
# Only our groups have names.
by_rust() { grep -q . "/sys/bus/pci/devices/$1/iommu_group/name"; }
if [ -n "$LOCKDOWN" ]; then
	mount -t securityfs security /sys/kernel/security
	echo "$LOCKDOWN" >/sys/kernel/security/lockdown
	check "lockdown is in force" grep -q "\[$LOCKDOWN\]" /sys/kernel/security/lockdown
fi
wait_for /dev/nvme0n1 20
for d in nvme e1000e; do
	check "$d: in a group of ours" by_rust "$(bdf_of $d)"
done
dd if=/bin/busybox of=/tmp/part bs=4096 count=200 2>/dev/null
check "NVMe: written" dd if=/tmp/part of=/dev/nvme0n1 bs=4096 oflag=direct
eq "NVMe: read back equal" "$(sha256sum </tmp/part)" "$(dd if=/dev/nvme0n1 bs=4096 count=200 iflag=direct 2>/dev/null | sha256sum)"
check_not "removal is refused while devices are translated" rmmod rust_iommu
for d in /sys/bus/pci/devices/*; do [ ! -e "$d/driver" ] || unbind "${d##*/}" 2>/dev/null; done
check "release" release_units
check "removal" rmmod rust_iommu
plan
