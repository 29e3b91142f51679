/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A PCI device in the hands of this program by way of VFIO (type 1): its BAR 0, and an address
 * space of its own. Every failure ends the test with one line that says what is missing.
 */
#ifndef VFIO_DEVICE_H
#define VFIO_DEVICE_H

#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include "kselftest.h"

struct vfio_device {
	int container;
	int group;
	int fd;
	volatile uint8_t *bar;
	size_t bar_len;
};

static inline int vfio_open_or_exit(const char *path, const char *hint)
{
	int fd = open(path, O_RDWR);

	if (fd < 0)
		ksft_exit_fail_msg("%s: %s (%s)\n", path, strerror(errno), hint);
	return fd;
}

/* Maps BAR 0, if there is one, and lets the device master the bus. */
static inline void vfio_enable(struct vfio_device *dev)
{
	struct vfio_region_info config = { .argsz = sizeof(config),
					   .index = VFIO_PCI_CONFIG_REGION_INDEX };
	struct vfio_region_info bar = { .argsz = sizeof(bar), .index = VFIO_PCI_BAR0_REGION_INDEX };
	uint16_t command;

	if (ioctl(dev->fd, VFIO_DEVICE_GET_REGION_INFO, &config) ||
	    ioctl(dev->fd, VFIO_DEVICE_GET_REGION_INFO, &bar))
		ksft_exit_fail_perror("VFIO_DEVICE_GET_REGION_INFO");
	if (pread(dev->fd, &command, 2, config.offset + PCI_COMMAND) != 2)
		ksft_exit_fail_perror("reading the command register");
	command |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	if (pwrite(dev->fd, &command, 2, config.offset + PCI_COMMAND) != 2)
		ksft_exit_fail_perror("writing the command register");
	dev->bar_len = bar.size;
	dev->bar = NULL;
	if (!bar.size)
		return;
	dev->bar = mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, dev->fd, bar.offset);
	if (dev->bar == MAP_FAILED)
		ksft_exit_fail_perror("mapping BAR 0");
}

/* Opens a device that is bound to vfio-pci. */
static inline struct vfio_device vfio_device_open(const char *bdf)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	char path[128], target[256];
	struct vfio_device dev;
	const char *number;
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", bdf);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		ksft_exit_fail_msg("%s: no IOMMU group\n", bdf);
	target[n] = 0;
	number = strrchr(target, '/');
	if (!number)
		ksft_exit_fail_msg("%s: strange link %s\n", bdf, target);
	dev.container = vfio_open_or_exit("/dev/vfio/vfio", "load vfio_iommu_type1");
	snprintf(path, sizeof(path), "/dev/vfio%s", number);
	dev.group = vfio_open_or_exit(path, "bind the device to vfio-pci");
	if (ioctl(dev.group, VFIO_GROUP_GET_STATUS, &status) ||
	    !(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		ksft_exit_fail_msg("the group of %s is not viable\n", bdf);
	if (ioctl(dev.group, VFIO_GROUP_SET_CONTAINER, &dev.container))
		ksft_exit_fail_perror("VFIO_GROUP_SET_CONTAINER");
	if (ioctl(dev.container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		ksft_exit_fail_perror("VFIO_SET_IOMMU (allow_unsafe_interrupts=1?)");
	dev.fd = ioctl(dev.group, VFIO_GROUP_GET_DEVICE_FD, bdf);
	if (dev.fd < 0)
		ksft_exit_fail_perror("VFIO_GROUP_GET_DEVICE_FD");
	vfio_enable(&dev);
	return dev;
}

/* Maps memory of this program at an IOVA; `flags` of VFIO_DMA_MAP_FLAG_*. 0 or -1 with errno. */
static inline int vfio_map(struct vfio_device *dev, void *at, uint64_t iova, uint64_t len,
			   uint32_t flags)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = flags,
		.vaddr = (uintptr_t)at,
		.iova = iova,
		.size = len,
	};

	return ioctl(dev->container, VFIO_IOMMU_MAP_DMA, &map);
}

/* Unmaps a range that was mapped; 0 only if all of it was. */
static inline int vfio_unmap(struct vfio_device *dev, uint64_t iova, uint64_t len)
{
	struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof(unmap), .iova = iova, .size = len };

	if (ioctl(dev->container, VFIO_IOMMU_UNMAP_DMA, &unmap))
		return -1;
	return unmap.size == len ? 0 : -1;
}

#endif
