#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Gives the first of DEVICE (vendor:device, several) that there is to vfio-pci and runs vfio_dma on it; FAULT is the text of
# a fault line; RIGHTS is empty, or "write-implies-read" if the unit's page tables cannot keep the two apart.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_module
need_disruptive "binds vfio-pci, without interrupt remapping"
for d in ${DEVICE:-1234:11e8 1b36:0005}; do BDF=$(bdf_of "$d") && break; done
[ "$BDF" ] || skip_all "no edu (1234:11e8) or iommu-testdev (1b36:0005) of QEMU"
[ -z "$(driver_of "$BDF")" ] || skip_all "$BDF has a driver"
need_program vfio_dma
[ ! -d /sys/module/rust_iommu ] || : "${FAULT:=rust_iommu: }"
PAGES=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
# No interrupt remapping without the C driver: VFIO wants to be told that this is known.
modprobe vfio_iommu_type1 allow_unsafe_interrupts=1 || skip_all "no vfio_iommu_type1"
[ "$(cat /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts)" = Y ] ||
	skip_all "vfio_iommu_type1 was loaded without allow_unsafe_interrupts=1"
modprobe vfio-pci || skip_all "no vfio-pci"
bind "$BDF" vfio-pci
had=$(cat $PAGES)
echo $((had + 1)) >$PAGES
quiet_log
# shellcheck disable=SC2086
vfio_dma "$BDF" "$FAULT" ${RIGHTS:-}
status=$?
echo "$had" >$PAGES
end $status
