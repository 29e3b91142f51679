#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Does the unit translate? A DMA to an address nobody mapped is blocked exactly if a driver is in force.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_module
need_device 1b36:0005 "iommu-testdev of QEMU"
need_program iommu_testdev
want=1 text="DMA to an unmapped address is blocked"
if [ "${VM_DRIVER:-}" = none ]; then want=0 text="control: no driver, DMA is not blocked"; fi
out=$(iommu_testdev -a 1b36:0005 gpa auto 64 2>&1)
got=$?
say "$out"
eq "$text" $want $got
plan
