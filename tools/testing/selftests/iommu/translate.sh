#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Does the unit translate? A DMA to an address nobody mapped is blocked exactly if a driver is in force.
if [ "$VM_DRIVER" = none ]; then want=0 text="control: no driver, DMA is not blocked"; else want=1 text="DMA to an unmapped address is blocked"; fi
out=$(iommu_testdev -a 1b36:0005 gpa auto 64 2>&1)
got=$?
echo "$out" | sed 's/^/# /'
eq "$text" $want $got
plan
