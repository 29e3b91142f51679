// SPDX-License-Identifier: GPL-2.0

//! Layouts of Intel VT-d: words in, plain values out, and back.
//!
//! Source: Intel Virtualization Technology for Directed I/O, D51397-016 (revision 4.1).
//! C header: [`drivers/iommu/intel/iommu.h`](srctree/drivers/iommu/intel/iommu.h).

pub mod cap;
pub mod desc;
pub mod entry;
pub mod fault;
pub mod regs;
