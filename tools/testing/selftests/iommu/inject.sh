#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Each allocation fails in turn: when the module loads, a group's type changes, a disk reads, user space maps.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_test_vm "loads and removes the module a thousand times"
need_ko
need_program inject
# The kernel has a line for each, which nobody reads at this speed.
dmesg -n 3
iommu_pages() { sed -n 's/^nr_iommu_pages //p' /proc/vmstat; }
kmemleak_clear
check "load: each $LOAD_STEP. allocation" inject -s "$LOAD_STEP" load "$KO"
# Each CPU adds what it has counted once a second.
no_pages() { [ "$(iommu_pages)" = 0 ]; }
check "no IOMMU page is left" wait_until 5 no_pages
insmod "$KO" dma=rust && load nvme || fatal "no module"
need_block unbind
check "read: each allocation" inject read "$DISK"
unbind "$BDF"
type=$(group_dir "$BDF")/type
check "type identity" inject type "$type" identity DMA
check "type DMA" inject type "$type" DMA-FQ identity
modprobe vfio_iommu_type1 allow_unsafe_interrupts=1
load vfio-pci
test=$(bdf_of 1b36:0005)
bind "$test" vfio-pci
check "claim and map for user space: each allocation" inject claim "$test"
echo DMA >"$type"
bind "$BDF" nvme
wait_for "$DISK" 20 || fatal "no disk afterwards"
check "I/O afterwards" dd if="$DISK" of=/dev/null bs=64k count=16 iflag=direct
check "no leak" kmemleak_check
plan
