/* SPDX-License-Identifier: GPL-2.0 */
/*
 * C side of the shims that rust/kernel/iommu uses: inlines, macros and functions
 * that the kernel exports without a Rust binding. No logic lives here.
 */
#ifndef _LINUX_RUST_IOMMU_H
#define _LINUX_RUST_IOMMU_H

#include <linux/iommu.h>
#include <linux/pgtable.h>
#include <linux/types.h>

struct device;
struct dma_map_ops;
struct faux_device;
struct page;
struct pci_dev;
struct scatterlist;
struct vm_area_struct;

void rust_helper_iommu_set_dma_ops(struct device *dev, const struct dma_map_ops *ops);
bool rust_helper_iommu_has_dma_ops(void);
bool rust_helper_iommu_x2apic_is_on(void);
bool rust_helper_iommu_has_own_dma_ops(struct device *dev);
bool rust_helper_iommu_uses_dma_iommu(struct device *dev);
u64 rust_helper_iommu_seg_boundary(struct device *dev);
u32 rust_helper_iommu_max_seg_size(struct device *dev);
bool rust_helper_iommu_dev_coherent(struct device *dev);

void rust_helper_iommu_trace_map(u64 iova, u64 phys, size_t len);
void rust_helper_iommu_trace_unmap(u64 iova, size_t len);
int rust_helper_iommu_report_fault(struct iommu_domain *domain, struct device *dev, u64 iova,
				   bool write);

struct rust_iommu_control_ops {
	int (*release)(void *cookie);
	void *cookie;
};
struct faux_device *rust_iommu_control_new(const char *name, struct rust_iommu_control_ops *ops);

/* What a unit shows in /sys/class/iommu; does not change while it is there. */
struct rust_iommu_unit;
struct rust_iommu_facts {
	u64 address;
	u64 cap;
	u64 ecap;
	u64 features[2];
	u32 version;
	u32 domains;
	unsigned int (*domains_used)(struct rust_iommu_unit *unit);
};
struct rust_iommu_unit {
	struct iommu_device core;
	struct rust_iommu_facts facts;
};

/* Called with the interrupt's lock held and interrupts off. */
struct rust_iommu_unit_irq_ops {
	void (*write)(void *cookie, u64 address, u32 data);
	void (*mask)(void *cookie, bool masked);
};
struct rust_iommu_unit_irq;
int rust_iommu_unit_irq_new(const struct rust_iommu_unit_irq_ops *ops, void *cookie,
			    struct rust_iommu_unit_irq **out);
void rust_iommu_unit_irq_free(struct rust_iommu_unit_irq *irq);

struct pci_dev *rust_helper_iommu_physical_function(struct pci_dev *pdev);
struct pci_dev *rust_helper_iommu_real_dma(struct pci_dev *pdev);
u32 rust_helper_iommu_pci_segment(struct pci_dev *pdev);

bool rust_helper_iommu_pci_window(struct pci_dev *pdev, u32 index, u64 *first, u64 *last);
bool rust_helper_iommu_memory_encrypted(void);
void rust_helper_iommu_flush(void *virt, size_t size);

u64 rust_helper_iommu_last_ram(void);
void *rust_helper_iommu_phys_to_virt(phys_addr_t phys);
phys_addr_t rust_helper_iommu_virt_to_phys(const void *virt);
phys_addr_t rust_helper_iommu_page_to_phys(struct page *page);
void *rust_helper_iommu_page_address(struct page *page);
struct page *rust_helper_iommu_virt_to_page(const void *virt);
pgprot_t rust_helper_iommu_pgprot_kernel(void);

void *rust_helper_iommu_counters_new(size_t count);
void rust_helper_iommu_counters_free(void *counters);
void rust_helper_iommu_counters_inc(void *counters, size_t index);
u64 rust_helper_iommu_counters_sum(void *counters, size_t index);

unsigned long rust_helper_iommu_first_page(void);
unsigned long rust_helper_iommu_irq_save(void);
void rust_helper_iommu_irq_restore(unsigned long flags);

struct rust_shrinker;
struct rust_shrinker *rust_helper_iommu_shrinker_new(const char *name,
						     unsigned long (*count_fn)(void *),
						     unsigned long (*scan_fn)(void *, unsigned long),
						     void *data);
void *rust_helper_iommu_shrinker_free(struct rust_shrinker *s);

const char *rust_iommu_param_unit(void);
const char *rust_iommu_param_dma(void);
const char *rust_iommu_param_isolate(void);
const char *rust_iommu_param_isolation(void);
const char *rust_iommu_param_short_masks(void);
const char *rust_iommu_param_acs(void);

#endif
