// SPDX-License-Identifier: GPL-2.0
/*
 * Lets each allocation of an operation fail, one after the other, and wants the operation to fail
 * cleanly or to manage without; and in the end to work.
 *
 * usage: inject [-v] [-f FIRST] [-l LAST] [-s STEP] OPERATION ARGUMENTS
 *
 *        inject load KO             load the module; what loads is released and removed again
 *        inject type FILE A B       switch a group's type from B to A; back without injection
 *        inject read DISK           read 64 KiB, with the page cache out of the way
 *        inject claim BDF           give the device an address space of its own and map 2 MiB
 *
 * The n-th allocation of this task fails (Documentation/fault-injection), n = FIRST (1), FIRST + STEP (1), ... until
 * the operation has less than n, or up to LAST. Prints how often it failed and how often it
 * managed. With -v the kernel shows where each one is.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include "vfio_device.h"

#define MOST 20000
/* So much that each read needs a new page of tables. */
#define READ_LEN (2 << 20)

static char **args;

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);
	int r = fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return r;
}

static void must_write(const char *path, const char *text)
{
	int r = write_file(path, text);

	if (r)
		ksft_exit_fail_msg("%s: cannot write '%s': %s\n", path, text, strerror(-r));
}

static int load(void)
{
	int fd = open(args[0], O_RDONLY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return -errno;
	r = syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;
	close(fd);
	return r;
}

static void unload(void)
{
	must_write("/sys/devices/faux/rust_iommu/release", "1");
	if (syscall(SYS_delete_module, "rust_iommu", O_NONBLOCK))
		ksft_exit_fail_perror("removing rust_iommu");
}

static int type(void)
{
	return write_file(args[0], args[1]);
}

static void type_back(void)
{
	must_write(args[0], args[2]);
}

static int disk, read_wrong;
static uint8_t *buffer, *wanted;

static int read_disk(void)
{
	memset(buffer, 0, READ_LEN);
	if (pread(disk, buffer, READ_LEN, 0) != READ_LEN)
		return -errno;
	/* What arrives at all has to be right. */
	read_wrong += !!memcmp(buffer, wanted, READ_LEN);
	return 0;
}

static void open_disk(void)
{
	buffer = aligned_alloc(4096, READ_LEN);
	wanted = aligned_alloc(4096, READ_LEN);
	disk = open(args[0], O_RDONLY | O_DIRECT);
	if (disk < 0 || pread(disk, wanted, READ_LEN, 0) != READ_LEN)
		ksft_exit_fail_perror(args[0]);
}

static int container, group;
static char group_path[160];

static void drop_claim(void)
{
	close(group);
	close(container);
}

static int claim(void)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)buffer,
		.iova = 0x40000000,
		.size = 2 << 20,
	};
	int r = 0;

	container = open("/dev/vfio/vfio", O_RDWR);
	group = open(group_path, O_RDWR);
	if (container < 0 || group < 0 || ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) ||
	    ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) ||
	    ioctl(container, VFIO_IOMMU_MAP_DMA, &map))
		r = -errno;
	if (r)
		drop_claim();
	return r;
}

static void find_group(void)
{
	char path[128], target[256];
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", args[0]);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		ksft_exit_fail_perror(path);
	target[n] = 0;
	snprintf(group_path, sizeof(group_path), "/dev/vfio%s", strrchr(target, '/'));
	buffer = aligned_alloc(2 << 20, 2 << 20);
	memset(buffer, 1, 2 << 20);
}

static void nothing(void)
{
}

static const struct operation {
	const char *name;
	int args;
	void (*start)(void);
	int (*run)(void);
	void (*undo)(void);
	/* Somebody above tries again, so failures need not show. */
	bool retried;
} operations[] = {
	{ "load", 1, nothing, load, unload, false },
	{ "type", 3, nothing, type, type_back, false },
	{ "read", 1, open_disk, read_disk, nothing, true },
	{ "claim", 1, find_group, claim, drop_claim, false },
};

/* All kinds of allocations may fail, and only those of tasks that ask for it. */
static void arm(const char *verbose)
{
	must_write("/sys/kernel/debug/failslab/ignore-gfp-wait", "N");
	must_write("/sys/kernel/debug/failslab/verbose", verbose);
	must_write("/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "N");
	must_write("/sys/kernel/debug/fail_page_alloc/ignore-gfp-highmem", "N");
	must_write("/sys/kernel/debug/fail_page_alloc/min-order", "0");
	must_write("/sys/kernel/debug/fail_page_alloc/verbose", verbose);
}

/*
 * Beside ENOMEM: the IOMMU core makes EINVAL of a default domain it cannot have, request_mem_region()
 * cannot tell no memory from a region that is taken, an IDR says ENOSPC, a disk EIO.
 */
static bool expected(int r)
{
	return r == -ENOMEM || r == -EINVAL || r == -EBUSY || r == -ENOSPC || r == -EIO ||
	       r == -EAGAIN;
}

/* Runs the operation, and undoes it, with its n-th allocation failing; false if it has less. */
static bool run_failing(const struct operation *op, int fail_nth, unsigned int n, int *result)
{
	char text[16] = "";

	snprintf(text, sizeof(text), "%u", n);
	if (pwrite(fail_nth, text, strlen(text), 0) < 0)
		ksft_exit_fail_perror("fail-nth");
	*result = op->run();
	memset(text, 0, sizeof(text));
	if (pread(fail_nth, text, sizeof(text) - 1, 0) < 0 || pwrite(fail_nth, "0", 1, 0) < 0)
		ksft_exit_fail_perror("fail-nth");
	if (!*result)
		op->undo();
	/* What is left of the count if it was not reached. */
	return !atoi(text);
}

int main(int argc, char **argv)
{
	unsigned int i, n, first = 1, last = MOST, step = 1, failed = 0, managed = 0, strange = 0;
	const struct operation *op = NULL;
	const char *verbose = "0";
	bool ended = false;
	int fd, opt, r = 0;

	ksft_print_header();
	while ((opt = getopt(argc, argv, "+vf:l:s:")) != -1) {
		if (opt == 'v')
			verbose = "2";
		else if (opt == 'f')
			first = (unsigned int)atoi(optarg);
		else if (opt == 'l')
			last = (unsigned int)atoi(optarg);
		else if (opt == 's' && atoi(optarg) > 0)
			step = (unsigned int)atoi(optarg);
		else
			return KSFT_FAIL;
	}
	args = argv + optind + 1;
	for (i = 0; i < ARRAY_SIZE(operations); i++)
		if (argc > optind && !strcmp(argv[optind], operations[i].name) &&
		    argc == optind + 1 + operations[i].args)
			op = &operations[i];
	if (!op)
		ksft_exit_fail_msg("usage: inject load KO | type FILE A B | read DISK | claim BDF\n");
	ksft_set_plan(1);
	arm(verbose);
	op->start();
	fd = open("/proc/thread-self/fail-nth", O_RDWR);
	if (fd < 0)
		ksft_exit_fail_perror("/proc/thread-self/fail-nth");
	for (n = first; n <= last; n += step) {
		ended = !run_failing(op, fd, n, &r);
		if (ended)
			break;
		managed += !r;
		failed += !!r;
		if (r && !expected(r)) {
			strange++;
			ksft_print_msg("allocation %u: %s\n", n, strerror(-r));
			/* Once more, and the kernel shows where it is. */
			arm("2");
			run_failing(op, fd, n, &r);
			arm(verbose);
		}
	}
	close(fd);
	ksft_print_msg("%s: %u failed, %u managed without, %u with a strange error\n", op->name, failed,
		       managed, strange);
	/* Whatever failed before, it works now. */
	if (!ended) {
		r = op->run();
		if (!r)
			op->undo();
	}
	if (r)
		ksft_print_msg("without injection: %s\n", strerror(-r));
	ksft_test_result(!r && (failed || op->retried) && !strange && !read_wrong, "%s with %u allocations failing\n",
			 op->name, failed + managed);
	ksft_finished();
}
