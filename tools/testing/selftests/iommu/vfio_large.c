// SPDX-License-Identifier: GPL-2.0
/*
 * Maps a large page where a small one was, while somebody counts what the unit is told.
 *
 * usage: vfio_large BDF
 *
 * Prints "host: ready" before that and waits for a line, prints "LARGE 1" after it and waits for another.
 */
#include "vfio_device.h"

#define IOVA 0x40000000ull
#define LARGE (2ul << 20)
#define BOTH (VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)

static void say_and_wait(const char *what)
{
	char line[64];

	printf("%s\n", what);
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		ksft_exit_fail_msg("nobody answers\n");
}

int main(int argc, char **argv)
{
	struct vfio_device dev;
	uint8_t *large;

	if (argc != 2)
		ksft_exit_fail_msg("usage: vfio_large BDF\n");
	large = mmap(NULL, LARGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_HUGETLB, -1, 0);
	if (large == MAP_FAILED)
		ksft_exit_fail_perror("a large page");
	dev = vfio_device_open(argv[1]);
	if (vfio_map(&dev, large, IOVA, 4096, BOTH) || vfio_unmap(&dev, IOVA, 4096))
		ksft_exit_fail_perror("a small mapping");
	say_and_wait("host: ready");
	if (vfio_map(&dev, large, IOVA, LARGE, BOTH))
		ksft_exit_fail_perror("a large mapping");
	say_and_wait("LARGE 1");
	if (vfio_unmap(&dev, IOVA, LARGE))
		ksft_exit_fail_perror("its unmap");
	return 0;
}
