# SPDX-License-Identifier: GPL-2.0
# A device comes whose firmware's memory lies where another one of its group has mapped something else: it does not get in,
# and keeps its own.
# shellcheck shell=sh
: "${VM_UNIT:?runs in a machine of scripts/vm only, whose disks it overwrites}"
dev=0000:00:08.1
echo 1 >/sys/bus/pci/devices/$dev/remove
rmmod nvme
check "it loads" insmod "$(find /lib/modules -name rust_iommu.ko)" dma=rust
load nvme
wait_for /dev/nvme0n1 20 || fatal "no disk"
echo 1 >/sys/bus/pci/rescan
check "the log says why it is not attached" sh -c "dmesg | grep -q '$dev: not attached: firmware wants it to reach .0x2000-0x3fff'"
check_not "it has no group" test -e /sys/bus/pci/devices/$dev/iommu_group
# The core passes such a device through when it gives up on it.
eq "it keeps its memory" ok "$(iommu_testdev -q $dev gpa 0x2000 64)"
check "the other one works as before" dd if=/dev/nvme0n1 of=/dev/null bs=64k count=16 iflag=direct
plan
