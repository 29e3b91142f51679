# SPDX-License-Identifier: GPL-2.0
# A unit that firmware or an earlier kernel left enabled, with tables and rings of its own, is taken over under I/O.
# What is the unit's own, takeover_amd.sh or takeover_vtd.sh has, which comes before; the kernel leaves the memory at 512 MiB
# alone for its tables.
# shellcheck shell=sh
: "${VM_UNIT:?runs in a machine of scripts/vm only, whose disks it overwrites}"
KO=$(find /lib/modules -name rust_iommu.ko)
load nvme
wait_for /dev/nvme0n1 20 || fatal "no disk"
nvme=$(bdf_of nvme)
leave_enabled
check "control: I/O through the unit as it was left" dd if=/dev/nvme0n1 of=/dev/null bs=64k count=50 iflag=direct
dd if=/dev/nvme0n1 of=/dev/null bs=4k iflag=direct 2>/dev/null &
io=$!
check "it loads" insmod "$KO"
check "it says what it does" sh -c "dmesg | grep -q '$NAME: was left enabled; taking over'"
eq "its own table is in force" no "$([ $(($(table_base) >> 12)) = $((0x20000)) ] && echo yes || echo no)"
kill $io
check "I/O under way goes on" dd if=/dev/nvme0n1 of=/dev/null bs=64k count=50 iflag=direct
unbind "$nvme"
bind "$nvme" nvme
wait_for /dev/nvme0n1 20
check "after a rebind the disk is translated" grep -q "^$nvme .*paging" /sys/kernel/debug/rust_iommu/devices
check "I/O translated" dd if=/dev/nvme0n1 of=/dev/null bs=64k count=50 iflag=direct
eq "an illegal DMA is blocked" "write blocked" "$(iommu_testdev -q "$(bdf_of 1b36:0005)" gpa auto 4)"
check "and logged" wait_until 5 sh -c "dmesg | grep -q '$NAME: .*blocked'"
unbind "$nvme"
check "release" release_units
eq "it is disabled then" 0 "$(enabled)"
plan
