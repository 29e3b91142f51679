// SPDX-License-Identifier: GPL-2.0

//! The AMD-Vi family.

mod discover;
mod events;
mod hardware;
mod unit;

use iommu_core::{
    acpi::ivrs::Target as Users,
    addr::Range,
    id::Rid,
    pt::amd_v1::AmdV1, //
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

pub(crate) use discover::find;

/// What firmware says about all units.
pub(crate) struct AmdVi {
    /// Memory that some requester IDs of a segment have to reach.
    required: KVec<(u16, Users, Required)>,
}

static SLOT: Slot<Iommu<AmdVi>> = Slot::new();

impl Family for AmdVi {
    type Format = AmdV1;
    type Unit = unit::Unit;
    type Lines = discover::Lines;

    fn slot() -> &'static Slot<Iommu<Self>> {
        &SLOT
    }

    // Source: AMD I/O Virtualization Technology (IOMMU) Specification, 48882, Rev 3.10, 2.1.2 (the
    // HyperTransport range FD_0000_0000h to FF_FFFF_FFFFh).
    fn fixed_regions() -> impl Iterator<Item = (Range, Kind)> {
        [
            (X86_INTERRUPTS, Kind::Msi),
            ((0xfd_0000_0000, 0xff_ffff_ffff), Kind::Reserved),
        ]
        .into_iter()
        .filter_map(|((first, last), kind)| Some((Range::new(first, last)?, kind)))
    }

    fn required(&self, dev: &PciDev, rids: &[Rid]) -> Result<KVec<Required>> {
        let mut list = KVec::new();
        for (segment, users, required) in self.required.iter() {
            if *segment == dev.segment() && rids.iter().any(|rid| users.contains(*rid)) {
                list.push(*required, GFP_KERNEL)?;
            }
        }
        Ok(list)
    }

    /// The features are those of all units, as the C driver uses them.
    fn attributes(units: &[Arc<unit::Unit>], unit: &unit::Unit) -> Attributes {
        let all = units.iter().fold([u64::MAX; 2], |[a, b], u| {
            [a & u.features.efr, b & u.features.efr2]
        });
        Attributes::AmdVi {
            cap: unit.hw.header.unwrap_or(0),
            features: all,
        }
    }

    fn interrupts(iommu: &Arc<Iommu<Self>>) -> Result<Self::Lines> {
        discover::interrupts(iommu)
    }
}
