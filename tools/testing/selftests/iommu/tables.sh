#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# With a broken table of units: the module loads or says why not, and I/O works either way. The host counts.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_test_vm "takes broken tables"
need_ko
insmod "$KO" 2>/dev/null
say "loaded $?"
load nvme
need_block
disk_fill || fatal "cannot write"
eq "I/O" "$SUM" "$(disk_sum)"
say "lines $(dmesg | grep -c ' rust_iommu: \|^rust_iommu: ')"
[ ! -e $PCI/0000:00:08.0/iommu_group ] || say grouped
dmesg | sed -n 's/.*rust_iommu: /# &/p'
plan
