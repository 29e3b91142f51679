#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A flood of blocked requests costs a few lines and no life.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_debugfs
need_disruptive "floods the log"
need_device 1b36:0005 "iommu-testdev of QEMU"
need_program iommu_testdev
[ "$(state_of "$BDF")" = paging ] || skip_all "$BDF is not translated"
fire() { iommu_testdev -q "$BDF" 0x6db6d000 auto "$1"; }
faults() { sed -n 's/^[a-z-]*0: \([0-9]*\) faults.*/\1/p' $DEBUG/faults; }
lines() { dmesg | grep -c 'rust_iommu: [a-z-]*0: .*blocked'; }
more_than() { [ "$(faults)" -gt "$1" ]; }
quiet_log
log_mark
eq "one is blocked" "write blocked" "$(fire 4)"
check "it has a line" wait_until 5 log_has 'rust_iommu: [a-z-]*0: .*blocked'
before=$(faults) lines=$(lines)
# A page is 1024 faults, more than the log of AMD-Vi holds: each burst overflows it. VT-d has few
# records and keeps one fault of a device at a time.
case $(cut -d: -f1 $DEBUG/units | head -n 1) in amd-vi* | ivhd*) all=10000 ;; *) all=20 ;; esac
i=0 blocked=0 start=$(date +%s)
while [ $i -lt 64 ]; do
	[ "$(fire 4096)" = "write blocked" ] && blocked=$((blocked + 1))
	i=$((i + 1))
done
eq "each burst of the flood is blocked" 64 $blocked
check "$all of its faults are counted" wait_until 5 more_than $((before + all))
took=$(($(date +%s) - start))
# Ten lines in five seconds; one lot more for seconds that began meanwhile.
most=$((lines + 10 * (took / 5 + 2)))
if [ "$(lines)" -le $most ]; then ok "few lines"; else fail "few lines: $(lines), not $most"; fi
# The log runs again after the overflow.
before=$(faults)
fire 4 >/dev/null
check "events after an overflow" wait_until 5 more_than "$before"
plan
