# SPDX-License-Identifier: GPL-2.0
# A CPU that waits for the unit holds no lock and keeps interrupts as its caller has them; lazy mode keeps its promise.
# shellcheck shell=sh
: "${VM_UNIT:?runs in a machine of scripts/vm only, whose disks it overwrites}"
bind "$(bdf_of 1234:11e8)" dma_bench
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
	case $VM_UNIT in
	amd-vi) devmem 0xfed80018 64 $(($(devmem 0xfed80018 64) & ~0x1000)) ;; # CmdBufEn off
	vt-d) devmem 0xfed90018 32 0x80000000 ;;                               # translation on, the queue off
	esac
	counts=$(run wait)
	say "$(echo "$counts" | sed 's/COUNT wait //' | tr '\n' ' ')"
	check "the wait is long, and has its end" [ "$(count ms)" -ge 500 ]
	check "the waiting CPU takes interrupts" [ "$(count interrupts)" -ge 20 ]
	check "at once" [ "$(count longest_interrupt_ms)" -lt $((300 * VM_SCALE)) ]
	# But for the moment in which it prints that the unit is broken.
	few=$(($(count interrupts) / 20))
	check "it may be preempted" [ "$(count with_preempt_off)" -le $few ]
	check "it holds no lock" [ "$(count with_locks)" -le $few ]
	eq "interrupts are on after it" 0 "$(count irqs_off_after)"
fi
plan
