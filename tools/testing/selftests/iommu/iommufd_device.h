/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A PCI device in the hands of this program by way of iommufd and VFIO's cdev, and what iommufd is
 * asked about address spaces. The calls return 0 or -errno; what opens and makes things ends the
 * test with one line if it fails.
 */
#ifndef IOMMUFD_DEVICE_H
#define IOMMUFD_DEVICE_H

#include <dirent.h>
#include <linux/iommufd.h>
#include "dma_device.h"

struct iommufd_device {
	struct dma_device dma;
	uint32_t id;
};

static inline int iommufd_call(int iommufd, unsigned long request, void *args)
{
	return ioctl(iommufd, request, args) ? -errno : 0;
}

/* Opens a device that is bound to vfio-pci and binds it to an iommufd; no DMA of it goes anywhere yet. */
static inline struct iommufd_device iommufd_device_open(int iommufd, const char *bdf)
{
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = iommufd };
	struct iommufd_device dev = { .dma.can_read = true };
	struct dirent *entry;
	char path[512];
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vfio-dev", bdf);
	dir = opendir(path);
	if (!dir)
		ksft_exit_fail_msg("%s: no vfio-dev (bind the device to vfio-pci)\n", bdf);
	while ((entry = readdir(dir)) && strncmp(entry->d_name, "vfio", 4))
		;
	if (!entry)
		ksft_exit_fail_msg("%s is empty (CONFIG_VFIO_DEVICE_CDEV?)\n", path);
	snprintf(path, sizeof(path), "/dev/vfio/devices/%s", entry->d_name);
	closedir(dir);
	dev.dma.vfio.fd = vfio_open_or_exit(path, "VFIO's cdev");
	if (ioctl(dev.dma.vfio.fd, VFIO_DEVICE_BIND_IOMMUFD, &bind))
		ksft_exit_fail_perror("VFIO_DEVICE_BIND_IOMMUFD (iommufd.allow_unsafe_interrupts=1?)");
	dev.id = bind.out_devid;
	vfio_enable(&dev.dma.vfio);
	return dev;
}

/* Attaches to an ioas or hwpt, instead of what the device is attached to. */
static inline int iommufd_attach(struct iommufd_device *dev, uint32_t pt)
{
	struct vfio_device_attach_iommufd_pt attach = { .argsz = sizeof(attach), .pt_id = pt };

	return iommufd_call(dev->dma.vfio.fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
}

static inline int iommufd_detach(struct iommufd_device *dev)
{
	struct vfio_device_detach_iommufd_pt detach = { .argsz = sizeof(detach) };

	return iommufd_call(dev->dma.vfio.fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach);
}

static inline uint32_t iommufd_ioas(int iommufd)
{
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };

	if (ioctl(iommufd, IOMMU_IOAS_ALLOC, &alloc))
		ksft_exit_fail_perror("IOMMU_IOAS_ALLOC");
	return alloc.out_ioas_id;
}

/* A page table over an ioas as `dev` would need it; attaches nothing. `data` goes to the driver. */
static inline int iommufd_hwpt(int iommufd, struct iommufd_device *dev, uint32_t ioas,
			       uint32_t flags, void *data, uint32_t len, uint32_t *hwpt)
{
	struct iommu_hwpt_alloc alloc = {
		.size = sizeof(alloc),
		.flags = flags,
		.dev_id = dev->id,
		.pt_id = ioas,
		.data_type = data ? IOMMU_HWPT_DATA_VTD_S1 : IOMMU_HWPT_DATA_NONE,
		.data_len = len,
		.data_uptr = (uintptr_t)data,
	};
	int err = iommufd_call(iommufd, IOMMU_HWPT_ALLOC, &alloc);

	*hwpt = alloc.out_hwpt_id;
	return err;
}

static inline int iommufd_map(int iommufd, uint32_t ioas, void *at, uint64_t iova, uint64_t len)
{
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
		.ioas_id = ioas,
		.user_va = (uintptr_t)at,
		.length = len,
		.iova = iova,
	};

	return iommufd_call(iommufd, IOMMU_IOAS_MAP, &map);
}

static inline int iommufd_unmap(int iommufd, uint32_t ioas, uint64_t iova, uint64_t len)
{
	struct iommu_ioas_unmap unmap = { .size = sizeof(unmap), .ioas_id = ioas, .iova = iova, .length = len };

	return iommufd_call(iommufd, IOMMU_IOAS_UNMAP, &unmap);
}

static inline int iommufd_destroy(int iommufd, uint32_t id)
{
	struct iommu_destroy destroy = { .size = sizeof(destroy), .id = id };

	return iommufd_call(iommufd, IOMMU_DESTROY, &destroy);
}

#endif
