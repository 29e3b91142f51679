#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Memory that firmware wants a device to reach, at odd ends: a device whose DMA there never stops loses none, whatever
# happens to its group. The kernel leaves the memory at 48 MiB alone; 00:08.0 is the device, 00:08.1 shares its group.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_test_vm "takes devices, a table and memory made for it"
need_ko
need_program iommu_testdev vfio_claim
FIRST=0x3000800 LAST_PAGE=0x3001000
dev=0000:00:08.0 sibling=0000:00:08.1
iommu_testdev -l $dev gpa $FIRST 64 >/tmp/first & one=$!
sleep 0.5
check "it loads" insmod "$KO"
modprobe vfio_iommu_type1 allow_unsafe_interrupts=1
load vfio-pci
group=$(group_dir $dev)
eq "both are in one group" "$(group_of $dev)" "$(group_of $sibling)"
check "the memory is reserved, in whole pages" grep -q "0x0*3000000 0x0*3001fff direct" "$group/reserved_regions"
for type in identity DMA DMA-FQ identity DMA-FQ DMA; do
	check "type $type" set_type "$group" $type
	sleep 0.1
	eq "type $type: so does the other one of the group" ok "$(iommu_testdev -q $sibling gpa $LAST_PAGE 64)"
	[ $type = identity ] || eq "type $type: memory beside it is not reached" "write blocked" "$(iommu_testdev -q 0000:00:09.0 gpa 0x3003000 64)"
done
bind $dev vfio-pci
bind $sibling vfio-pci
check_not "user space does not get it" vfio_claim $dev true
check "the log says why" sh -c "dmesg | grep -qi '1:1 IOMMU mapping'"
unbind $dev
unbind $sibling
check "release" release_units
sleep 0.3
kill $one
wait $one
say "$dev: $(cat /tmp/first)"
check "the device has reached its memory all the time" grep -q "[1-9][0-9]*[0-9][0-9] fired, 0 lost" /tmp/first
plan
