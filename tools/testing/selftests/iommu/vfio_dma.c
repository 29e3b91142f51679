// SPDX-License-Identifier: GPL-2.0
/*
 * What a device can and cannot reach: mapped, unmapped, after unmap, read-only, remapped.
 *
 * usage: vfio_dma BDF FAULT-TEXT
 *
 * BDF is an edu or iommu-testdev that is bound to vfio-pci. Every page beside the mapped ones is a
 * canary; after each DMA that must be refused, all memory is as before and a line with FAULT-TEXT
 * is in the kernel's log. For each refused DMA a line "# refused 0xIOVA" is printed, for whoever
 * can compare it with what the emulator saw.
 */
#include "dma_device.h"
#include "fault_watch.h"

#define PAGE 4096ul
#define PAGES 8ul
#define LARGE (2ul << 20)
/* Few enough that a fault is one event, and the driver shows each. */
#define SHORT 4ul
#define IOVA 0x40000000ull
#define READ VFIO_DMA_MAP_FLAG_READ
#define WRITE VFIO_DMA_MAP_FLAG_WRITE

static uint8_t *memory, before[PAGES * PAGE];
static struct dma_device dev;
static const char *fault_text;

static uint8_t *page(unsigned int n)
{
	return memory + n * PAGE;
}

/* Fills all pages, each differently and each time differently. */
static void fill(void)
{
	static uint8_t seed;
	unsigned long i;

	seed += 29;
	for (i = 0; i < PAGES * PAGE; i++)
		memory[i] = (uint8_t)(i * 7 + i / PAGE * 31 + seed);
	memcpy(before, memory, PAGES * PAGE);
}

static bool untouched(void)
{
	return !memcmp(memory, before, PAGES * PAGE);
}

static void map(unsigned int n, uint64_t iova, uint32_t flags)
{
	if (vfio_map(&dev.vfio, page(n), iova, PAGE, flags))
		ksft_exit_fail_perror("VFIO_IOMMU_MAP_DMA");
}

static void unmap(uint64_t iova)
{
	if (vfio_unmap(&dev.vfio, iova, PAGE))
		ksft_exit_fail_msg("VFIO_IOMMU_UNMAP_DMA of 0x%llx\n", (unsigned long long)iova);
}

/* A write that must be refused: nothing changes, and the log says so. */
static bool write_refused(uint64_t iova)
{
	int watch = fault_watch_start();
	bool same, said;

	dma_write(&dev, iova, SHORT);
	same = untouched();
	said = fault_watch_seen(watch, fault_text);
	ksft_print_msg("refused 0x%llx\n", (unsigned long long)iova);
	if (!same)
		ksft_print_msg("memory was changed\n");
	if (!said)
		ksft_print_msg("no fault line with '%s'\n", fault_text);
	return same && said;
}

/* A read that must be refused: what the device then holds is not the page's content. */
static bool read_refused(uint64_t iova, unsigned int secret)
{
	int watch = fault_watch_start();
	bool leaked, said;

	dma_read(&dev, iova, SHORT);
	said = fault_watch_seen(watch, fault_text);
	ksft_print_msg("refused 0x%llx\n", (unsigned long long)iova);
	map(7, IOVA + 0x700000, READ | WRITE);
	dma_write(&dev, IOVA + 0x700000, SHORT);
	leaked = !memcmp(page(7), page(secret), SHORT);
	unmap(IOVA + 0x700000);
	if (leaked)
		ksft_print_msg("the device has what it must not read\n");
	if (!said)
		ksft_print_msg("no fault line with '%s'\n", fault_text);
	return !leaked && said;
}

/* The physical address of a page; what a device reaches if nothing translates. */
static uint64_t physical(unsigned int n)
{
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0 || pread(fd, &entry, 8, (uintptr_t)page(n) / PAGE * 8) != 8 || !(entry << 9))
		ksft_exit_fail_msg("/proc/self/pagemap does not tell addresses\n");
	close(fd);
	return (entry & ((1ull << 55) - 1)) * PAGE;
}

static bool write_arrives(unsigned int n, uint64_t iova)
{
	dma_write(&dev, iova, PAGE);
	/* Nothing but this page may have changed. */
	if (!memcmp(page(n), before + n * PAGE, PAGE))
		return false;
	memcpy(before + n * PAGE, page(n), PAGE);
	return untouched();
}

static void test_mapped(void)
{
	fill();
	map(0, IOVA, READ | WRITE);
	map(1, IOVA + PAGE, READ | WRITE);
	if (dev.can_read)
		dma_read(&dev, IOVA, PAGE);
	ksft_test_result(write_arrives(1, IOVA + PAGE), "a write to a mapped IOVA arrives\n");
	if (dev.can_read)
		ksft_test_result(!memcmp(page(0), page(1), PAGE), "a read of a mapped IOVA is right\n");
	else
		ksft_test_result_skip("a read of a mapped IOVA: the device cannot read\n");
	unmap(IOVA);
	unmap(IOVA + PAGE);
}

static void test_high(void)
{
	const uint64_t high = (1ull << 38) - PAGE;

	fill();
	map(2, high, READ | WRITE);
	ksft_test_result(write_arrives(2, high), "a write to an IOVA beyond 4 GiB arrives\n");
	unmap(high);
}

static void test_unmapped(void)
{
	fill();
	ksft_test_result(write_refused(physical(3)),
			 "a write to the physical address of unmapped memory is refused\n");
	map(0, IOVA, READ | WRITE);
	ksft_test_result(write_refused(IOVA + PAGE), "a write beside a mapping is refused\n");
	if (dev.can_read)
		ksft_test_result(read_refused(physical(3), 3), "a read of unmapped memory is refused\n");
	else
		ksft_test_result_skip("a read of unmapped memory: the device cannot read\n");
	unmap(IOVA);
}

static void test_after_unmap(void)
{
	fill();
	map(0, IOVA, READ | WRITE);
	/* The unit holds the translation now. */
	ksft_test_result(write_arrives(0, IOVA), "a write before unmap arrives\n");
	unmap(IOVA);
	fill();
	ksft_test_result(write_refused(IOVA), "a write after unmap is refused\n");
}

static void test_remap(void)
{
	fill();
	map(0, IOVA, READ | WRITE);
	dma_write(&dev, IOVA, PAGE);
	unmap(IOVA);
	map(4, IOVA, READ | WRITE);
	fill();
	ksft_test_result(write_arrives(4, IOVA), "a write after remap reaches the new page only\n");
	unmap(IOVA);
}

/* Some formats of page tables, such as x86's first stage, have no pages that are only written. */
static void test_rights(bool write_implies_read)
{
	fill();
	map(5, IOVA, READ);
	/* Before any read: an emulated unit logs no event for a page it already holds. */
	ksft_test_result(write_refused(IOVA), "a write to a read-only mapping is refused\n");
	unmap(IOVA);
	if (!dev.can_read) {
		ksft_test_result_skip("a read of a write-only mapping: the device cannot read\n");
		return;
	}
	if (write_implies_read) {
		ksft_test_result_skip("a read of a write-only mapping: the page tables have none\n");
		return;
	}
	fill();
	map(5, IOVA, WRITE);
	ksft_test_result(read_refused(IOVA, 5), "a read of a write-only mapping is refused\n");
	unmap(IOVA);
}

/* Where the unit, or a cache of the driver, leads to the wrong one of two tables. */
static void test_large(void)
{
	uint8_t *large = mmap(NULL, LARGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_HUGETLB, -1, 0);
	const unsigned long last = LARGE - PAGE;
	uint8_t old[PAGE];

	if (large == MAP_FAILED)
		ksft_exit_fail_perror("a large page");
	memset(large, 0x5a, LARGE);
	fill();
	map(6, IOVA, READ | WRITE);
	ksft_test_result(write_arrives(6, IOVA), "a write to a small page arrives\n");
	unmap(IOVA);
	memcpy(old, large + last, PAGE);
	if (vfio_map(&dev.vfio, large, IOVA, LARGE, READ | WRITE))
		ksft_exit_fail_perror("VFIO_IOMMU_MAP_DMA of a large page");
	dma_write(&dev, IOVA + last, PAGE);
	ksft_test_result(memcmp(large + last, old, PAGE) && large[last - 1] == 0x5a && untouched(),
			 "a write to a large page in its place arrives\n");
	if (vfio_unmap(&dev.vfio, IOVA, LARGE))
		ksft_exit_fail_msg("VFIO_IOMMU_UNMAP_DMA of a large page\n");
	fill();
	map(6, IOVA, READ | WRITE);
	ksft_test_result(write_arrives(6, IOVA), "a write to a small page in its place again arrives\n");
	unmap(IOVA);
	munmap(large, LARGE);
}

static bool is_testdev(const char *bdf)
{
	unsigned int device = 0;
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/device", bdf);
	f = fopen(path, "r");
	if (!f || fscanf(f, "%x", &device) != 1)
		ksft_exit_fail_msg("no device %s\n", bdf);
	fclose(f);
	return device == 0x0005;
}

int main(int argc, char **argv)
{
	ksft_print_header();
	if (argc != 3 && (argc != 4 || strcmp(argv[3], "write-implies-read")))
		ksft_exit_fail_msg("usage: vfio_dma BDF FAULT-TEXT [write-implies-read]\n");
	fault_text = argv[2];
	ksft_set_plan(14);
	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (memory == MAP_FAILED || mlock(memory, PAGES * PAGE))
		ksft_exit_fail_perror("memory");
	dev.can_read = !is_testdev(argv[1]);
	dev.vfio = vfio_device_open(argv[1]);
	test_mapped();
	test_high();
	test_unmapped();
	test_after_unmap();
	test_remap();
	test_large();
	test_rights(argc == 4);
	ksft_finished();
}
