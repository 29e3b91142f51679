// SPDX-License-Identifier: GPL-2.0
/*
 * The life of iommufd's page tables: made and freed, attached, replaced, detached, shared by two
 * devices; and what the driver has to refuse.
 *
 * usage: iommufd_life BDF BDF [all-flags-refused]
 *
 * Two edu devices of different groups, bound to vfio-pci. What a device is attached to is not
 * believed but tried: it copies a page from FROM to TO, and all memory is looked at. With
 * "all-flags-refused" the driver has none of the optional kinds of page tables; without, each may
 * work or be refused with EOPNOTSUPP.
 */
#include "iommufd_device.h"

#define PAGE 4096ul
#define LEN 256ul
#define FROM 0x40000000ull
#define TO 0x40200000ull
/* In the same table as TO. */
#define FAR 0x40201000ull

enum {
	SOURCE_A,
	TARGET_A,
	SOURCE_B,
	TARGET_B,
	SPARE,
	PAGES,
};

/* What a copy changed. */
enum where {
	NOWHERE,
	IN_A,
	IN_B,
	IN_SPARE,
	WRONG,
};

static const char *const names[] = { "nowhere", "A", "B", "the spare page", "something wrong" };
static uint8_t *memory, before[PAGES * PAGE];
static struct iommufd_device one, two;
static uint32_t a, b;
static int fd;

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

/* Is all memory as it was, but for the first bytes of `target`, which are those of `source`? */
static bool only(unsigned int target, unsigned int source)
{
	static uint8_t want[PAGES * PAGE];

	memcpy(want, before, PAGES * PAGE);
	memcpy(want + target * PAGE, before + source * PAGE, LEN);
	return !memcmp(memory, want, PAGES * PAGE);
}

/* Lets the device copy and says where that went. */
static enum where copy(struct iommufd_device *dev)
{
	fill();
	dma_read(&dev->dma, FROM, LEN);
	dma_write(&dev->dma, TO, LEN);
	if (!memcmp(memory, before, PAGES * PAGE))
		return NOWHERE;
	if (only(TARGET_A, SOURCE_A))
		return IN_A;
	if (only(TARGET_B, SOURCE_B))
		return IN_B;
	return only(SPARE, SOURCE_A) ? IN_SPARE : WRONG;
}

static bool copies(struct iommufd_device *dev, enum where wanted)
{
	enum where got = copy(dev);

	if (got != wanted)
		ksft_print_msg("device %s reached %s, not %s\n", dev == &one ? "one" : "two",
			       names[got], names[wanted]);
	return got == wanted;
}

/* Did the call return what it should? 0 or -errno. */
static bool gives(const char *what, int wanted, int got)
{
	if (got != wanted)
		ksft_print_msg("%s: %s instead of %s\n", what, strerror(-got), strerror(-wanted));
	return got == wanted;
}

#define GIVES(wanted, call) gives(#call, wanted, call)

static void test_refused(bool all)
{
	static const struct {
		uint32_t flags;
		const char *name;
	} kinds[] = {
		{ IOMMU_HWPT_ALLOC_NEST_PARENT, "parent of nested tables" },
		{ IOMMU_HWPT_ALLOC_DIRTY_TRACKING, "dirty tracking" },
		{ IOMMU_HWPT_ALLOC_PASID, "PASID" },
	};
	struct iommu_hwpt_vtd_s1 data = { .addr_width = 48 };
	uint32_t hwpt;
	size_t i;

	ksft_test_result(GIVES(-EOPNOTSUPP, iommufd_hwpt(fd, &one, a, 1u << 31, NULL, 0, &hwpt)),
			 "a flag that does not exist is refused\n");
	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		int err = iommufd_hwpt(fd, &one, a, kinds[i].flags, NULL, 0, &hwpt);

		if (!err && !all)
			err = iommufd_destroy(fd, hwpt) ?: -EOPNOTSUPP;
		ksft_test_result(gives(kinds[i].name, -EOPNOTSUPP, err), "%s: refused%s\n",
				 kinds[i].name, all ? "" : " or made and freed");
	}
	ksft_test_result(GIVES(-EOPNOTSUPP, iommufd_hwpt(fd, &one, a, 0, &data, sizeof(data), &hwpt)),
			 "data that is not for this driver is refused\n");
}

/* Page tables that no device ever uses, filled before and after they are made. */
static void test_unattached(void)
{
	bool good = true;
	int i;

	for (i = 0; i < 20 && good; i++) {
		uint32_t first, second;

		good = GIVES(0, iommufd_hwpt(fd, &one, a, 0, NULL, 0, &first)) &&
		       GIVES(0, iommufd_hwpt(fd, &two, a, 0, NULL, 0, &second)) &&
		       GIVES(0, iommufd_map(fd, a, page(SPARE), FAR, PAGE)) &&
		       GIVES(0, iommufd_destroy(fd, first)) &&
		       GIVES(0, iommufd_unmap(fd, a, FAR, PAGE)) &&
		       GIVES(0, iommufd_destroy(fd, second));
	}
	ksft_test_result(good, "page tables made, filled and freed without a device\n");
}

static void test_one(void)
{
	uint32_t hwpt;
	bool good;

	ksft_test_result(copies(&one, NOWHERE), "bound, not attached: reaches nothing\n");
	ksft_test_result(GIVES(0, iommufd_attach(&one, a)) && copies(&one, IN_A), "attached\n");
	ksft_test_result(GIVES(0, iommufd_attach(&one, b)) && copies(&one, IN_B),
			 "replaced by another address space\n");
	good = GIVES(0, iommufd_hwpt(fd, &one, a, 0, NULL, 0, &hwpt)) &&
	       GIVES(0, iommufd_attach(&one, hwpt)) && copies(&one, IN_A);
	ksft_test_result(good, "replaced by a page table made before\n");
	ksft_test_result(GIVES(-EBUSY, iommufd_destroy(fd, hwpt)) && copies(&one, IN_A),
			 "what is in use is not freed\n");
	ksft_test_result(GIVES(-ENOENT, iommufd_attach(&one, 0x7fffffff)) && copies(&one, IN_A),
			 "a replacement that does not exist changes nothing\n");
	good = GIVES(0, iommufd_detach(&one)) && copies(&one, NOWHERE) &&
	       GIVES(0, iommufd_destroy(fd, hwpt));
	ksft_test_result(good, "detached: reaches nothing\n");
	ksft_test_result(GIVES(0, iommufd_attach(&one, a)) && copies(&one, IN_A), "attached again\n");
}

/* Both in `a`. */
static void test_two(void)
{
	bool good;

	ksft_test_result(GIVES(0, iommufd_attach(&two, a)) && copies(&two, IN_A) && copies(&one, IN_A),
			 "two groups in one address space\n");
	fill();
	good = GIVES(0, iommufd_map(fd, a, page(SPARE), FAR, PAGE));
	dma_read(&one.dma, FROM, LEN);
	dma_write(&one.dma, TO, LEN);
	dma_read(&two.dma, TO, LEN);
	dma_write(&two.dma, FAR, LEN);
	ksft_test_result(good && !memcmp(page(TARGET_A), before, LEN) && !memcmp(page(SPARE), before, LEN),
			 "what one writes, the other reads\n");
	good = GIVES(0, iommufd_unmap(fd, a, FAR, PAGE)) && GIVES(0, iommufd_unmap(fd, a, TO, PAGE)) &&
	       copies(&one, NOWHERE);
	ksft_test_result(copies(&two, NOWHERE) && good, "unmapped: neither reaches it\n");
	good = GIVES(0, iommufd_map(fd, a, page(SPARE), TO, PAGE)) && copies(&one, IN_SPARE);
	ksft_test_result(copies(&two, IN_SPARE) && good, "mapped anew: both reach the new page\n");
	good = GIVES(0, iommufd_unmap(fd, a, TO, PAGE)) &&
	       GIVES(0, iommufd_map(fd, a, page(TARGET_A), TO, PAGE)) &&
	       GIVES(0, iommufd_attach(&two, b)) && copies(&one, IN_A);
	ksft_test_result(copies(&two, IN_B) && good, "one replaced: each reaches its own\n");
	good = GIVES(0, iommufd_attach(&two, a)) && GIVES(0, iommufd_detach(&one)) && copies(&one, NOWHERE);
	ksft_test_result(copies(&two, IN_A) && good, "one detached: the other goes on\n");
	good = GIVES(0, iommufd_attach(&one, a)) && copies(&one, IN_A) && GIVES(-EBUSY, iommufd_destroy(fd, a));
	ksft_test_result(copies(&two, IN_A) && good, "both attached when all is closed\n");
}

int main(int argc, char **argv)
{
	ksft_print_header();
	if (argc != 3 && (argc != 4 || strcmp(argv[3], "all-flags-refused")))
		ksft_exit_fail_msg("usage: iommufd_life BDF BDF [all-flags-refused]\n");
	ksft_set_plan(21);
	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (memory == MAP_FAILED)
		ksft_exit_fail_perror("memory");
	fd = vfio_open_or_exit("/dev/iommu", "load iommufd");
	one = iommufd_device_open(fd, argv[1]);
	two = iommufd_device_open(fd, argv[2]);
	a = iommufd_ioas(fd);
	b = iommufd_ioas(fd);
	if (iommufd_map(fd, a, page(SOURCE_A), FROM, PAGE) || iommufd_map(fd, a, page(TARGET_A), TO, PAGE) ||
	    iommufd_map(fd, b, page(SOURCE_B), FROM, PAGE) || iommufd_map(fd, b, page(TARGET_B), TO, PAGE))
		ksft_exit_fail_perror("IOMMU_IOAS_MAP");
	test_refused(argc == 4);
	test_unattached();
	test_one();
	test_two();
	ksft_finished();
}
