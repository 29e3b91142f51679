# SPDX-License-Identifier: GPL-2.0
# Verified I/O, sleep, and again: the unit translates as before, with the mappings that were there, and reports faults.
# shellcheck shell=sh
: "${VM_UNIT:?runs in a machine of scripts/vm only, whose disks it overwrites}"
disk() { # writes and reads back
	head -c 1048576 /dev/urandom >/tmp/data
	dd if=/tmp/data of=/dev/nvme0n1 bs=64k conv=fsync 2>/dev/null
	eq "$1: I/O" "$(sha256sum </tmp/data)" "$(dd if=/dev/nvme0n1 bs=64k count=16 iflag=direct 2>/dev/null | sha256sum)"
}
refused() {
	dmesg -c >/dev/null
	eq "$1: an illegal DMA is blocked" "write blocked" "$(iommu_testdev -q "$(bdf_of 1b36:0005)" gpa auto 4)"
	check "$1: and logged" wait_until 5 sh -c "dmesg | grep -q 'rust_iommu: .*blocked'"
}
wait_for /dev/nvme0n1 20 || fatal "no disk"
disk "before sleep"
refused "before sleep"
check "there is a sleep without power" grep -q deep /sys/power/mem_sleep
echo deep >/sys/power/mem_sleep
for i in 0 1; do
	say "falls asleep $i"
	echo mem >/sys/power/state
	disk "after sleep $i"
	refused "after sleep $i"
done
plan
