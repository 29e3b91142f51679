# SPDX-License-Identifier: GPL-2.0
# A passed-through device reaches memory; claimed for user space it reaches nothing; then it does again.
# shellcheck shell=sh
dev=$(bdf_of 1b36:0005)
fire() { iommu_testdev -q "$dev" gpa auto 64; }
echo identity >/sys/kernel/iommu_groups/"$(group_of "$dev")"/type
eq "passed through, memory is reached" ok "$(fire)"
bind "$dev" vfio-pci
eq "claimed for user space, nothing is reached" "write blocked" "$(vfio_claim "$dev" iommu_testdev -q "$dev" gpa auto 64)"
eq "given back, memory is reached again" ok "$(fire)"
plan
