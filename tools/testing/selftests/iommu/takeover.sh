#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A unit that firmware or an earlier kernel left enabled, with tables and rings of its own, is taken over under I/O.
# What is the unit's own, unit_*.sh have; the kernel leaves the memory at 512 MiB alone for its tables.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_test_vm "leaves the unit enabled by its registers"
need_ko
need_program devmem iommu_testdev
. "./unit_$VM_UNIT.sh"
load nvme
need_block unbind
read_disk() { dd if="$DISK" of=/dev/null bs=64k count=50 iflag=direct; }
leave_enabled
check "control: I/O through the unit as it was left" read_disk
dd if="$DISK" of=/dev/null bs=4k iflag=direct 2>/dev/null &
io=$!
check "it loads" insmod "$KO"
check "it says what it does" log_has "rust_iommu: [a-z-]*0: was left enabled; taking over"
eq "its own table is in force" no "$([ $(($(table_base) >> 12)) = $((0x20000)) ] && echo yes || echo no)"
kill $io
check "I/O under way goes on" read_disk
unbind "$BDF"
bind "$BDF" nvme
wait_for "$DISK" 20
eq "after a rebind the disk is translated" paging "$(state_of "$BDF")"
check "I/O translated" read_disk
eq "an illegal DMA is blocked" "write blocked" "$(iommu_testdev -q "$(bdf_of 1b36:0005)" gpa auto 4)"
check "and logged" wait_until 5 log_has "rust_iommu: [a-z-]*0: .*blocked"
unbind "$BDF"
check "release" release_units
eq "it is disabled then" 0 "$(enabled)"
plan
