// SPDX-License-Identifier: GPL-2.0
/*
 * Fires one DMA of QEMU's iommu-testdev (1b36:0005) from user space and says where it went.
 *
 * The device writes 0x12345678 repeatedly to IOVA through its IOMMU, then reads GPA physically and
 * compares. So "ok" proves that IOVA is translated to GPA, "write blocked" that the IOMMU refused,
 * "mismatch" that the write went elsewhere (or nowhere).
 *
 * usage: iommu_testdev [-a] [-l] [-q] BDF IOVA GPA LEN
 *   BDF   0000:00:10.0 or 00:10.0; with -a VENDOR:DEVICE, the first device with these ids
 *   IOVA  address the device uses; "gpa" for the same number as GPA
 *   GPA   where the bytes should arrive; "auto" for a locked buffer of this program
 *   LEN   bytes, a multiple of 4; with "auto" at most to the end of a page
 *   -l    fires until SIGTERM, then prints how often and how many times it was not ok
 *   -q    prints nothing but the result's name
 * Numbers may be hexadecimal (0x...). The target is cleared first, so a result cannot be left over.
 *
 * exit status: 0 ok, 1 write blocked, 2 mismatch, 3 read failed, 4 other result, 64 wrong usage or
 * no such device, 65 blocked or mismatch, yet the target was changed.
 *
 * Source: QEMU 11.1 hw/misc/iommu-testdev.c.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096u
#define PATTERN_LEN 4u

enum reg {
	REG_TRIGGER = 0x00,
	REG_IOVA_LO = 0x04,
	REG_IOVA_HI = 0x08,
	REG_LEN = 0x0c,
	REG_RESULT = 0x10,
	REG_DOORBELL = 0x14,
	REG_GPA_LO = 0x1c,
	REG_GPA_HI = 0x20,
};

enum status {
	OK = 0,
	BLOCKED = 1,
	MISMATCH = 2,
	READ_FAILED = 3,
	OTHER = 4,
	USAGE = 64,
	PARTIAL = 65,
};

static const struct {
	uint32_t result;
	enum status status;
	const char *name;
} results[] = {
	{ 0x00000000, OK, "ok" },
	{ 0xdead0001, OTHER, "bad length" },
	{ 0xdead0002, BLOCKED, "write blocked" },
	{ 0xdead0003, READ_FAILED, "read failed" },
	{ 0xdead0004, MISMATCH, "mismatch" },
	{ 0xdead0005, OTHER, "not armed" },
	{ 0xdead0006, OTHER, "bad attributes" },
	{ 0xfffffffe, OTHER, "busy" },
	{ 0xffffffff, OTHER, "idle" },
};

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("iommu_testdev: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(USAGE);
}

static uint64_t number(const char *what, const char *text)
{
	char *end;
	uint64_t value;

	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno || end == text || *end)
		die("%s '%s' is no number", what, text);
	return value;
}

/* Reads a hexadecimal number from a device's file in sysfs. */
static unsigned int read_id(const char *bdf, const char *name)
{
	char path[512];
	unsigned int id = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", bdf, name);
	f = fopen(path, "r");
	if (!f || fscanf(f, "%x", &id) != 1)
		id = 0;
	if (f)
		fclose(f);
	return id;
}

/* Finds the lowest address of a device with these ids. */
static void find_device(const char *ids, char *bdf, size_t size)
{
	unsigned int vendor, device;
	struct dirent *e;
	DIR *dir;

	if (sscanf(ids, "%x:%x", &vendor, &device) != 2)
		die("'%s' is not VENDOR:DEVICE", ids);
	dir = opendir("/sys/bus/pci/devices");
	if (!dir)
		die("no /sys/bus/pci/devices");
	bdf[0] = 0;
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.' || read_id(e->d_name, "vendor") != vendor ||
		    read_id(e->d_name, "device") != device)
			continue;
		if (!bdf[0] || strcmp(e->d_name, bdf) < 0)
			snprintf(bdf, size, "%s", e->d_name);
	}
	closedir(dir);
	if (!bdf[0])
		die("no device %s", ids);
}

/* Lets a device that a driver holds answer at its BAR. */
static void enable_memory(const char *bdf)
{
	uint16_t command;
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", bdf);
	fd = open(path, O_RDWR);
	if (fd < 0 || pread(fd, &command, 2, 4) != 2)
		die("%s: %s", path, strerror(errno));
	command |= 2;
	if (pwrite(fd, &command, 2, 4) != 2)
		die("%s: %s", path, strerror(errno));
	close(fd);
}

static volatile uint32_t *map_registers(const char *bdf)
{
	char path[512];
	void *p;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/enable", bdf);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		die("no device %s", bdf);
	if (write(fd, "1", 1) != 1) {
		if (errno != EBUSY)
			die("cannot enable %s: %s", bdf, strerror(errno));
		enable_memory(bdf);
	}
	close(fd);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource0", bdf);
	fd = open(path, O_RDWR | O_SYNC);
	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		die("mmap of %s: %s", path, strerror(errno));
	close(fd);
	return p;
}

/* A locked page of this program, and its physical address. */
static volatile uint8_t *own_page(uint64_t *gpa)
{
	uint64_t entry = 0;
	void *p;
	int fd;

	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (p == MAP_FAILED || mlock(p, PAGE))
		die("cannot lock a page: %s", strerror(errno));
	memset(p, 0xff, PAGE);
	fd = open("/proc/self/pagemap", O_RDONLY);
	if (fd < 0 || pread(fd, &entry, sizeof(entry), (uintptr_t)p / PAGE * sizeof(entry)) != sizeof(entry))
		die("/proc/self/pagemap: %s", strerror(errno));
	close(fd);
	entry &= (1ull << 55) - 1;
	if (!entry)
		die("/proc/self/pagemap hides the address: root is needed");
	*gpa = entry * PAGE;
	return p;
}

/* The given physical range, for clearing and looking. */
static volatile uint8_t *physical(uint64_t gpa, uint32_t len)
{
	uint64_t first = gpa & ~(uint64_t)(PAGE - 1);
	int fd = open("/dev/mem", O_RDWR);
	uint8_t *p;

	if (fd < 0)
		die("/dev/mem: %s (only GPA 'auto' works without it)", strerror(errno));
	p = mmap(NULL, gpa - first + len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)first);
	if (p == MAP_FAILED)
		die("mmap of /dev/mem at 0x%" PRIx64 ": %s", gpa, strerror(errno));
	close(fd);
	return p + (gpa - first);
}

/* One DMA: what became of it, and how many bytes of the target changed. */
struct outcome {
	const char *name;
	enum status status;
	uint32_t result, changed;
};

static struct outcome fire(volatile uint32_t *reg, volatile uint8_t *target, uint64_t iova, uint64_t gpa, uint32_t len)
{
	struct outcome o = { .name = "unknown result", .status = OTHER };
	uint32_t i;

	for (i = 0; i < len; i++)
		target[i] = 0;
	reg[REG_IOVA_LO / 4] = (uint32_t)iova;
	reg[REG_IOVA_HI / 4] = (uint32_t)(iova >> 32);
	reg[REG_LEN / 4] = len;
	reg[REG_GPA_LO / 4] = (uint32_t)gpa;
	reg[REG_GPA_HI / 4] = (uint32_t)(gpa >> 32);
	reg[REG_DOORBELL / 4] = 1;
	/* Reading the trigger runs the DMA; it is over when the read returns. */
	(void)reg[REG_TRIGGER / 4];
	o.result = reg[REG_RESULT / 4];

	for (i = 0; i < len; i++)
		o.changed += target[i] != 0;
	for (i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
		if (results[i].result == o.result) {
			o.name = results[i].name;
			o.status = results[i].status;
		}
	}
	if (o.status == OK && o.changed != len) {
		o.name = "ok, but the processor does not see it";
		o.status = OTHER;
	} else if (o.status == BLOCKED && o.changed) {
		o.name = "write blocked, but the target was changed";
		o.status = PARTIAL;
	} else if (o.status == MISMATCH && o.changed) {
		o.name = "mismatch, but the target was changed";
		o.status = PARTIAL;
	}
	return o;
}

static volatile sig_atomic_t stopped;

static void stop(int signal)
{
	(void)signal;
	stopped = 1;
}

/* Fires until SIGTERM comes. */
static int fire_on(volatile uint32_t *reg, volatile uint8_t *target, uint64_t iova, uint64_t gpa, uint32_t len)
{
	unsigned long fired = 0, lost = 0;
	const char *first = "";

	signal(SIGTERM, stop);
	while (!stopped) {
		struct outcome o = fire(reg, target, iova, gpa, len);

		fired++;
		if (o.status != OK && !lost++)
			first = o.name;
	}
	printf("%lu fired, %lu lost%s%s\n", fired, lost, lost ? ", first: " : "", first);
	return lost ? BLOCKED : OK;
}

int main(int argc, char **argv)
{
	int opt, by_ids = 0, quiet = 0, on = 0;
	volatile uint8_t *target;
	volatile uint32_t *reg;
	uint64_t iova, gpa;
	struct outcome o;
	uint32_t len;
	char bdf[300];

	while ((opt = getopt(argc, argv, "alq")) != -1) {
		if (opt == 'a')
			by_ids = 1;
		else if (opt == 'l')
			on = 1;
		else if (opt == 'q')
			quiet = 1;
		else
			return USAGE;
	}
	if (argc - optind != 4)
		die("usage: iommu_testdev [-a] [-l] [-q] BDF IOVA|gpa GPA|auto LEN");
	argv += optind;
	if (by_ids)
		find_device(argv[0], bdf, sizeof(bdf));
	else
		snprintf(bdf, sizeof(bdf), "%s%s", strlen(argv[0]) == 7 ? "0000:" : "", argv[0]);
	len = (uint32_t)number("LEN", argv[3]);
	if (!len || len % PATTERN_LEN)
		die("LEN %u is no multiple of 4", len);
	if (!strcmp(argv[2], "auto")) {
		if (len > PAGE)
			die("LEN %u: with GPA 'auto' at most %u", len, PAGE);
		target = own_page(&gpa);
	} else {
		gpa = number("GPA", argv[2]);
		target = physical(gpa, len);
	}
	iova = strcmp(argv[1], "gpa") ? number("IOVA", argv[1]) : gpa;
	if (read_id(bdf, "vendor") != 0x1b36 || read_id(bdf, "device") != 0x0005)
		die("%s is no iommu-testdev", bdf);
	reg = map_registers(bdf);
	if (on)
		return fire_on(reg, target, iova, gpa, len);

	o = fire(reg, target, iova, gpa, len);
	if (quiet)
		printf("%s\n", o.name);
	else
		printf("%s iova=0x%" PRIx64 " gpa=0x%" PRIx64 " len=%u result=0x%08x changed=%u: %s\n",
		       bdf, iova, gpa, len, o.result, o.changed, o.name);
	return o.status;
}
