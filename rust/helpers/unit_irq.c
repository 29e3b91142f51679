// SPDX-License-Identifier: GPL-2.0
/*
 * The interrupt of a unit that is no device: its message goes into registers of the unit. A domain of
 * one interrupt below that of the processors' vectors.
 */
#include <linux/irq.h>
#include <linux/irqdomain.h>
#include <linux/msi.h>
#include <linux/rust_iommu.h>
#include <linux/slab.h>

#ifdef CONFIG_X86
#include <asm/hw_irq.h>
#include <asm/irqdomain.h>

struct rust_iommu_unit_irq {
	struct fwnode_handle *fwnode;
	struct irq_domain *domain;
	const struct rust_iommu_unit_irq_ops *ops;
	void *cookie;
	int virq;
};

static void unit_irq_write(struct irq_data *data)
{
	struct rust_iommu_unit_irq *irq = data->chip_data;
	struct irq_data *parent = data->parent_data;
	struct msi_msg msg = {};

	parent->chip->irq_compose_msi_msg(parent, &msg);
	irq->ops->write(irq->cookie, (u64)msg.address_hi << 32 | msg.address_lo, msg.data);
}

static void unit_irq_mask(struct irq_data *data)
{
	struct rust_iommu_unit_irq *irq = data->chip_data;

	irq->ops->mask(irq->cookie, true);
}

static void unit_irq_unmask(struct irq_data *data)
{
	struct rust_iommu_unit_irq *irq = data->chip_data;

	irq->ops->mask(irq->cookie, false);
}

static int unit_irq_set_affinity(struct irq_data *data, const struct cpumask *mask, bool force)
{
	int ret = irq_chip_set_affinity_parent(data, mask, force);

	if (ret >= 0 && ret != IRQ_SET_MASK_OK_DONE)
		unit_irq_write(data);
	return ret;
}

static struct irq_chip unit_irq_chip = {
	.name			= "rust_iommu",
	.irq_mask		= unit_irq_mask,
	.irq_unmask		= unit_irq_unmask,
	.irq_ack		= irq_chip_ack_parent,
	.irq_set_affinity	= unit_irq_set_affinity,
	.irq_retrigger		= irq_chip_retrigger_hierarchy,
	.flags			= IRQCHIP_SKIP_SET_WAKE | IRQCHIP_AFFINITY_PRE_STARTUP,
};

static int unit_irq_alloc(struct irq_domain *domain, unsigned int virq, unsigned int nr, void *arg)
{
	int ret = irq_domain_alloc_irqs_parent(domain, virq, nr, arg);

	if (ret < 0)
		return ret;
	irq_domain_set_info(domain, virq, 0, &unit_irq_chip, domain->host_data, handle_edge_irq,
			    domain->host_data, "edge");
	return 0;
}

static int unit_irq_activate(struct irq_domain *domain, struct irq_data *data, bool early)
{
	unit_irq_write(data);
	return 0;
}

static const struct irq_domain_ops unit_irq_domain_ops = {
	.alloc		= unit_irq_alloc,
	.free		= irq_domain_free_irqs_common,
	.activate	= unit_irq_activate,
};

/* Returns the interrupt's number, or an errno; *out is what to free it with. */
int rust_iommu_unit_irq_new(const struct rust_iommu_unit_irq_ops *ops, void *cookie,
			    struct rust_iommu_unit_irq **out)
{
	struct irq_alloc_info info = { .type = X86_IRQ_ALLOC_TYPE_DMAR };
	struct rust_iommu_unit_irq *irq = kzalloc(sizeof(*irq), GFP_KERNEL);
	int ret = -ENOMEM;

	if (!irq)
		return -ENOMEM;
	irq->ops = ops;
	irq->cookie = cookie;
	irq->fwnode = irq_domain_alloc_named_fwnode("rust_iommu");
	if (!irq->fwnode)
		goto free;
	irq->domain = irq_domain_create_hierarchy(x86_vector_domain, 0, 1, irq->fwnode,
						  &unit_irq_domain_ops, irq);
	if (!irq->domain)
		goto free_fwnode;
	ret = irq_domain_alloc_irqs(irq->domain, 1, NUMA_NO_NODE, &info);
	if (ret < 0)
		goto free_domain;
	irq->virq = ret;
	*out = irq;
	return ret;

free_domain:
	irq_domain_remove(irq->domain);
free_fwnode:
	irq_domain_free_fwnode(irq->fwnode);
free:
	kfree(irq);
	return ret;
}

void rust_iommu_unit_irq_free(struct rust_iommu_unit_irq *irq)
{
	irq_domain_free_irqs(irq->virq, 1);
	irq_domain_remove(irq->domain);
	irq_domain_free_fwnode(irq->fwnode);
	kfree(irq);
}
#else
int rust_iommu_unit_irq_new(const struct rust_iommu_unit_irq_ops *ops, void *cookie,
			    struct rust_iommu_unit_irq **out)
{
	return -ENODEV;
}

void rust_iommu_unit_irq_free(struct rust_iommu_unit_irq *irq)
{
}
#endif
