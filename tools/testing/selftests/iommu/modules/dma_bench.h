/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of dma_bench share: one device, the memory that is mapped, a histogram of single
 * calls, and the text of the results.
 */
#ifndef DMA_BENCH_H
#define DMA_BENCH_H

#include <linux/dma-mapping.h>
#include <linux/irqflags.h>
#include <linux/pci.h>
#include <linux/scatterlist.h>
#include <asm/msr.h>

/* Calls that take longer are counted in the last bin; the maximum is kept exactly. */
#define HIST_BINS	(1u << 16)
#define MAX_LIVE	(1u << 20)
#define BIG_ORDER	10
#define NR_SCATTERED	512

struct hist {
	u64 nr, sum, max, min;
	u32 *bin;
};

struct bench {
	struct device *dev;
	void __iomem *regs;
	/* 4 MiB in one piece, and single pages that are not neighbours. */
	struct page *big;
	struct page *scattered[NR_SCATTERED];
	struct scatterlist *sg;
	struct hist map, unmap;
	/* Addresses that are mapped, and their lengths in pages. */
	dma_addr_t *live;
	u16 *pages;
	/* What an empty measurement costs. */
	u64 clock;
	u32 random;
	char *text;
	size_t used, room;
};

void hist_reset(struct bench *b);
void hist_add(struct bench *b, struct hist *h, u64 cycles);
__printf(2, 3) void say(struct bench *b, const char *fmt, ...);
/* "ROW workload call mean p50 p99 max calls" for both calls. */
void report(struct bench *b, const char *work);
u32 bench_random(struct bench *b);

/*
 * One call, alone on its CPU. Under -icount shift=0 the time stamp counter counts instructions.
 */
#define MEASURE(b, h, ...) do {				\
	unsigned long __flags;				\
	u64 __t;					\
	local_irq_save(__flags);			\
	__t = rdtsc();					\
	__VA_ARGS__;					\
	__t = rdtsc() - __t;				\
	local_irq_restore(__flags);			\
	hist_add(b, h, __t);				\
} while (0)

static inline dma_addr_t map_phys_pages(struct bench *b, phys_addr_t phys, u32 pages)
{
	return dma_map_phys(b->dev, phys, (size_t)pages << PAGE_SHIFT, DMA_BIDIRECTIONAL, 0);
}

static inline void unmap_pages(struct bench *b, dma_addr_t addr, u32 pages)
{
	dma_unmap_phys(b->dev, addr, (size_t)pages << PAGE_SHIFT, DMA_BIDIRECTIONAL, 0);
}

int work_single(struct bench *b, u32 pages, u32 count);
int work_hold(struct bench *b, u32 nr);
int work_drop(struct bench *b, u32 nr);
int work_request(struct bench *b, u32 pages, u32 count);
int work_sg(struct bench *b, u32 entries, u32 bytes, u32 layout, u32 count);
int work_coherent(struct bench *b, u32 count);
int work_mixed(struct bench *b, u32 ops);
int work_live(struct bench *b, u32 most);
int work_exhaust(struct bench *b);
int work_threads(struct bench *b, u32 threads, u32 ms);
int work_cross(struct bench *b, u32 ms);
int work_probe(struct bench *b);
int work_wait(struct bench *b);
int work_irqs(struct bench *b);

#endif
