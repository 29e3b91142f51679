/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Two of QEMU's devices that do DMA where they are told.
 *
 * edu (1234:11e8) reads and writes through a buffer of its own. iommu-testdev (1b36:0005) only
 * writes, but knows by itself whether that was refused.
 *
 * Source: QEMU 11.1 docs/specs/edu.rst, hw/misc/iommu-testdev.c.
 */
#ifndef DMA_DEVICE_H
#define DMA_DEVICE_H

#include "vfio_device.h"

enum {
	EDU_SRC = 0x80,
	EDU_DST = 0x88,
	EDU_COUNT = 0x90,
	EDU_COMMAND = 0x98,
	EDU_BUFFER = 0x40000,
	EDU_RUN = 1,
	EDU_TO_MEMORY = 2,
};

enum {
	TESTDEV_TRIGGER = 0x00,
	TESTDEV_IOVA_LO = 0x04,
	TESTDEV_IOVA_HI = 0x08,
	TESTDEV_LEN = 0x0c,
	TESTDEV_RESULT = 0x10,
	TESTDEV_DOORBELL = 0x14,
	TESTDEV_GPA_LO = 0x1c,
	TESTDEV_GPA_HI = 0x20,
};

struct dma_device {
	struct vfio_device vfio;
	bool can_read;
};

static inline volatile uint32_t *reg32(struct dma_device *dev, size_t at)
{
	return (volatile uint32_t *)(dev->vfio.bar + at);
}

static inline void edu_run(struct dma_device *dev, uint64_t src, uint64_t dst, uint64_t len,
			   uint32_t command)
{
	int tries;

	*(volatile uint64_t *)(dev->vfio.bar + EDU_SRC) = src;
	*(volatile uint64_t *)(dev->vfio.bar + EDU_DST) = dst;
	*(volatile uint64_t *)(dev->vfio.bar + EDU_COUNT) = len;
	*reg32(dev, EDU_COMMAND) = command | EDU_RUN;
	/* The device waits 100 ms before it starts. */
	for (tries = 0; *reg32(dev, EDU_COMMAND) & EDU_RUN; tries++) {
		if (tries > 5000)
			ksft_exit_fail_msg("edu does not finish its DMA\n");
		usleep(1000);
	}
}

/* The device reads memory at `iova` and keeps it. */
static inline void dma_read(struct dma_device *dev, uint64_t iova, uint64_t len)
{
	edu_run(dev, iova, EDU_BUFFER, len, 0);
}

/* The device writes to `iova`: edu what it read last, iommu-testdev its pattern. */
static inline void dma_write(struct dma_device *dev, uint64_t iova, uint64_t len)
{
	if (dev->can_read) {
		edu_run(dev, EDU_BUFFER, iova, len, EDU_TO_MEMORY);
		return;
	}
	*reg32(dev, TESTDEV_IOVA_LO) = (uint32_t)iova;
	*reg32(dev, TESTDEV_IOVA_HI) = (uint32_t)(iova >> 32);
	*reg32(dev, TESTDEV_LEN) = (uint32_t)len;
	/* Where it looks for what it wrote; not used here, as we look ourselves. */
	*reg32(dev, TESTDEV_GPA_LO) = 0;
	*reg32(dev, TESTDEV_GPA_HI) = 0;
	*reg32(dev, TESTDEV_DOORBELL) = 1;
	/* Reading the trigger runs the DMA; it is over when the read returns. */
	(void)*reg32(dev, TESTDEV_TRIGGER);
}

#endif
