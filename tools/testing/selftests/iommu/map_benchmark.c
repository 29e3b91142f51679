// SPDX-License-Identifier: GPL-2.0
/*
 * Runs the kernel's own dma_map_benchmark on the device that is bound to it, or takes the time that
 * other things need. Under QEMU's -icount a nanosecond of the guest's clock is an instruction.
 *
 * usage: map_benchmark single|sg PAGES      one second of maps and unmaps by one thread
 *        map_benchmark write NAME FILE TEXT...   mean of writing each TEXT, in that order
 *        map_benchmark now NAME             since the kernel began
 *        map_benchmark module FILE PARAMS RELEASE   mean of loading a module, and of writing 1 to RELEASE
 *                                           and unloading it, 20 times; memory that is gone after it
 *
 * Source of the interface: include/uapi/linux/map_benchmark.h.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
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

/* Free memory in KiB, or 0. */
static unsigned long long free_kib(void)
{
	unsigned long long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemFree: %llu", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

static int module(const char *file, const char *params, const char *release)
{
	const int rounds = 20;
	uint64_t load = 0, unload = 0;
	unsigned long long before = 0, after;

	/* The first only warms up. */
	for (int i = 0; i <= rounds; i++) {
		int ko = open(file, O_RDONLY), fd;
		uint64_t start = now(), loaded, end;

		if (ko < 0 || syscall(SYS_finit_module, ko, params, 0))
			return fail(file);
		loaded = now();
		fd = open(release, O_WRONLY);
		if (fd < 0 || write(fd, "1", 1) < 0)
			return fail(release);
		close(fd);
		if (syscall(SYS_delete_module, "rust_iommu", O_NONBLOCK))
			return fail("delete_module");
		end = now();
		close(ko);
		if (i == 0) {
			before = free_kib();
			continue;
		}
		load += loaded - start;
		unload += end - loaded;
	}
	after = free_kib();
	printf("COUNT module load_ns %llu\n", (unsigned long long)load / rounds);
	printf("COUNT module unload_ns %llu\n", (unsigned long long)unload / rounds);
	printf("COUNT module left_kib %llu\n", before > after ? before - after : 0);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && (!strcmp(argv[1], "single") || !strcmp(argv[1], "sg")))
		return benchmark(argv[1], argv[2]);
	if (argc > 4 && !strcmp(argv[1], "write"))
		return writes(argv[2], argv[3], argc - 4, argv + 4);
	if (argc == 3 && !strcmp(argv[1], "now"))
		return printf("COUNT %s ns %llu\n", argv[2], (unsigned long long)now()) < 0;
	if (argc == 5 && !strcmp(argv[1], "module"))
		return module(argv[2], argv[3], argv[4]);
	fprintf(stderr, "usage: map_benchmark single|sg PAGES | write NAME FILE TEXT... | now NAME | module FILE PARAMS RELEASE\n");
	return 2;
}
