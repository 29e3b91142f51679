// SPDX-License-Identifier: GPL-2.0
/*
 * What single calls of the DMA API cost: their instructions, under QEMU's -icount shift=0.
 *
 * Bind it to QEMU's edu device with driver_override, write a workload to
 * /sys/kernel/debug/dma_bench/run, read the rows from there.
 */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "dma_bench.h"

static struct bench bench;
static struct dentry *dir;
static DEFINE_MUTEX(running);

void hist_reset(struct bench *b)
{
	struct hist *h[] = { &b->map, &b->unmap };
	int i;

	for (i = 0; i < 2; i++) {
		memset(h[i]->bin, 0, HIST_BINS * sizeof(*h[i]->bin));
		h[i]->nr = h[i]->sum = h[i]->max = 0;
		h[i]->min = U64_MAX;
	}
}

void hist_add(struct bench *b, struct hist *h, u64 t)
{
	t -= min(t, b->clock);
	h->nr++;
	h->sum += t;
	h->max = max(h->max, t);
	h->min = min(h->min, t);
	h->bin[min_t(u64, t, HIST_BINS - 1)]++;
}

static u64 percentile(struct hist *h, u32 percent)
{
	u64 left = DIV_ROUND_UP(h->nr * percent, 100);
	u32 i;

	for (i = 0; i < HIST_BINS - 1; i++) {
		if (left <= h->bin[i])
			return i;
		left -= h->bin[i];
	}
	return h->max;
}

void say(struct bench *b, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	b->used += vscnprintf(b->text + b->used, b->room - b->used, fmt, args);
	va_end(args);
}

static void report_one(struct bench *b, const char *work, const char *call, struct hist *h)
{
	if (h->nr)
		say(b, "ROW %s %s %llu %llu %llu %llu %llu\n", work, call, h->sum / h->nr,
		    percentile(h, 50), percentile(h, 99), h->max, h->nr);
}

void report(struct bench *b, const char *work)
{
	report_one(b, work, "map", &b->map);
	report_one(b, work, "unmap", &b->unmap);
}

u32 bench_random(struct bench *b)
{
	b->random = b->random * 1664525 + 1013904223;
	return b->random >> 8;
}

static void calibrate(struct bench *b)
{
	int i;

	b->clock = 0;
	hist_reset(b);
	for (i = 0; i < 1000; i++)
		MEASURE(b, &b->map, barrier());
	b->clock = b->map.min;
}

static int dispatch(struct bench *b, const char *line)
{
	u32 v[4] = {};
	char name[16];

	if (sscanf(line, "%15s %u %u %u %u", name, &v[0], &v[1], &v[2], &v[3]) < 1)
		return -EINVAL;
	hist_reset(b);
	b->random = 1;
	if (!strcmp(name, "single"))
		return work_single(b, v[0], v[1]);
	if (!strcmp(name, "hold"))
		return work_hold(b, v[0]);
	if (!strcmp(name, "drop"))
		return work_drop(b, v[0]);
	if (!strcmp(name, "request"))
		return work_request(b, v[0], v[1]);
	if (!strcmp(name, "sg"))
		return work_sg(b, v[0], v[1], v[2], v[3]);
	if (!strcmp(name, "coherent"))
		return work_coherent(b, v[0]);
	if (!strcmp(name, "mixed"))
		return work_mixed(b, v[0]);
	if (!strcmp(name, "live"))
		return work_live(b, v[0]);
	if (!strcmp(name, "exhaust"))
		return work_exhaust(b);
	if (!strcmp(name, "threads"))
		return work_threads(b, v[0], v[1]);
	if (!strcmp(name, "cross"))
		return work_cross(b, v[0]);
	if (!strcmp(name, "probe"))
		return work_probe(b);
	if (!strcmp(name, "wait"))
		return work_wait(b);
	if (!strcmp(name, "irqs"))
		return work_irqs(b);
	return -EINVAL;
}

static ssize_t run_write(struct file *file, const char __user *user, size_t len, loff_t *pos)
{
	char line[80];
	int err;

	if (len >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, user, len))
		return -EFAULT;
	line[len] = 0;
	mutex_lock(&running);
	bench.used = 0;
	err = dispatch(&bench, line);
	mutex_unlock(&running);
	return err ?: len;
}

static int run_show(struct seq_file *s, void *unused)
{
	mutex_lock(&running);
	seq_write(s, bench.text, bench.used);
	mutex_unlock(&running);
	return 0;
}

static int run_open(struct inode *inode, struct file *file)
{
	return single_open(file, run_show, NULL);
}

static const struct file_operations run_fops = {
	.owner = THIS_MODULE,
	.open = run_open,
	.read = seq_read,
	.write = run_write,
	.release = single_release,
};

static void free_memory(void)
{
	int i;

	for (i = 0; i < NR_SCATTERED; i++)
		if (bench.scattered[i])
			__free_page(bench.scattered[i]);
	if (bench.big)
		__free_pages(bench.big, BIG_ORDER);
	vfree(bench.sg);
	vfree(bench.map.bin);
	vfree(bench.unmap.bin);
	vfree(bench.live);
	vfree(bench.pages);
	vfree(bench.text);
	memset(&bench, 0, sizeof(bench));
}

static int alloc_memory(void)
{
	int i;

	bench.room = 1 << 16;
	bench.text = vzalloc(bench.room);
	bench.map.bin = vzalloc(HIST_BINS * sizeof(u32));
	bench.unmap.bin = vzalloc(HIST_BINS * sizeof(u32));
	bench.live = vzalloc(MAX_LIVE * sizeof(*bench.live));
	bench.pages = vzalloc(MAX_LIVE * sizeof(*bench.pages));
	bench.sg = vzalloc(NR_SCATTERED * sizeof(*bench.sg));
	bench.big = alloc_pages(GFP_KERNEL | __GFP_ZERO, BIG_ORDER);
	if (!bench.text || !bench.map.bin || !bench.unmap.bin || !bench.live || !bench.pages ||
	    !bench.sg || !bench.big)
		return -ENOMEM;
	for (i = 0; i < NR_SCATTERED; i++) {
		/* Every second page of what the allocator gives in a row. */
		struct page *between = alloc_page(GFP_KERNEL);

		bench.scattered[i] = alloc_page(GFP_KERNEL);
		if (between)
			__free_page(between);
		if (!bench.scattered[i])
			return -ENOMEM;
	}
	/* Neighbours would be mapped as one piece. */
	for (i = 0; i + 1 < NR_SCATTERED; i += 2)
		swap(bench.scattered[i], bench.scattered[NR_SCATTERED - 1 - i]);
	return 0;
}

static int probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	int err;

	if (bench.dev)
		return -EBUSY;
	err = pcim_enable_device(pdev) ?: dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	if (err)
		return err;
	dma_set_max_seg_size(&pdev->dev, UINT_MAX);
	pci_set_master(pdev);
	err = alloc_memory();
	if (err) {
		free_memory();
		return err;
	}
	bench.regs = pcim_iomap(pdev, 0, 0);
	bench.dev = &pdev->dev;
	calibrate(&bench);
	dir = debugfs_create_dir("dma_bench", NULL);
	debugfs_create_file("run", 0600, dir, NULL, &run_fops);
	return 0;
}

static void remove(struct pci_dev *pdev)
{
	debugfs_remove_recursive(dir);
	free_memory();
}

/* By driver_override only. */
static const struct pci_device_id ids[] = {
	{ }
};

static struct pci_driver dma_bench_driver = {
	.name = "dma_bench",
	.id_table = ids,
	.probe = probe,
	.remove = remove,
};
module_pci_driver(dma_bench_driver);

MODULE_DESCRIPTION("Instructions of single DMA API calls");
MODULE_LICENSE("GPL");
