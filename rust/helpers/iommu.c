// SPDX-License-Identifier: GPL-2.0
/*
 * Shims for inlines and macros of the IOMMU, DMA and memory headers.
 */
#include <linux/cc_platform.h>
#include <linux/device.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/generic_pt/iommu.h>
#include <linux/iommu.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/percpu.h>
#include <linux/rust_iommu.h>
#include <linux/scatterlist.h>
#include <linux/syscore_ops.h>
#ifdef CONFIG_X86
#include <asm/apic.h>
#include <asm/cacheflush.h>
#endif

/*
 * The flag goes first: dma_supported() warns about a device that has both.
 */
void rust_helper_iommu_set_dma_ops(struct device *dev, const struct dma_map_ops *ops)
{
	if (ops)
		dev_clear_dma_iommu(dev);
	set_dma_ops(dev, ops);
}

bool rust_helper_iommu_has_dma_ops(void)
{
	return IS_ENABLED(CONFIG_ARCH_HAS_DMA_OPS);
}

bool rust_helper_iommu_x2apic_is_on(void)
{
#ifdef CONFIG_X86
	return x2apic_enabled();
#else
	return true;
#endif
}

bool rust_helper_iommu_has_own_dma_ops(struct device *dev)
{
#ifdef CONFIG_ARCH_HAS_DMA_OPS
	return dev->dma_ops;
#else
	return false;
#endif
}

bool rust_helper_iommu_uses_dma_iommu(struct device *dev)
{
	return dev_dma_iommu(dev);
}

u64 rust_helper_iommu_seg_boundary(struct device *dev)
{
	return dma_get_seg_boundary(dev);
}

u32 rust_helper_iommu_max_seg_size(struct device *dev)
{
	return dma_get_max_seg_size(dev);
}

bool rust_helper_iommu_dev_coherent(struct device *dev)
{
	return dev_is_dma_coherent(dev);
}

/*
 * The function whose requester ID all requests of @pdev carry, with a reference; NULL if its own.
 * pci_real_dma_dev() is not exported; VMD is the only case it knows.
 */
struct pci_dev *rust_helper_iommu_real_dma(struct pci_dev *pdev)
{
#if defined(CONFIG_X86) && IS_ENABLED(CONFIG_VMD)
	if (is_vmd(pdev->bus))
		return pci_dev_get(to_pci_sysdata(pdev->bus)->vmd_dev);
#endif
	return NULL;
}

struct pci_dev *rust_helper_iommu_physical_function(struct pci_dev *pdev)
{
	return pci_dev_get(pci_physfn(pdev));
}

u32 rust_helper_iommu_pci_segment(struct pci_dev *pdev)
{
	return pci_domain_nr(pdev->bus);
}

bool rust_helper_iommu_pci_window(struct pci_dev *pdev, u32 index, u64 *first, u64 *last)
{
	struct pci_host_bridge *bridge = pci_find_host_bridge(pdev->bus);
	struct resource_entry *window;

	resource_list_for_each_entry(window, &bridge->windows) {
		if (resource_type(window->res) != IORESOURCE_MEM || index--)
			continue;
		*first = window->res->start - window->offset;
		*last = window->res->end - window->offset;
		return true;
	}
	return false;
}

bool rust_helper_iommu_memory_encrypted(void)
{
	return cc_platform_has(CC_ATTR_MEM_ENCRYPT);
}

/* The last address of memory that the kernel has by now. */
u64 rust_helper_iommu_last_ram(void)
{
	return __pa(high_memory - 1);
}

/* For units that read memory past the caches; those of other architectures do not. */
void rust_helper_iommu_flush(void *virt, size_t size)
{
#ifdef CONFIG_X86
	clflush_cache_range(virt, size);
#endif
}

void *rust_helper_iommu_phys_to_virt(phys_addr_t phys)
{
	return phys_to_virt(phys);
}

phys_addr_t rust_helper_iommu_virt_to_phys(const void *virt)
{
	return virt_to_phys((void *)virt);
}

phys_addr_t rust_helper_iommu_page_to_phys(struct page *page)
{
	return page_to_phys(page);
}

void *rust_helper_iommu_page_address(struct page *page)
{
	return page_address(page);
}

struct page *rust_helper_iommu_virt_to_page(const void *virt)
{
	return virt_to_page(virt);
}

/* The descriptor that page 0 has or would have; 0 where descriptors are not in one array. */
unsigned long rust_helper_iommu_first_page(void)
{
	return IS_ENABLED(CONFIG_SPARSEMEM_VMEMMAP) ? (unsigned long)pfn_to_page(0) : 0;
}

/* Per-CPU pointers as Rust keeps them; a compiler that knows their address space wants the detour. */
static u64 __percpu *counter(void *counters, size_t index)
{
	return (u64 __percpu *)(uintptr_t)counters + index;
}

void *rust_helper_iommu_counters_new(size_t count)
{
	return (void *)(__force uintptr_t)__alloc_percpu(count * sizeof(u64), sizeof(u64));
}

void rust_helper_iommu_counters_free(void *counters)
{
	free_percpu(counter(counters, 0));
}

void rust_helper_iommu_counters_inc(void *counters, size_t index)
{
	this_cpu_inc(*counter(counters, index));
}

u64 rust_helper_iommu_counters_sum(void *counters, size_t index)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(*per_cpu_ptr(counter(counters, index), cpu));
	return sum;
}

/* Those of rust/kernel/iommu/sg_list.rs. */
static_assert(SG_CHAIN == 1 && SG_END == 2);

unsigned long rust_helper_iommu_irq_save(void)
{
	unsigned long flags;

	local_irq_save(flags);
	return flags;
}

void rust_helper_iommu_irq_restore(unsigned long flags)
{
	local_irq_restore(flags);
}

pgprot_t rust_helper_iommu_pgprot_kernel(void)
{
	return PAGE_KERNEL;
}

/*
 * dma_map_ops has no Rust binding: the Rust mirror in dma_ops.rs has this layout.
 */
#define DMA_OP(n, member) \
	static_assert(offsetof(struct dma_map_ops, member) == (n) * sizeof(void *))
DMA_OP(0, alloc);
DMA_OP(1, free);
DMA_OP(2, alloc_pages_op);
DMA_OP(3, free_pages);
DMA_OP(4, mmap);
DMA_OP(5, get_sgtable);
DMA_OP(6, map_phys);
DMA_OP(7, unmap_phys);
DMA_OP(8, map_sg);
DMA_OP(9, unmap_sg);
DMA_OP(10, sync_single_for_cpu);
DMA_OP(11, sync_single_for_device);
DMA_OP(12, sync_sg_for_cpu);
DMA_OP(13, sync_sg_for_device);
DMA_OP(14, cache_sync);
DMA_OP(15, dma_supported);
DMA_OP(16, get_required_mask);
DMA_OP(17, max_mapping_size);
DMA_OP(18, opt_mapping_size);
DMA_OP(19, get_merge_boundary);
static_assert(sizeof(struct dma_map_ops) == 20 * sizeof(void *));

/* That of rust/kernel/iommu/ops.rs. */
static_assert(offsetof(struct pt_iommu, domain) == 0);
static_assert(offsetof(struct pt_iommu, ops) == sizeof(struct iommu_domain));
static_assert(offsetof(struct pt_iommu_ops, map_range) == 0);
static_assert(offsetof(struct pt_iommu_ops, unmap_range) == sizeof(void *));
static_assert(sizeof(struct pt_iommu_ops) == 5 * sizeof(void *));

/* Those of rust/kernel/syscore.rs. */
static_assert(offsetof(struct syscore_ops, resume) == sizeof(void *));
static_assert(offsetof(struct syscore_ops, shutdown) == 2 * sizeof(void *));
static_assert(sizeof(struct syscore_ops) == 3 * sizeof(void *));
static_assert(offsetof(struct syscore, ops) == 2 * sizeof(void *));
static_assert(offsetof(struct syscore, data) == 3 * sizeof(void *));
static_assert(sizeof(struct syscore) == 4 * sizeof(void *));

/* The module! macro of the kernel crate has no version and no string parameters. */
MODULE_VERSION("0.1.0");

static char *unit = "auto";
module_param(unit, charp, 0444);
MODULE_PARM_DESC(unit, "IOMMU to drive: auto, amd-vi or vt-d");

static char *dma = "auto";
module_param(dma, charp, 0444);
MODULE_PARM_DESC(dma, "who serves the DMA API: auto (by the kind of device), rust (own allocator and mapper) or core (dma-iommu)");

static char *isolate = "";
module_param(isolate, charp, 0444);
MODULE_PARM_DESC(isolate, "functions asserted to isolate although nothing says so, by address or VENDOR:DEVICE, with commas; taints the kernel");

static char *isolation = "default";
module_param(isolation, charp, 0444);
MODULE_PARM_DESC(isolation, "default, or hardened: isolation that only a table of device IDs speaks for counts as none");

static char *short_masks = "translate";
module_param(short_masks, charp, 0444);
MODULE_PARM_DESC(short_masks, "Passed-through devices whose DMA masks do not reach all memory: translate (default) or bounce");

static char *acs = "auto";
module_param(acs, charp, 0444);
MODULE_PARM_DESC(acs, "Access Control Services that are all off: auto (switched on where the kernel did not look), on, or keep");

const char *rust_iommu_param_isolate(void)
{
	return isolate;
}

const char *rust_iommu_param_isolation(void)
{
	return isolation;
}

const char *rust_iommu_param_short_masks(void)
{
	return short_masks;
}

const char *rust_iommu_param_acs(void)
{
	return acs;
}

const char *rust_iommu_param_unit(void)
{
	return unit;
}

const char *rust_iommu_param_dma(void)
{
	return dma;
}
