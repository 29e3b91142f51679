#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# I/O, sleep, and again, twice: the unit translates as before, with the mappings that were there, and reports faults (with
# QEMU's iommu-testdev, if there is one).
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_debugfs
need_disruptive "puts the machine to sleep"
need_block
grep -qs deep /sys/power/mem_sleep || skip_all "there is no sleep without power here (S3)"
ALARM=/sys/class/rtc/rtc0/wakealarm
in_test_vm || [ -w $ALARM ] || skip_all "nothing would wake the machine: no $ALARM"
disk() { # writes and reads back, or reads again
	[ -z "$WRITE" ] || disk_fill || fatal "cannot write to $DISK"
	eq "$1: I/O" "$SUM" "$(disk_sum)"
}
refused() {
	testdev=$(bdf_of 1b36:0005) || { skip "$1: an illegal DMA is blocked" "no iommu-testdev" && return; }
	log_mark
	eq "$1: an illegal DMA is blocked" "write blocked" "$(iommu_testdev -q "$testdev" gpa auto 4)"
	check "$1: and logged" wait_until 5 log_has 'rust_iommu: .*blocked'
}
disk_fill || fatal "cannot write to $DISK"
disk "before sleep"
refused "before sleep"
was=$(sed 's/.*\[\(.*\)\].*/\1/' /sys/power/mem_sleep)
echo deep >/sys/power/mem_sleep
for i in 0 1; do
	say "falls asleep $i"
	in_test_vm || { echo 0 >$ALARM && echo +20 >$ALARM; } || fatal "cannot set $ALARM"
	echo mem >/sys/power/state
	disk "after sleep $i"
	refused "after sleep $i"
done
echo "$was" >/sys/power/mem_sleep
plan
