# SPDX-License-Identifier: GPL-2.0
# Where a domain's memory is, and that it is given back when others want it.
# shellcheck shell=sh
bind "$(bdf_of 1234:11e8)" dma_bench
run() { echo "$1" >/sys/kernel/debug/dma_bench/run && cat /sys/kernel/debug/dma_bench/run; }
# The device is alone in its group, and the only one with a driver here: its domain has all the tables.
tables() { sed -n 's/.* leaf tables \([0-9]*\)$/\1/p' /sys/kernel/debug/rust_iommu/domains | sort -n | tail -n 1; }
in_use() { sed -n 's/.* in use \([0-9]*\), waiting.*/\1/p' /sys/kernel/debug/rust_iommu/domains | sort -n | tail -n 1; }
rest=$(in_use)
run "hold $PAGES" >/dev/null
check "a table for each 512 pages in use" [ "$(tables)" -ge $((PAGES / 512)) ]
check "no more" [ "$(tables)" -le $((PAGES / 512 + 35)) ]
eq "pages in use" $((rest + PAGES)) "$(in_use)"
run "drop $PAGES" >/dev/null
eq "none after their unmap" "$rest" "$(in_use)"
kept=$(tables)
check "few tables stay" [ "$kept" -le 80 ]
check "some do" [ "$kept" -ge 2 ]
# Files of this file system are never written back.
mkdir -p /fill
mount -t ramfs none /fill
free_mib() { sed -n 's/^MemFree: *\([0-9]*\) kB$/\1/p' /proc/meminfo | awk '{ print int($1 / 1024) }'; }
dd if=/dev/zero of=/fill/all bs=1M count=$(($(free_mib) - 24)) 2>/dev/null
more=0
while [ "$(tables)" -gt 4 ] && [ $more -lt 23 ]; do
	dd if=/dev/zero of=/fill/$more bs=1M count=1 2>/dev/null
	more=$((more + 1))
	sleep 0.2
done
say "$kept tables, $(tables) when others want the memory ($(free_mib) MiB free)"
check "next to none when others want the memory" [ "$(tables)" -le 4 ]
umount /fill
eq "mapping goes on" 1 "$(run probe | sed -n 's/^COUNT probe reached_mapped //p')"
run "hold 1000" >/dev/null
eq "pages in use again" $((rest + 1000)) "$(in_use)"
run "drop 1000" >/dev/null
eq "and none" "$rest" "$(in_use)"
sed 's/^/# /' /sys/kernel/debug/rust_iommu/domains
plan
