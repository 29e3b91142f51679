// SPDX-License-Identifier: GPL-2.0
/*
 * A driver for QEMU's iommu-testdev that attaches it to a domain of its own with a fault handler, as drivers of
 * remote processors and GPUs do, and says what the handler is told.
 *
 * Parameter: handled, the handler has dealt with the fault.
 */
#include <linux/iommu.h>
#include <linux/module.h>
#include <linux/pci.h>

static bool handled;
module_param(handled, bool, 0644);

static int on_fault(struct iommu_domain *domain, struct device *dev, unsigned long iova, int flags, void *token)
{
	dev_info(dev, "fault handler: iova %#lx flags %d%s\n", iova, flags,
		 token == domain ? "" : " for another domain");
	return handled ? 0 : -ENOSYS;
}

static int fault_handler_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct iommu_domain *domain;
	int err;

	err = pcim_enable_device(pdev);
	if (err)
		return err;
	pci_set_master(pdev);
	domain = iommu_paging_domain_alloc(&pdev->dev);
	if (IS_ERR(domain))
		return PTR_ERR(domain);
	iommu_set_fault_handler(domain, on_fault, domain);
	err = iommu_attach_device(domain, &pdev->dev);
	if (err) {
		iommu_domain_free(domain);
		return err;
	}
	pci_set_drvdata(pdev, domain);
	return 0;
}

static void fault_handler_remove(struct pci_dev *pdev)
{
	struct iommu_domain *domain = pci_get_drvdata(pdev);

	iommu_detach_device(domain, &pdev->dev);
	iommu_domain_free(domain);
}

static const struct pci_device_id fault_handler_ids[] = {
	{ PCI_DEVICE(0x1b36, 0x0005) },
	{ }
};

static struct pci_driver fault_handler_driver = {
	.name = "fault_handler",
	.id_table = fault_handler_ids,
	.probe = fault_handler_probe,
	.remove = fault_handler_remove,
};
module_pci_driver(fault_handler_driver);

MODULE_DESCRIPTION("Test of IOMMU fault handlers");
MODULE_LICENSE("GPL");
