// SPDX-License-Identifier: GPL-2.0

//! Module parameters, refused with the list of right values when they are wrong.

use kernel::{
    error::code::*,
    prelude::*, //
};
use kernel_iommu::module_string;

/// Who serves the DMA API of trusted devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dma {
    /// Our allocator and mapper.
    Rust,
    /// The core's dma-iommu on our page tables.
    Core,
}

/// All parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Params {
    pub(crate) dma: Dma,
}

impl Params {
    /// Reads the parameters.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: an unknown value; the log has the list of right ones.
    /// - `ENODEV`: a unit that this build cannot drive yet.
    pub(crate) fn read() -> Result<Self> {
        match module_string::unit() {
            // The only family so far, so both mean the same.
            "auto" | "amd-vi" => {}
            name @ ("vt-d" | "smmuv3") => {
                pr_err!(
                    "unit={} is not supported by this version; use auto or amd-vi\n",
                    name
                );
                return Err(ENODEV);
            }
            other => {
                pr_err!(
                    "unit={}: unknown value; one of auto, amd-vi, vt-d, smmuv3\n",
                    other
                );
                return Err(EINVAL);
            }
        }
        let dma = match module_string::dma() {
            // What is best for which device is measured later; both are complete.
            "auto" | "rust" => Dma::Rust,
            "core" => Dma::Core,
            other => {
                pr_err!("dma={}: unknown value; one of auto, rust, core\n", other);
                return Err(EINVAL);
            }
        };
        Ok(Self { dma })
    }
}
