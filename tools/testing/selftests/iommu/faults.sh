# SPDX-License-Identifier: GPL-2.0
# A flood of blocked requests costs a few lines and no life.
# shellcheck shell=sh
echo 1..4
dev=$(bdf_of 1b36:0005)
iommu_testdev "$dev" 0x6db6d000 auto 64 >/dev/null
sleep 1
if dmesg | grep -q 'rust_iommu: amd-vi0: .*blocked'; then echo "ok 1 - a fault line"; else echo "not ok 1 - a fault line"; fi
# Each burst of 64 KiB is 8192 events and overflows the log of 512.
i=0
while [ $i -lt 8 ]; do iommu_testdev "$dev" 0x6db6d000 auto 65536 >/dev/null; i=$((i + 1)); done
start=$(date +%s)
sleep 1
if [ $(($(date +%s) - start)) -lt 5 ]; then echo "ok 2 - responsive"; else echo "not ok 2 - responsive"; fi
lines=$(dmesg | grep -c 'rust_iommu: amd-vi0: .*blocked')
if [ "$lines" -lt 50 ]; then echo "ok 3 - few lines"; else echo "not ok 3 - $lines lines"; fi
# The log runs again after the overflow.
sleep 6
before=$(sed -n 's/^amd-vi0: \([0-9]*\) faults.*/\1/p' /sys/kernel/debug/rust_iommu/faults)
iommu_testdev "$dev" 0x6db6d000 auto 64 >/dev/null
sleep 1
after=$(sed -n 's/^amd-vi0: \([0-9]*\) faults.*/\1/p' /sys/kernel/debug/rust_iommu/faults)
if [ "$after" -gt "$before" ]; then echo "ok 4 - events after an overflow"; else echo "not ok 4 - events after an overflow ($before, $after)"; fi
