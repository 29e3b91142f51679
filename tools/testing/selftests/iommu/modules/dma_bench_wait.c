// SPDX-License-Identifier: GPL-2.0
/*
 * What a CPU holds while it waits for the unit after an unmap: another CPU interrupts it all the time,
 * and the interrupt looks. Before it "hold 1" has mapped a page, and the unit's queue was stopped, so
 * the wait is a long one.
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/lockdep.h>
#include <linux/smp.h>

#include "dma_bench.h"

struct waiter {
	struct bench *b;
	dma_addr_t addr;
	/* Set by the waiter. */
	bool in_call, done, irqs_off_after;
	u64 ns;
	/* Set by the interrupts on its CPU, one at a time. */
	u32 looks, with_preempt_off, with_locks;
};

static void look(void *data)
{
	struct waiter *w = data;

	if (!READ_ONCE(w->in_call))
		return;
	w->looks++;
	/* This interrupt's own count is in another part of the word. */
	if (preempt_count() & (PREEMPT_MASK | SOFTIRQ_MASK))
		w->with_preempt_off++;
#ifdef CONFIG_LOCKDEP
	/* The caller of this function is the idle or the cross-call code, which holds none. */
	if (current->lockdep_depth)
		w->with_locks++;
#endif
}

static int unmap_and_wait(void *data)
{
	struct waiter *w = data;
	u64 start = ktime_get_ns();

	WRITE_ONCE(w->in_call, true);
	unmap_pages(w->b, w->addr, 1);
	WRITE_ONCE(w->in_call, false);
	w->irqs_off_after = irqs_disabled();
	w->ns = ktime_get_ns() - start;
	WRITE_ONCE(w->done, true);
	while (!kthread_should_stop())
		msleep(1);
	return 0;
}

int work_wait(struct bench *b)
{
	struct waiter w = { .b = b, .addr = b->live[0] };
	struct task_struct *task;
	u64 longest = 0;

	if (num_online_cpus() < 2)
		return -EINVAL;
	task = kthread_create_on_cpu(unmap_and_wait, &w, 1, "dma_bench/%u");
	if (IS_ERR(task))
		return PTR_ERR(task);
	set_cpus_allowed_ptr(current, cpumask_of(0));
	wake_up_process(task);
	while (!READ_ONCE(w.done)) {
		u64 start = ktime_get_ns();

		smp_call_function_single(1, look, &w, 1);
		longest = max(longest, ktime_get_ns() - start);
		usleep_range(1000, 2000);
	}
	kthread_stop(task);
	set_cpus_allowed_ptr(current, cpu_possible_mask);
	say(b, "COUNT wait ms %llu\n", w.ns / 1000000);
	say(b, "COUNT wait interrupts %u\n", w.looks);
	say(b, "COUNT wait longest_interrupt_ms %llu\n", longest / 1000000);
	say(b, "COUNT wait with_preempt_off %u\n", w.with_preempt_off);
	say(b, "COUNT wait with_locks %u\n", w.with_locks);
	say(b, "COUNT wait irqs_off_after %u\n", w.irqs_off_after);
	return 0;
}

/* Calls leave interrupts as they were, on and off. */
int work_irqs(struct bench *b)
{
	u32 wrong = 0, i;

	for (i = 0; i < 200; i++) {
		unsigned long flags = 0;
		dma_addr_t addr;

		if (i & 1)
			local_irq_save(flags);
		addr = map_phys_pages(b, page_to_phys(b->scattered[0]), 1);
		wrong += irqs_disabled() != (i & 1);
		if (!dma_mapping_error(b->dev, addr))
			unmap_pages(b, addr, 1);
		wrong += irqs_disabled() != (i & 1);
		if (i & 1)
			local_irq_restore(flags);
	}
	say(b, "COUNT irqs changed %u\n", wrong);
	return 0;
}
