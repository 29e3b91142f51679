// SPDX-License-Identifier: GPL-2.0

//! Module parameters, refused with the list of right values when they are wrong.

use iommu_core::group::policy::{
    Asserted,
    Policy, //
};
use kernel::{
    error::code::*,
    prelude::*, //
};
use kernel_iommu::module_string;

use crate::glue::Show;

/// Who serves the DMA API of trusted devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dma {
    /// What was measured to cost less, by the kind of device.
    Auto,
    /// Our allocator and mapper.
    Rust,
    /// The core's dma-iommu on our page tables.
    Core,
}

/// What happens to Access Control Services that are all off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acs {
    /// Switched on where the kernel did not look, for want of an IOMMU it knew of.
    Auto,
    /// Switched on.
    On,
    /// Left alone.
    Keep,
}

/// The family of units to drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Units {
    /// What the machine has.
    Auto,
    /// AMD-Vi.
    AmdVi,
    /// Intel VT-d.
    VtD,
}

/// All parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Params {
    pub(crate) units: Units,
    pub(crate) dma: Dma,
    pub(crate) policy: Policy<'static>,
    pub(crate) acs: Acs,
    /// Translate a passed-through device whose driver's DMA masks do not reach all memory.
    pub(crate) translate_short_masks: bool,
}

/// The families this build can drive.
const BUILT: &str = match (
    cfg!(CONFIG_RUST_IOMMU_AMD),
    cfg!(CONFIG_RUST_IOMMU_VTD), //
) {
    (true, true) => "amd-vi, vt-d",
    (true, false) => "amd-vi",
    (false, true) => "vt-d",
    (false, false) => "none",
};

impl Params {
    /// Reads the parameters.
    ///
    /// # Errors
    ///
    /// - `EINVAL`: an unknown value; the log has the list of right ones.
    /// - `ENODEV`: a unit that this build does not drive; the log has those it does.
    pub(crate) fn read() -> Result<Self> {
        let units = match module_string::unit() {
            "auto" => Units::Auto,
            "amd-vi" if cfg!(CONFIG_RUST_IOMMU_AMD) => Units::AmdVi,
            "vt-d" if cfg!(CONFIG_RUST_IOMMU_VTD) => Units::VtD,
            known @ ("amd-vi" | "vt-d" | "smmuv3") => {
                pr_err!("unit={}: not in this build, which has {}\n", known, BUILT);
                return Err(ENODEV);
            }
            other => {
                pr_err!(
                    "unit={}: unknown value; one of auto, amd-vi, vt-d, smmuv3\n",
                    other
                );
                return Err(EINVAL);
            }
        };
        let dma = match module_string::dma() {
            // What is best for which device is measured later; both are complete.
            "auto" => Dma::Auto,
            "rust" => Dma::Rust,
            "core" => Dma::Core,
            other => {
                pr_err!("dma={}: unknown value; one of auto, rust, core\n", other);
                return Err(EINVAL);
            }
        };
        Ok(Self {
            units,
            dma,
            policy: Self::policy()?,
            acs: Self::acs()?,
            translate_short_masks: Self::short_masks()?,
        })
    }

    fn short_masks() -> Result<bool> {
        match module_string::short_masks() {
            "translate" => Ok(true),
            "bounce" => Ok(false),
            other => {
                pr_err!(
                    "short_masks={}: unknown value; one of translate, bounce\n",
                    other
                );
                Err(EINVAL)
            }
        }
    }

    fn acs() -> Result<Acs> {
        match module_string::acs() {
            "auto" => Ok(Acs::Auto),
            "on" => Ok(Acs::On),
            "keep" => Ok(Acs::Keep),
            other => {
                pr_err!("acs={}: unknown value; one of auto, on, keep\n", other);
                Err(EINVAL)
            }
        }
    }

    fn policy() -> Result<Policy<'static>> {
        let list = module_string::isolate();
        let asserted = Asserted::parse(list).map_err(|bad| {
            pr_err!("isolate={}: {}\n", list, Show(bad));
            EINVAL
        })?;
        let hardened = match module_string::isolation() {
            "default" => false,
            "hardened" => true,
            other => {
                pr_err!(
                    "isolation={}: unknown value; one of default, hardened\n",
                    other
                );
                return Err(EINVAL);
            }
        };
        if !asserted.is_empty() {
            pr_warn!("isolate={}: groups are made as if these functions isolated; the kernel is tainted\n", list);
            module_string::taint_by_user();
        }
        Ok(Policy { asserted, hardened })
    }
}
