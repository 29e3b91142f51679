#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Where a domain's memory is, and that it is given back when others want it. PAGES is how many are mapped.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_test_vm "takes all memory there is"
need_device 1234:11e8 "edu of QEMU"
bind "$BDF" dma_bench
run() { echo "$1" >/sys/kernel/debug/dma_bench/run && cat /sys/kernel/debug/dma_bench/run; }
# The device is alone in its group, and the only one with a driver here: its domain has all the tables.
tables() { sed -n 's/.* leaf tables \([0-9]*\)$/\1/p' $DEBUG/domains | sort -n | tail -n 1; }
in_use() { sed -n 's/.* in use \([0-9]*\), waiting.*/\1/p' $DEBUG/domains | sort -n | tail -n 1; }
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
# The kernel kills a process for memory only after it has asked everybody for theirs. This one takes all there is
# (its buffer grows until a line ends), and is the one to die.
(echo 1000 >/proc/self/oom_score_adj && exec tail /dev/zero >/dev/null 2>&1)
eq "a process that takes all memory was killed" 137 $?
say "$kept tables, $(tables) when others want the memory"
check "next to none when others want the memory" [ "$(tables)" -le 4 ]
eq "mapping goes on" 1 "$(run probe | sed -n 's/^COUNT probe reached_mapped //p')"
run "hold 1000" >/dev/null
eq "pages in use again" $((rest + 1000)) "$(in_use)"
run "drop 1000" >/dev/null
eq "and none" "$rest" "$(in_use)"
sed 's/^/# /' $DEBUG/domains
plan
