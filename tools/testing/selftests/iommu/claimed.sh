#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A passed-through device reaches memory; claimed for user space it reaches nothing; then it does again.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_module
need_disruptive "switches a group's type and binds a driver"
need_device 1b36:0005 "iommu-testdev of QEMU"
need_program iommu_testdev vfio_claim
fire() { iommu_testdev -q "$BDF" gpa auto 64; }
set_type "$(group_dir "$BDF")" identity
eq "passed through, memory is reached" ok "$(fire)"
load vfio-pci
bind "$BDF" vfio-pci
eq "claimed for user space, nothing is reached" "write blocked" "$(vfio_claim "$BDF" iommu_testdev -q "$BDF" gpa auto 64)"
eq "given back, memory is reached again" ok "$(fire)"
plan
