# SPDX-License-Identifier: GPL-2.0
# Each allocation fails in turn: when the module loads, a group's type changes, a disk reads, user space maps.
# shellcheck shell=sh
# The kernel has a line for each, which nobody reads at this speed.
: "${VM_UNIT:?runs in a machine of scripts/vm only, whose disks it overwrites}"
dmesg -n 3
KO=$(find /lib/modules -name rust_iommu.ko)
iommu_pages() { sed -n 's/^nr_iommu_pages //p' /proc/vmstat; }
kmemleak_clear
check "load: each $LOAD_STEP. allocation" inject -s "$LOAD_STEP" load "$KO"
# Each CPU adds what it has counted once a second.
no_pages() { [ "$(iommu_pages)" = 0 ]; }
check "no IOMMU page is left" wait_until 5 no_pages
insmod "$KO" dma=rust && load nvme || fatal "no module"
wait_for /dev/nvme0n1 20 || fatal "no disk"
nvme=$(bdf_of nvme)
check "read: each allocation" inject read /dev/nvme0n1
unbind "$nvme"
type=/sys/kernel/iommu_groups/$(group_of "$nvme")/type
check "type identity" inject type "$type" identity DMA
check "type DMA" inject type "$type" DMA-FQ identity
modprobe vfio_iommu_type1 allow_unsafe_interrupts=1
load vfio-pci
test=$(bdf_of 1b36:0005)
bind "$test" vfio-pci
check "claim and map for user space: each allocation" inject claim "$test"
echo DMA >"$type"
bind "$nvme" nvme
wait_for /dev/nvme0n1 20 || fatal "no disk afterwards"
check "I/O afterwards" dd if=/dev/nvme0n1 of=/dev/null bs=64k count=16 iflag=direct
check "no leak" kmemleak_check
plan
