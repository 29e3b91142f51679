#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A device comes whose firmware's memory lies where another one of its group has mapped something else: it does not get in,
# and keeps its own.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_test_vm "takes devices, a table and memory made for it"
need_ko
need_program iommu_testdev
dev=0000:00:08.1
echo 1 >$PCI/$dev/remove
rmmod nvme
check "it loads" insmod "$KO" dma=rust
load nvme
need_block
echo 1 >/sys/bus/pci/rescan
check "the log says why it is not attached" log_has "$dev: not attached: firmware wants it to reach .0x2000-0x3fff"
check_not "it has no group" test -e $PCI/$dev/iommu_group
# The core passes such a device through when it gives up on it.
eq "it keeps its memory" ok "$(iommu_testdev -q $dev gpa 0x2000 64)"
check "the other one works as before" dd if="$DISK" of=/dev/null bs=64k count=16 iflag=direct
plan
