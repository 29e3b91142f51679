// SPDX-License-Identifier: GPL-2.0
/*
 * Workloads of one CPU: single buffers, scatter lists, coherent memory, mixed sizes, growth of the
 * number of live mappings, a full 32-bit address space.
 */
#include <linux/mm.h>
#include <linux/vmalloc.h>

#include "dma_bench.h"

/* A workload ends early rather than run longer than this (cycles). */
#define BUDGET	(300ull * 1000 * 1000)

static bool map_live(struct bench *b, u32 i, u32 pages)
{
	phys_addr_t phys = page_to_phys(b->big);
	dma_addr_t addr;

	/* Another page each time: DMA_API_DEBUG counts how often one is mapped. */
	if (pages == 1)
		phys += (i % (1u << BIG_ORDER)) * PAGE_SIZE;
	MEASURE(b, &b->map, addr = map_phys_pages(b, phys, pages));
	if (dma_mapping_error(b->dev, addr))
		return false;
	b->live[i] = addr;
	b->pages[i] = pages;
	return true;
}

static void unmap_live(struct bench *b, u32 i)
{
	if (!b->pages[i])
		return;
	MEASURE(b, &b->unmap, unmap_pages(b, b->live[i], b->pages[i]));
	b->pages[i] = 0;
}

static void unmap_all(struct bench *b, u32 nr)
{
	u32 i;

	for (i = 0; i < nr; i++) {
		unmap_live(b, i);
		if (!(i & 1023))
			cond_resched();
	}
}

/* Map, unmap; the first calls only warm up. */
static int single(struct bench *b, u32 pages, u32 count, const char *name)
{
	u32 i;

	for (i = 0; i < count + count / 4; i++) {
		if (i == count / 4)
			hist_reset(b);
		if (!map_live(b, 0, pages))
			return -ENOMEM;
		unmap_live(b, 0);
	}
	report(b, name);
	return 0;
}

int work_single(struct bench *b, u32 pages, u32 count)
{
	char name[32];

	if (!pages || pages > 1u << BIG_ORDER)
		return -EINVAL;
	snprintf(name, sizeof(name), "single_%uk", pages * 4);
	return single(b, pages, count, name);
}

/* Only the maps, or only the unmaps of what is mapped: for traces of the unit. */
int work_hold(struct bench *b, u32 nr)
{
	u32 i;

	if (nr >= MAX_LIVE)
		return -EINVAL;
	for (i = 0; i < nr; i++)
		if (!map_live(b, i, 1))
			return -ENOMEM;
	return 0;
}

int work_drop(struct bench *b, u32 nr)
{
	if (nr >= MAX_LIVE)
		return -EINVAL;
	unmap_all(b, nr);
	return 0;
}

/*
 * What a block driver does for one request of pages apart from each other: the two-step API where
 * the device has it, a mapping a page where not. A sample is all calls of one request.
 */
int work_request(struct bench *b, u32 pages, u32 count)
{
	char name[32];
	u32 i, e;

	if (!pages || pages > NR_SCATTERED)
		return -EINVAL;
	for (i = 0; i < count; i++) {
		struct dma_iova_state state = {};
		int err = 0;

		MEASURE(b, &b->map, {
			phys_addr_t first = page_to_phys(b->scattered[0]);

			if (dma_iova_try_alloc(b->dev, &state, first, pages * PAGE_SIZE)) {
				for (e = 0; e < pages && !err; e++)
					err = dma_iova_link(b->dev, &state, page_to_phys(b->scattered[e]),
							    e * PAGE_SIZE, PAGE_SIZE, DMA_FROM_DEVICE, 0);
				err = err ?: dma_iova_sync(b->dev, &state, 0, pages * PAGE_SIZE);
			} else {
				for (e = 0; e < pages; e++) {
					b->live[e] = map_phys_pages(b, page_to_phys(b->scattered[e]), 1);
					err = err ?: dma_mapping_error(b->dev, b->live[e]);
				}
			}
		});
		if (err)
			return err;
		MEASURE(b, &b->unmap, {
			if (dma_use_iova(&state))
				dma_iova_destroy(b->dev, &state, pages * PAGE_SIZE, DMA_FROM_DEVICE, 0);
			else
				for (e = 0; e < pages; e++)
					unmap_pages(b, b->live[e], 1);
		});
	}
	snprintf(name, sizeof(name), "request_%uk", pages * 4);
	report(b, name);
	return 0;
}

/* Layouts: 0 pages apart, 1 every second one adjacent to the one before, 2 odd head and tail. */
int work_sg(struct bench *b, u32 entries, u32 bytes, u32 layout, u32 count)
{
	static const char * const layouts[] = { "", "_adjacent", "_unaligned" };
	struct page *base = b->big;
	char name[32];
	u32 i, e;

	if (!entries || entries > NR_SCATTERED || layout > 2 || !bytes || bytes % PAGE_SIZE)
		return -EINVAL;
	for (i = 0; i < count + count / 4; i++) {
		int nents;

		if (i == count / 4)
			hist_reset(b);
		sg_init_table(b->sg, entries);
		for (e = 0; e < entries; e++) {
			u32 cut = layout == 2 ? (e == 0 || e == entries - 1) * 512 : 0;

			if (bytes == PAGE_SIZE && layout == 1)
				sg_set_page(&b->sg[e], base + 3 * (e / 2) + e % 2, bytes, 0);
			else if (bytes == PAGE_SIZE)
				sg_set_page(&b->sg[e], b->scattered[e], bytes - cut, e ? 0 : cut);
			else
				sg_set_page(&b->sg[e], base + (e * 37) % 3 * (bytes >> PAGE_SHIFT),
					    bytes, 0);
		}
		MEASURE(b, &b->map, nents = dma_map_sg(b->dev, b->sg, entries, DMA_BIDIRECTIONAL));
		if (!nents)
			return -ENOMEM;
		MEASURE(b, &b->unmap, dma_unmap_sg(b->dev, b->sg, entries, DMA_BIDIRECTIONAL));
	}
	snprintf(name, sizeof(name), "sg%u_%uk%s", entries, bytes >> 10, layouts[layout]);
	report(b, name);
	return 0;
}

/* Allocation may sleep, so interrupts stay on: the median counts. */
int work_coherent(struct bench *b, u32 count)
{
	u32 i;

	for (i = 0; i < count; i++) {
		dma_addr_t addr;
		u64 t = rdtsc();
		void *mem = dma_alloc_coherent(b->dev, PAGE_SIZE, &addr, GFP_KERNEL);

		t = rdtsc() - t;
		if (!mem)
			return -ENOMEM;
		hist_add(b, &b->map, t);
		t = rdtsc();
		dma_free_coherent(b->dev, PAGE_SIZE, mem, addr);
		t = rdtsc() - t;
		hist_add(b, &b->unmap, t);
	}
	report(b, "coherent_4k");
	return 0;
}

/* 70 % one page, 25 % 2 to 16, 5 % 32 to 256. */
static u32 mixed_pages(struct bench *b)
{
	u32 kind = bench_random(b) % 100;

	if (kind < 70)
		return 1;
	if (kind < 95)
		return 2 + bench_random(b) % 15;
	return 32 + bench_random(b) % 225;
}

int work_mixed(struct bench *b, u32 ops)
{
	const u32 slots = 1024;
	u64 pages = 0;
	u32 i;

	memset(b->pages, 0, slots * sizeof(*b->pages));
	for (i = 0; i < ops; i++) {
		u32 s = bench_random(b) % slots;

		if (b->pages[s]) {
			pages += b->pages[s];
			unmap_live(b, s);
		} else if (!map_live(b, s, mixed_pages(b))) {
			return -ENOMEM;
		}
		if (!(i & 1023))
			cond_resched();
	}
	for (i = 0; i < slots; i++)
		pages += b->pages[i];
	unmap_all(b, slots);
	report(b, "mixed");
	say(b, "COUNT mixed unmapped_pages %llu\n", pages);
	return 0;
}

/* Memory that is not free, in bytes; and the part that the kernel counts as IOMMU pages. */
static void memory(u64 *used, u64 *tables)
{
	*used = -(u64)global_zone_page_state(NR_FREE_PAGES) << PAGE_SHIFT;
	*tables = (u64)global_node_page_state(NR_IOMMU_PAGES) << PAGE_SHIFT;
}

/* Every second mapping goes, then buffers are asked for that do not fit the holes. */
static void fragmented(struct bench *b, u32 nr, const char *name)
{
	u64 begin;
	u32 i;

	for (i = 0; i < nr; i += 2) {
		unmap_live(b, i);
		if (!(i & 1023))
			cond_resched();
	}
	hist_reset(b);
	begin = rdtsc();
	for (i = 0; i < 2000 && rdtsc() - begin < BUDGET; i++) {
		if (!map_live(b, 2 * i, 2))
			break;
		cond_resched();
	}
	report(b, name);
	/* One freed, one wanted: a cache of sizes does not help. */
	hist_reset(b);
	begin = rdtsc();
	for (i = 0; i < 1000 && 4 * i + 3 < nr && rdtsc() - begin < BUDGET; i++) {
		unmap_live(b, 4 * i + 1);
		unmap_live(b, 4 * i + 3);
		if (!map_live(b, 4 * i + 1, 3))
			break;
		cond_resched();
	}
	if (b->map.nr) {
		char other[40];

		snprintf(other, sizeof(other), "%s_alternate", name);
		report(b, other);
	}
}

int work_live(struct bench *b, u32 most)
{
	u64 used[2], tables[2];
	u32 nr = 0, step;
	char name[40];
	int err;

	if (most >= MAX_LIVE)
		return -EINVAL;
	memset(b->pages, 0, MAX_LIVE * sizeof(*b->pages));
	memory(&used[0], &tables[0]);
	for (step = 100; step <= most; step *= 10) {
		hist_reset(b);
		for (; nr < step; nr++) {
			if (!map_live(b, nr, 1))
				return -ENOMEM;
			if (!(nr & 1023))
				cond_resched();
		}
		snprintf(name, sizeof(name), "live_%u_grow", step);
		report(b, name);
		/* The calls of all other workloads, with so many beside them. */
		swap(b->live[0], b->live[MAX_LIVE - 1]);
		snprintf(name, sizeof(name), "live_%u", step);
		err = single(b, 1, 4000, name);
		swap(b->live[0], b->live[MAX_LIVE - 1]);
		b->pages[0] = 1;
		if (err)
			return err;
	}
	memory(&used[1], &tables[1]);
	say(b, "COUNT live_%u bytes %llu\n", nr, used[1] - used[0]);
	say(b, "COUNT live_%u table_bytes %llu\n", nr, tables[1] - tables[0]);
	snprintf(name, sizeof(name), "live_%u_fragmented", nr);
	fragmented(b, nr, name);
	hist_reset(b);
	unmap_all(b, nr);
	snprintf(name, sizeof(name), "live_%u_end", nr);
	report(b, name);
	memory(&used[1], &tables[1]);
	say(b, "COUNT %s table_bytes %llu\n", name, tables[1] - tables[0]);
	return 0;
}

/* Fills the address space of a mask with mappings of so many pages. */
static u32 fill(struct bench *b, u32 pages, const char *name)
{
	u64 begin = rdtsc();
	u32 nr;

	hist_reset(b);
	for (nr = 0; nr < MAX_LIVE && map_live(b, nr, pages); nr++)
		if (!(nr & 1023)) {
			if (rdtsc() - begin > 12 * BUDGET)
				break;
			cond_resched();
		}
	report(b, name);
	say(b, "COUNT %s mappings %u\n", name, nr);
	return nr;
}

/* Calls that cannot be served. */
static void failing(struct bench *b, u32 at, u32 pages, const char *name)
{
	u64 begin = rdtsc();
	u32 i;

	hist_reset(b);
	for (i = 0; i < 2000 && rdtsc() - begin < BUDGET; i++) {
		if (map_live(b, at, pages))
			unmap_live(b, at);
		cond_resched();
	}
	report(b, name);
}

int work_exhaust(struct bench *b)
{
	int err = dma_set_mask(b->dev, DMA_BIT_MASK(32));
	u32 nr;

	if (err)
		return err;
	memset(b->pages, 0, MAX_LIVE * sizeof(*b->pages));
	nr = fill(b, 1, "exhaust_4k");
	failing(b, MAX_LIVE - 1, 1, "exhaust_fail");
	fragmented(b, nr, "exhaust_fragmented");
	unmap_all(b, nr);
	/* Another size, as after a change of a network's frame size. */
	nr = fill(b, 4, "exhaust_16k");
	failing(b, MAX_LIVE - 1, 4, "exhaust_16k_fail");
	unmap_all(b, nr);
	hist_reset(b);
	err = single(b, 1, 4000, "exhaust_after");
	return dma_set_mask(b->dev, DMA_BIT_MASK(64)) ?: err;
}
