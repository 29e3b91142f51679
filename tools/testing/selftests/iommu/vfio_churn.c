// SPDX-License-Identifier: GPL-2.0
/*
 * Maps and unmaps at random, and lets the host compare what the device's unit was told.
 *
 * usage: vfio_churn BDF ROUNDS SEED PHYSICAL
 *
 * PHYSICAL is the address of 32 MiB of memory that the kernel leaves alone (memmap=): physically
 * contiguous, so that leaves of all sizes are made and removed.
 *
 * After each round the program prints "mapped: FIRST-LAST ..." (hexadecimal, sorted, neighbours
 * joined) and waits for a line; "yes" says that the device sees just that.
 */
#include "vfio_device.h"

#define PAGE 4096ull
#define MEMORY (32ull << 20)
#define SLOTS 12
#define OPS 12
/* Each slot has its own part of the address space, so that slots never collide. */
#define SLOT_SPAN (64ull << 20)

struct slot {
	uint64_t iova;
	uint64_t len;
};

static struct slot slots[SLOTS];
static struct vfio_device dev;
static uint8_t *memory;
static uint64_t state;

/* xorshift64*: the same sequence for the same seed on every machine. */
static uint64_t any(uint64_t below)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (state * 2685821657736338717ull >> 32) % below;
}

static void map_slot(unsigned int n)
{
	/* Half of them whole 2 MiB at 2 MiB boundaries, for the bigger leaves. */
	bool big = any(2);
	uint64_t unit = big ? 2 << 20 : PAGE;
	uint64_t len = (1 + any(big ? 3 : 700)) * unit;
	uint64_t from = any((MEMORY - len) / unit + 1) * unit;
	uint64_t at = any((SLOT_SPAN - len) / unit) * unit;

	slots[n].iova = 0x100000000ull + n * SLOT_SPAN + at;
	slots[n].len = len;
	if (vfio_map(&dev, memory + from, slots[n].iova, len,
		     VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE))
		ksft_exit_fail_perror("VFIO_IOMMU_MAP_DMA");
}

static void unmap_slot(unsigned int n)
{
	if (vfio_unmap(&dev, slots[n].iova, slots[n].len))
		ksft_exit_fail_perror("VFIO_IOMMU_UNMAP_DMA");
	slots[n].len = 0;
}

static void print_slots(void)
{
	unsigned int n;

	printf("mapped:");
	for (n = 0; n < SLOTS; n++)
		if (slots[n].len)
			printf(" %llx-%llx", (unsigned long long)slots[n].iova,
			       (unsigned long long)(slots[n].iova + slots[n].len - 1));
	printf("\n");
	fflush(stdout);
}

static bool host_agrees(FILE *host)
{
	char line[64];

	return fgets(line, sizeof(line), host) && !strncmp(line, "yes", 3);
}

int main(int argc, char **argv)
{
	unsigned int round, rounds, op, n, wrong = 0;
	FILE *host;
	int mem;

	ksft_print_header();
	if (argc != 5)
		ksft_exit_fail_msg("usage: vfio_churn BDF ROUNDS SEED PHYSICAL\n");
	rounds = (unsigned int)atoi(argv[2]);
	state = strtoull(argv[3], NULL, 0) | 1;
	ksft_set_plan(2);
	host = fopen("/dev/ttyS1", "r");
	mem = open("/dev/mem", O_RDWR);
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, mem,
		      (off_t)strtoull(argv[4], NULL, 0));
	if (!host || memory == MAP_FAILED)
		ksft_exit_fail_perror("memory or host");
	dev = vfio_device_open(argv[1]);
	for (round = 0; round < rounds; round++) {
		for (op = 0; op < OPS; op++) {
			n = (unsigned int)any(SLOTS);
			if (slots[n].len)
				unmap_slot(n);
			else
				map_slot(n);
		}
		print_slots();
		wrong += !host_agrees(host);
	}
	ksft_test_result(!wrong, "the device sees what is mapped, after each of %u rounds\n", rounds);
	for (n = 0; n < SLOTS; n++)
		if (slots[n].len)
			unmap_slot(n);
	print_slots();
	ksft_test_result(host_agrees(host), "the device sees nothing in the end\n");
	ksft_finished();
}
