#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The core's trace events fire for what our own DMA path maps, and for faults, once somebody listens.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_test_vm "switches the events of the whole machine on and off"
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
T=/sys/kernel/tracing
[ -e $T/events/iommu/map ] || skip_all "this kernel has no trace events of the IOMMU core"
need_block
need_device 1b36:0005 "iommu-testdev of QEMU"
need_program iommu_testdev
seen() { grep -c " $1: " $T/trace; }
io() { dd if="$DISK" of=/dev/null bs=64k count=20 iflag=direct 2>/dev/null; }
io
eq "control: nobody listens" 0 "$(seen map)"
for e in map unmap io_page_fault; do echo 1 >$T/events/iommu/$e/enable; done
io
echo 0 >$T/events/iommu/map/enable
if [ "$(seen map)" -ge 20 ]; then ok "maps"; else fail "maps: $(seen map) for 20 reads"; fi
if [ "$(seen unmap)" -ge 20 ]; then ok "unmaps"; else fail "unmaps: $(seen unmap) for 20 reads"; fi
check_not "in whole pages only" sh -c "grep ' map: ' $T/trace | grep -vE 'iova=0x[0-9a-f]{13}000 - 0x[0-9a-f]{13}000 paddr=0x[0-9a-f]{13}000 '"
dev=$(bdf_of 1b36:0005)
eq "an illegal DMA is blocked" "write blocked" "$(iommu_testdev -q "$dev" 0x6db6d000 auto 4)"
# The emulated AMD unit does not say in its event who asked.
[ "$VM_UNIT" = amd-vi ] || check "its fault" wait_until 5 grep -q " io_page_fault: .*$dev iova=0x000000006db6d000 flags=0x0001" $T/trace
plan
