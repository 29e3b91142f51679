# SPDX-License-Identifier: GPL-2.0
# Gives DEVICE (vendor:device) to vfio-pci and runs vfio_dma on it; FAULT is the text of a fault line;
# RIGHTS is empty, or "write-implies-read" if the unit's page tables cannot keep the two apart.
# shellcheck shell=sh
dev=$(bdf_of "$DEVICE")
# No interrupt remapping without the C driver: VFIO wants to be told that this is known.
modprobe vfio_iommu_type1 allow_unsafe_interrupts=1
load vfio-pci
bind "$dev" vfio-pci
echo 1 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
# shellcheck disable=SC2086
vfio_dma "$dev" "$FAULT" $RIGHTS
