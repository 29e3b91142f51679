// SPDX-License-Identifier: GPL-2.0

//! The Intel VT-d family.

mod discover;
mod faults;
mod hardware;
mod scopes;
mod tables;
mod unit;

use core::marker::PhantomData;

use iommu_core::{
    addr::Range,
    id::Rid,
    pt::{
        vtd_ss::VtdSs,
        x86::X86,
        Format, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};
use kernel_iommu::{
    iommu::{
        ops::Slot,
        resv::Kind,
        unit_sysfs::Attributes, //
    },
    pci_topology::PciDev, //
};

use crate::{
    device::Required,
    family::{
        Family,
        X86_INTERRUPTS, //
    },
    iommu::Iommu, //
};
use scopes::{
    Chain,
    OwnedScopes, //
};

pub(crate) use discover::{
    find,
    Found, //
};

/// Memory that firmware wants some devices to reach.
struct Memory {
    segment: u16,
    range: Range,
    scopes: OwnedScopes,
}

/// What firmware says about all units, whose domains have tables of format `F`.
pub(crate) struct VtD<F> {
    memory: KVec<Memory>,
    _format: PhantomData<F>,
}

/// A format of page tables that VT-d units walk.
pub(crate) trait VtdFormat: Format + Send + Sync + Sized + 'static {
    /// Where the callbacks of the core find the driver.
    fn slot() -> &'static Slot<Iommu<VtD<Self>>>;
}

impl VtdFormat for VtdSs {
    fn slot() -> &'static Slot<Iommu<VtD<Self>>> {
        static SLOT: Slot<Iommu<VtD<VtdSs>>> = Slot::new();
        &SLOT
    }
}

impl VtdFormat for X86 {
    fn slot() -> &'static Slot<Iommu<VtD<Self>>> {
        static SLOT: Slot<Iommu<VtD<X86>>> = Slot::new();
        &SLOT
    }
}

/// USB controllers and displays use firmware's memory only until they have a driver.
///
/// Source: srctree/drivers/iommu/intel, `device_rmrr_is_relaxable`.
fn is_relaxable(dev: &PciDev) -> bool {
    matches!(dev.class() >> 8, 0x0c03 | 0x0300)
}

impl<F: VtdFormat> Family for VtD<F> {
    type Format = F;
    type Unit = unit::Unit;
    type Lines = discover::Lines<F>;

    fn slot() -> &'static Slot<Iommu<Self>> {
        F::slot()
    }

    fn fixed_regions() -> impl Iterator<Item = (Range, Kind)> {
        let (first, last) = X86_INTERRUPTS;
        Range::new(first, last).map(|r| (r, Kind::Msi)).into_iter()
    }

    fn required(&self, dev: &PciDev, _rids: &[Rid]) -> Result<KVec<Required>> {
        let mut list = KVec::new();
        let chain = Chain::to(dev);
        for m in self.memory.iter() {
            if m.segment == dev.segment() && m.scopes.name(&chain) {
                let required = Required {
                    memory: m.range,
                    read: true,
                    write: true,
                    relaxable: is_relaxable(dev),
                };
                list.push(required, GFP_KERNEL)?;
            }
        }
        Ok(list)
    }

    fn attributes(_units: &[Arc<unit::Unit>], unit: &unit::Unit) -> Attributes {
        let [cap, ecap] = unit.hw.words;
        Attributes::VtD {
            version: unit.hw.version,
            address: unit.hw.phys(),
            cap,
            ecap,
            domains: unit.hw.caps.nr_domains,
        }
    }

    fn interrupts(iommu: &Arc<Iommu<Self>>) -> Result<Self::Lines> {
        discover::interrupts(iommu)
    }
}
