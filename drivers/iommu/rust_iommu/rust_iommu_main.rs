// SPDX-License-Identifier: GPL-2.0

//! Module entry.
use kernel::prelude::*;
module! {
    type: RustIommu,
    name: "rust_iommu",
    authors: ["The rust_iommu developers"],
    description: "IOMMU driver",
    license: "GPL v2",
}
struct RustIommu;
impl kernel::Module for RustIommu {
    fn init(_m: &'static ThisModule) -> Result<Self> { Ok(Self) }
}
