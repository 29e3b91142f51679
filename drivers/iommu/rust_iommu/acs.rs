// SPDX-License-Identifier: GPL-2.0

//! Access Control Services, switched on where the kernel has not: it does so only if it knew of an
//! IOMMU before it looked for devices.
//!
//! A function whose control register is not zero is somebody's decision. One that is all zero may
//! be so because nobody looked, or because somebody said so (`pci=disable_acs_redir` writes back
//! what firmware left): whether to switch it on is decided by whoever makes an [`Acs`].

use iommu_core::group::{
    quirks::has_wide_acs,
    ACS_REQUIRED, //
};
use kernel::prelude::*;
use kernel_iommu::pci_topology::{
    self,
    PciDev,
    PcieType, //
};

use crate::{
    glue::Show,
    group, //
};

/// The functions we switched it on for; off again on drop.
pub(crate) struct Acs(KVec<PciDev>);

impl Acs {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self(KVec::new())
    }

    /// Switches it on for every function that is there and has it all off.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn enable_all(&mut self) -> Result {
        self.0.retain(|dev| is_there(dev));
        for dev in pci_topology::all() {
            let (vendor, device) = dev.ids();
            let Some((capability, control)) = dev.acs(has_wide_acs(vendor, device)) else {
                continue;
            };
            let wanted = capability & ACS_REQUIRED;
            if control != 0 || wanted == 0 || has_wide_acs(vendor, device) || !matters(&dev) {
                continue;
            }
            self.0.reserve(1, GFP_KERNEL)?;
            if dev.set_acs(wanted) {
                pr_info!("{}: ACS switched on\n", Show(group::sbdf(&dev)));
                self.0.push(dev, GFP_KERNEL)?;
            }
        }
        Ok(())
    }

    /// Switches it off again where it was off.
    pub(crate) fn restore(&mut self) {
        for dev in self.0.iter() {
            // A function that is gone has nothing to restore.
            let _ = dev.set_acs(0);
        }
        self.0.clear();
    }
}

impl Drop for Acs {
    fn drop(&mut self) {
        self.restore();
    }
}

/// Has any function some of what isolation takes switched on?
pub(crate) fn is_on_anywhere() -> bool {
    pci_topology::all().any(|dev| {
        let (vendor, device) = dev.ids();
        dev.acs(has_wide_acs(vendor, device))
            .is_some_and(|(_, control)| control & ACS_REQUIRED != 0)
    })
}

/// Is the function still on its bus?
fn is_there(dev: &PciDev) -> bool {
    PciDev::find(dev.segment(), dev.bus(), dev.devfn())
        .is_some_and(|found| core::ptr::eq(found.device(), dev.device()))
}

/// Does the function stand between others, or have siblings?
fn matters(dev: &PciDev) -> bool {
    let port = matches!(
        dev.pcie_type(),
        PcieType::RootPort | PcieType::Downstream | PcieType::Upstream
    );
    port || dev.is_multifunction()
}
