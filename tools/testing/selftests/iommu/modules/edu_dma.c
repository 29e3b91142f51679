// SPDX-License-Identifier: GPL-2.0
/*
 * A driver for QEMU's edu device that declares the DMA masks it is told, moves data by coherent and
 * by streaming memory, compares it, and says which addresses it got.
 *
 * Parameters: streaming and coherent, bits of the masks; 0 declares none. set_both declares them
 * with one call, as most drivers do.
 *
 * Source: QEMU 11.1 docs/specs/edu.rst.
 */
#include <linux/bitfield.h>
#include <linux/delay.h>
#include <linux/dma-mapping.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/random.h>

#define EDU_DMA_SRC	0x80
#define EDU_DMA_DST	0x88
#define EDU_DMA_COUNT	0x90
#define EDU_DMA_CMD	0x98
#define EDU_DMA_RUN	BIT(0)
#define EDU_DMA_TO_RAM	BIT(1)
/* Where the device's own 4 KiB are for its DMA engine. */
#define EDU_BUFFER	0x40000

static unsigned int streaming = 64;
module_param(streaming, uint, 0444);
static unsigned int coherent = 64;
module_param(coherent, uint, 0444);
static bool set_both;
module_param(set_both, bool, 0444);

static int edu_run(void __iomem *regs, u64 src, u64 dst, u64 cmd)
{
	int i;

	writeq(src, regs + EDU_DMA_SRC);
	writeq(dst, regs + EDU_DMA_DST);
	writeq(PAGE_SIZE, regs + EDU_DMA_COUNT);
	writeq(cmd | EDU_DMA_RUN, regs + EDU_DMA_CMD);
	/* The device takes 100 ms. */
	for (i = 0; i < 200; i++) {
		if (!(readq(regs + EDU_DMA_CMD) & EDU_DMA_RUN))
			return 0;
		msleep(10);
	}
	return -ETIMEDOUT;
}

/* Through the device: from one page to the other. */
static int edu_copy(void __iomem *regs, u64 from, u64 to)
{
	return edu_run(regs, from, EDU_BUFFER, 0) ?: edu_run(regs, EDU_BUFFER, to, EDU_DMA_TO_RAM);
}

static int test_coherent(struct pci_dev *pdev, void __iomem *regs)
{
	dma_addr_t handle;
	u8 *mem = dma_alloc_coherent(&pdev->dev, 2 * PAGE_SIZE, &handle, GFP_KERNEL);
	int err;

	if (!mem)
		return -ENOMEM;
	get_random_bytes(mem, PAGE_SIZE);
	err = edu_copy(regs, handle, handle + PAGE_SIZE);
	if (!err && memcmp(mem, mem + PAGE_SIZE, PAGE_SIZE))
		err = -EIO;
	pci_info(pdev, "coherent at %#llx: %d\n", (u64)handle, err);
	if (handle + 2 * PAGE_SIZE - 1 > pdev->dev.coherent_dma_mask)
		err = -ERANGE;
	dma_free_coherent(&pdev->dev, 2 * PAGE_SIZE, mem, handle);
	return err;
}

static int test_streaming(struct pci_dev *pdev, void __iomem *regs)
{
	struct page *from = alloc_page(GFP_KERNEL), *to = alloc_page(GFP_KERNEL);
	dma_addr_t src = DMA_MAPPING_ERROR, dst = DMA_MAPPING_ERROR;
	int err = -ENOMEM;

	if (!from || !to)
		goto out;
	get_random_bytes(page_address(from), PAGE_SIZE);
	src = dma_map_page(&pdev->dev, from, 0, PAGE_SIZE, DMA_TO_DEVICE);
	dst = dma_map_page(&pdev->dev, to, 0, PAGE_SIZE, DMA_FROM_DEVICE);
	if (dma_mapping_error(&pdev->dev, src) || dma_mapping_error(&pdev->dev, dst))
		goto out;
	err = edu_copy(regs, src, dst);
	if (src + PAGE_SIZE - 1 > dma_get_mask(&pdev->dev) || dst + PAGE_SIZE - 1 > dma_get_mask(&pdev->dev))
		err = -ERANGE;
	pci_info(pdev, "streaming at %#llx and %#llx of %#llx and %#llx\n", (u64)src, (u64)dst,
		 (u64)page_to_phys(from), (u64)page_to_phys(to));
out:
	if (src != DMA_MAPPING_ERROR)
		dma_unmap_page(&pdev->dev, src, PAGE_SIZE, DMA_TO_DEVICE);
	if (dst != DMA_MAPPING_ERROR)
		dma_unmap_page(&pdev->dev, dst, PAGE_SIZE, DMA_FROM_DEVICE);
	if (!err && memcmp(page_address(from), page_address(to), PAGE_SIZE))
		err = -EIO;
	if (from)
		__free_page(from);
	if (to)
		__free_page(to);
	return err;
}

static int edu_declare(struct device *dev)
{
	int err = 0;

	if (set_both && streaming == coherent)
		return dma_set_mask_and_coherent(dev, DMA_BIT_MASK(streaming));
	if (streaming)
		err = dma_set_mask(dev, DMA_BIT_MASK(streaming));
	if (!err && coherent)
		err = dma_set_coherent_mask(dev, DMA_BIT_MASK(coherent));
	return err;
}

static int edu_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	void __iomem *regs;
	int err;

	/* As after a boot: masks of a driver before this one stay otherwise. */
	pdev->dma_mask = DMA_BIT_MASK(32);
	pdev->dev.coherent_dma_mask = DMA_BIT_MASK(32);
	err = pcim_enable_device(pdev);
	if (err)
		return err;
	regs = pcim_iomap(pdev, 0, 0);
	if (!regs)
		return -ENOMEM;
	pci_set_master(pdev);
	pci_info(pdev, "required mask %#llx\n", dma_get_required_mask(&pdev->dev));
	err = edu_declare(&pdev->dev);
	if (!err)
		err = test_streaming(pdev, regs);
	if (!err)
		err = test_coherent(pdev, regs);
	pci_info(pdev, "data by masks of %u and %u bits: %d\n", streaming, coherent, err);
	return err;
}

static const struct pci_device_id edu_ids[] = {
	{ PCI_DEVICE(0x1234, 0x11e8) },
	{ }
};

static struct pci_driver edu_driver = {
	.name = "edu_dma",
	.id_table = edu_ids,
	.probe = edu_probe,
};
module_pci_driver(edu_driver);

MODULE_DESCRIPTION("DMA masks, tried with QEMU's edu device");
MODULE_LICENSE("GPL");
