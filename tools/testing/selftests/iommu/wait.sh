#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A CPU that waits for the unit holds no lock and keeps interrupts as its caller has them; lazy mode (LAZY) keeps its
# promise.
# shellcheck source=lib.sh
set -u
cd "$(dirname "$0")" && [ -r lib.sh ] || exit 4
. ./lib.sh
need_test_vm "breaks the unit by its registers"
need_device 1234:11e8 "edu of QEMU"
need_program devmem
. "./unit_$VM_UNIT.sh"
bind "$BDF" dma_bench
run() { echo "$1" >/sys/kernel/debug/dma_bench/run && cat /sys/kernel/debug/dma_bench/run; }
count() { echo "$counts" | sed -n "s/^COUNT [a-z]* $1 //p"; }
counts=$(run probe)
eq "memory that is mapped is reached" 1 "$(count reached_mapped)"
[ "$LAZY" ] || eq "and not after its unmap" 0 "$(count reached_after_unmap)"
eq "nor 20 ms later" 0 "$(count reached_20_ms_later)"
counts=$(run irqs)
eq "calls leave interrupts as they were" 0 "$(count changed)"
if [ ! "$LAZY" ]; then
	run "hold 1" >/dev/null
	stop_commands
	counts=$(run wait)
	say "$(echo "$counts" | sed 's/COUNT wait //' | tr '\n' ' ')"
	check "the wait is long, and has its end" [ "$(count ms)" -ge 500 ]
	check "the waiting CPU takes interrupts" [ "$(count interrupts)" -ge 20 ]
	check "at once" [ "$(count longest_interrupt_ms)" -lt $((300 * SCALE)) ]
	# But for the moment in which it prints that the unit is broken.
	few=$(($(count interrupts) / 20))
	check "it may be preempted" [ "$(count with_preempt_off)" -le $few ]
	check "it holds no lock" [ "$(count with_locks)" -le $few ]
	eq "interrupts are on after it" 0 "$(count irqs_off_after)"
fi
plan
