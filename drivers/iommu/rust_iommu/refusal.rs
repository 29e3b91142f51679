// SPDX-License-Identifier: GPL-2.0

//! Why a function is not translated.

use core::fmt::{
    self,
    Display, //
};

use iommu_core::id::Sbdf;
use kernel::prelude::*;
use kernel_iommu::{
    iommu::group::Group,
    pci_topology::PciDev, //
};

use crate::{
    family::{
        Family,
        Unit, //
    },
    group,
    iommu::Iommu,
    machine::Running, //
};

/// Why the driver leaves a function alone.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    /// It is a unit, which is not behind itself.
    IsUnit,
    /// No unit that is driven is named for it.
    NoUnit,
    /// Its driver was bound first: its DMA is under way, and stays as it is until the driver lets go.
    DriverFirst,
    /// So was that of another member of its group.
    GroupInUse(Sbdf),
    /// It is a port or bridge, whose driver was bound first and does no DMA.
    Port,
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IsUnit => write!(f, "it is the IOMMU"),
            Self::NoUnit => write!(f, "firmware's table names no unit for it that is driven"),
            Self::DriverFirst => write!(f, "its driver was there before this module; unbind it"),
            Self::Port => write!(f, "a port or bridge with a driver, which does no DMA"),
            Self::GroupInUse(id) => write!(
                f,
                "the driver of {}, of its group, was there before this module; unbind it",
                id
            ),
        }
    }
}

impl<F: Family> Iommu<F> {
    /// Why a function cannot be translated now, as far as it is alone; `None`: it can be.
    pub(crate) fn refusal(&self, dev: &PciDev) -> Option<Refusal> {
        let id = group::sbdf(dev);
        if self.unit_of(dev).is_none() {
            return Some(Refusal::NoUnit);
        }
        if self.units.iter().any(|u| u.is_at(id)) {
            return Some(Refusal::IsUnit);
        }
        // The core complains about a device that gets an IOMMU under its driver, and rightly.
        match (dev.has_driver(), group::is_bridge(dev)) {
            (false, _) => None,
            (true, false) => Some(Refusal::DriverFirst),
            (true, true) => Some(Refusal::Port),
        }
    }

    /// [`Self::refusal`], with what the members of its group mean for it. Sleeps.
    ///
    /// # Errors
    ///
    /// As [`group::Groups::of`].
    pub(crate) fn refusal_in_group(&self, dev: &PciDev) -> Result<Option<Refusal>> {
        if let Some(refusal) = self.refusal(dev) {
            return Ok(Some(refusal));
        }
        let (_, members) = self
            .groups
            .of(group::sbdf(dev), |id| self.firmware_alias(id))?;
        Ok(user_of(&members).map(|dev| Refusal::GroupInUse(group::sbdf(dev))))
    }
}

/// The member of a group that is in use by a driver already, if there is one. Ports and bridges do not
/// count: their driver leaves DMA to others.
pub(crate) fn user_of(members: &[PciDev]) -> Option<&PciDev> {
    // A driver of a device that is probed was bound after it, which is fine.
    members
        .iter()
        .find(|dev| dev.has_driver() && !group::is_bridge(dev) && Group::of(dev.device()).is_none())
}
