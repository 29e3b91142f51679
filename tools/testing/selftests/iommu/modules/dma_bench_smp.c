// SPDX-License-Identifier: GPL-2.0
/*
 * Workloads of two CPUs, and the proof that protection is in force: what a device reaches after its
 * memory was unmapped.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/kthread.h>

#include "dma_bench.h"

struct worker {
	struct bench *b;
	struct task_struct *task;
	struct completion done;
	u32 pair;
	u64 calls, map_ns, unmap_ns;
	int err;
};

/* Nanoseconds of the guest's clock over a whole loop: single calls are too short for it. */
static int churn(void *data)
{
	struct worker *w = data;
	phys_addr_t phys = page_to_phys(w->b->scattered[w->pair]);
	dma_addr_t addr[16];
	int i;

	while (!kthread_should_stop() && !w->err) {
		u64 t0 = ktime_get_ns(), t1, t2;

		for (i = 0; i < ARRAY_SIZE(addr) && !w->err; i++) {
			addr[i] = map_phys_pages(w->b, phys, 1);
			w->err = dma_mapping_error(w->b->dev, addr[i]);
		}
		if (w->err)
			break;
		t1 = ktime_get_ns();
		for (i = 0; i < ARRAY_SIZE(addr); i++)
			unmap_pages(w->b, addr[i], 1);
		t2 = ktime_get_ns();
		w->calls += ARRAY_SIZE(addr);
		w->map_ns += t1 - t0;
		w->unmap_ns += t2 - t1;
		cond_resched();
	}
	while (!kthread_should_stop())
		msleep(1);
	return 0;
}

int work_threads(struct bench *b, u32 threads, u32 ms)
{
	struct worker w[8] = {};
	u64 calls = 0, map_ns = 0, unmap_ns = 0;
	int err = 0;
	u32 i;

	if (!threads || threads > ARRAY_SIZE(w) || threads > num_online_cpus())
		return -EINVAL;
	for (i = 0; i < threads; i++) {
		w[i].b = b;
		w[i].pair = i;
		w[i].task = kthread_create_on_cpu(churn, &w[i], i, "dma_bench/%u");
		if (IS_ERR(w[i].task)) {
			err = PTR_ERR(w[i].task);
			break;
		}
		wake_up_process(w[i].task);
	}
	if (!err)
		msleep(ms);
	while (i--) {
		kthread_stop(w[i].task);
		err = err ?: w[i].err;
		calls += w[i].calls;
		map_ns += w[i].map_ns;
		unmap_ns += w[i].unmap_ns;
	}
	if (err || !calls)
		return err ?: -EIO;
	say(b, "COUNT threads_%u unmaps %llu\n", threads, calls);
	say(b, "COUNT threads_%u map_ns %llu\n", threads, map_ns / calls);
	say(b, "COUNT threads_%u unmap_ns %llu\n", threads, unmap_ns / calls);
	return 0;
}

#define RING	256

struct ring {
	struct bench *b;
	dma_addr_t addr[RING];
	u32 head, tail;
	u64 calls, ns;
};

/* CPU 1 unmaps what CPU 0 has mapped. */
static int consume(void *data)
{
	struct ring *r = data;

	for (;;) {
		u32 tail = READ_ONCE(r->tail);
		u64 t;

		if (smp_load_acquire(&r->head) == tail) {
			if (kthread_should_stop())
				return 0;
			cond_resched();
			cpu_relax();
			continue;
		}
		t = ktime_get_ns();
		unmap_pages(r->b, r->addr[tail % RING], 1);
		r->ns += ktime_get_ns() - t;
		r->calls++;
		smp_store_release(&r->tail, tail + 1);
	}
}

int work_cross(struct bench *b, u32 ms)
{
	struct ring *r = kzalloc_obj(*r, GFP_KERNEL);
	struct task_struct *task;
	u64 end, ns = 0, maps = 0;
	int err = 0;

	if (!r)
		return -ENOMEM;
	r->b = b;
	task = kthread_create_on_cpu(consume, r, num_online_cpus() - 1, "dma_bench/%u");
	if (IS_ERR(task)) {
		kfree(r);
		return PTR_ERR(task);
	}
	wake_up_process(task);
	end = ktime_get_ns() + ms * 1000000ull;
	while (ktime_get_ns() < end && !err) {
		u64 t = ktime_get_ns();
		dma_addr_t addr;

		if (r->head - smp_load_acquire(&r->tail) == RING) {
			cond_resched();
			cpu_relax();
			continue;
		}
		addr = map_phys_pages(b, page_to_phys(b->scattered[0]), 1);
		ns += ktime_get_ns() - t;
		err = dma_mapping_error(b->dev, addr);
		if (err)
			break;
		maps++;
		r->addr[r->head % RING] = addr;
		smp_store_release(&r->head, r->head + 1);
	}
	kthread_stop(task);
	if (!err && maps && maps == r->calls) {
		say(b, "COUNT cross unmaps %llu\n", maps);
		say(b, "COUNT cross map_ns %llu\n", ns / maps);
		say(b, "COUNT cross unmap_ns %llu\n", r->ns / maps);
	} else {
		err = err ?: -EIO;
	}
	kfree(r);
	return err;
}

/* QEMU's edu device. Source: QEMU 11.1 docs/specs/edu.rst. */
#define EDU_DMA_SRC	0x80
#define EDU_DMA_DST	0x88
#define EDU_DMA_COUNT	0x90
#define EDU_DMA_CMD	0x98
#define EDU_BUFFER	0x40000

static void edu_write(struct bench *b, dma_addr_t to)
{
	int i;

	writeq(EDU_BUFFER, b->regs + EDU_DMA_SRC);
	writeq(to, b->regs + EDU_DMA_DST);
	writeq(64, b->regs + EDU_DMA_COUNT);
	writeq(3, b->regs + EDU_DMA_CMD);
	for (i = 0; i < 200 && readq(b->regs + EDU_DMA_CMD) & 1; i++)
		msleep(10);
}

/* The device writes to a mapping, then at once after it is gone, then when lazy mode is due. */
int work_probe(struct bench *b)
{
	u8 *mem = page_address(b->scattered[1]);
	dma_addr_t addr;
	bool mapped, after, later;

	if (!b->regs)
		return -ENODEV;
	memset(mem, 0xa5, PAGE_SIZE);
	addr = map_phys_pages(b, page_to_phys(b->scattered[1]), 1);
	if (dma_mapping_error(b->dev, addr))
		return -ENOMEM;
	edu_write(b, addr);
	mapped = mem[0] != 0xa5;
	memset(mem, 0xa5, PAGE_SIZE);
	unmap_pages(b, addr, 1);
	edu_write(b, addr);
	after = mem[0] != 0xa5;
	msleep(20);
	memset(mem, 0xa5, PAGE_SIZE);
	edu_write(b, addr);
	later = mem[0] != 0xa5;
	say(b, "COUNT probe reached_mapped %u\n", mapped);
	say(b, "COUNT probe reached_after_unmap %u\n", after);
	say(b, "COUNT probe reached_20_ms_later %u\n", later);
	return 0;
}
