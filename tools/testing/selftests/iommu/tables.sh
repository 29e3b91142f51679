# SPDX-License-Identifier: GPL-2.0
# With a broken table of units: the module loads or says why not, and I/O works either way.
# shellcheck shell=sh
: "${VM_UNIT:?runs in a machine of scripts/vm only, whose disks it overwrites}"
insmod "$(find /lib/modules -name rust_iommu.ko)" 2>/dev/null
echo "loaded $?"
load nvme
wait_for /dev/nvme0n1 20 || exit 1
dd if=/dev/urandom of=/tmp/data bs=64k count=16 2>/dev/null
dd if=/tmp/data of=/dev/nvme0n1 bs=64k oflag=direct 2>/dev/null || exit 1
dd if=/dev/nvme0n1 of=/tmp/back bs=64k count=16 iflag=direct 2>/dev/null || exit 1
cmp /tmp/data /tmp/back || exit 1
echo "lines $(dmesg | grep -c ' rust_iommu: \|^rust_iommu: ')"
[ ! -e /sys/bus/pci/devices/0000:00:08.0/iommu_group ] || echo grouped
dmesg | grep 'rust_iommu: '
