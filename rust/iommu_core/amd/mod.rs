// SPDX-License-Identifier: GPL-2.0

//! Layouts of the AMD IOMMU: words in, plain values out, and back.
//!
//! Source: AMD I/O Virtualization Technology (IOMMU) Specification, 48882 Rev 3.10.
//! C header: [`drivers/iommu/amd/amd_iommu_types.h`](srctree/drivers/iommu/amd/amd_iommu_types.h).

pub mod cmd;
pub mod dte;
pub mod efr;
pub mod event;

pub mod regs;

pub(crate) use crate::bits::{
    bit,
    get,
    mask,
    put, //
};
