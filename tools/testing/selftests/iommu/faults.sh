# SPDX-License-Identifier: GPL-2.0
# A flood of blocked requests costs a few lines and no life.
# shellcheck shell=sh
dev=$(bdf_of 1b36:0005)
fire() { iommu_testdev -q "$dev" 0x6db6d000 auto "$1"; }
unit=$(unit_name)
faults() { sed -n "s/^$unit: \([0-9]*\) faults.*/\1/p" /sys/kernel/debug/rust_iommu/faults; }
lines() { dmesg | grep -c "rust_iommu: $unit: .*blocked"; }
more_than() { [ "$(faults)" -gt "$1" ]; }
eq "one is blocked" "write blocked" "$(fire 4)"
check "it has a line" wait_until 5 sh -c "dmesg | grep -q 'rust_iommu: $unit: .*blocked'"
before=$(faults)
# A page is 1024 faults, more than the log of AMD-Vi holds: each burst overflows it. VT-d has few
# records and keeps one fault of a device at a time.
case $VM_UNIT in amd-vi) all=10000 ;; *) all=20 ;; esac
i=0 blocked=0 start=$(date +%s)
while [ $i -lt 64 ]; do
	[ "$(fire 4096)" = "write blocked" ] && blocked=$((blocked + 1))
	i=$((i + 1))
done
eq "each burst of the flood is blocked" 64 $blocked
check "$all of its faults are counted" wait_until 5 more_than $((before + all))
took=$(($(date +%s) - start))
if [ $took -lt $((20 * VM_SCALE)) ]; then ok "responsive"; else fail "responsive: the flood took $took s"; fi
# Ten lines in five seconds; one lot more for those before the flood, one for seconds that began meanwhile.
most=$((10 * (took / 5 + 3)))
if [ "$(lines)" -le $most ]; then ok "few lines"; else fail "few lines: $(lines), not $most"; fi
# The log runs again after the overflow.
before=$(faults)
fire 4 >/dev/null
check "events after an overflow" wait_until 5 more_than "$before"
plan
