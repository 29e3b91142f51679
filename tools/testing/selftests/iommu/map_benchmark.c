// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the kernel's own dma_map_benchmark on the device that is bound to it, or takes the time that
 * writes into a file need. Under QEMU's -icount a nanosecond of the guest's clock is an instruction.
 *
 * usage: map_benchmark single|sg PAGES      one second of maps and unmaps by one thread
 *        map_benchmark write NAME FILE TEXT...   mean of writing each TEXT, in that order
 *
 * Source of the interface: include/uapi/linux/map_benchmark.h.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

struct map_benchmark {
	uint64_t avg_map_100ns, map_stddev, avg_unmap_100ns, unmap_stddev;
	uint32_t threads, seconds;
	int32_t node;
	uint32_t dma_bits, dma_dir, dma_trans_ns, granule;
	uint8_t map_mode;
	uint8_t expansion[75];
};

#define DMA_MAP_BENCHMARK _IOWR('d', 1, struct map_benchmark)

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static int benchmark(const char *mode, const char *pages)
{
	struct map_benchmark b = { .threads = 1, .seconds = 1, .node = -1, .dma_bits = 64, .granule = atoi(pages) };
	int fd = open("/sys/kernel/debug/dma_map_benchmark", O_RDWR);

	b.map_mode = !strcmp(mode, "sg");
	if (fd < 0)
		return fail("/sys/kernel/debug/dma_map_benchmark");
	if (ioctl(fd, DMA_MAP_BENCHMARK, &b))
		return fail("DMA_MAP_BENCHMARK");
	printf("COUNT kernel_%s_%s map_100ns %llu\n", mode, pages, (unsigned long long)b.avg_map_100ns);
	printf("COUNT kernel_%s_%s unmap_100ns %llu\n", mode, pages, (unsigned long long)b.avg_unmap_100ns);
	return 0;
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int writes(const char *name, const char *file, int n, char **text)
{
	uint64_t start = now();

	for (int i = 0; i < n; i++) {
		int fd = open(file, O_WRONLY);

		if (fd < 0 || write(fd, text[i], strlen(text[i])) < 0)
			return fail(file);
		close(fd);
	}
	printf("COUNT %s ns %llu\n", name, (unsigned long long)(now() - start) / n);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && (!strcmp(argv[1], "single") || !strcmp(argv[1], "sg")))
		return benchmark(argv[1], argv[2]);
	if (argc > 4 && !strcmp(argv[1], "write"))
		return writes(argv[2], argv[3], argc - 4, argv + 4);
	fprintf(stderr, "usage: map_benchmark single|sg PAGES | write NAME FILE TEXT...\n");
	return 2;
}
