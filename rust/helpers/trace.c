// SPDX-License-Identifier: GPL-2.0
/*
 * The core's trace events. Callers ask for their static keys first, without a call.
 */
#include <linux/iommu.h>
#include <linux/rust_iommu.h>
#include <trace/events/iommu.h>

void rust_helper_iommu_trace_map(u64 iova, u64 phys, size_t len)
{
	trace_map(iova, phys, len);
}

void rust_helper_iommu_trace_unmap(u64 iova, size_t len)
{
	trace_unmap(iova, len, len);
}

/* A device that is attached to nothing that a handler could be for has the event alone. */
int rust_helper_iommu_report_fault(struct iommu_domain *domain, struct device *dev, u64 iova,
				   bool write)
{
	int flags = write ? IOMMU_FAULT_WRITE : IOMMU_FAULT_READ;

	if (domain)
		return report_iommu_fault(domain, dev, iova, flags);
	trace_io_page_fault(dev, iova, flags);
	return -ENOSYS;
}
