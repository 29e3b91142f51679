// SPDX-License-Identifier: GPL-2.0

//! Who is behind a unit, as firmware names it: by the way from the root bus down.

use iommu_core::{
    acpi::dmar::Scopes,
    id::Rid, //
};
use kernel::prelude::*;
use kernel_iommu::pci_topology::PciDev;

/// The functions on the way from the root bus to a function, itself last. Deeper ones than these are
/// not known of any machine.
pub(super) struct Chain {
    rids: [Rid; Self::DEEPEST],
    first: usize,
}

impl Chain {
    const DEEPEST: usize = 32;

    /// The way to a function, or to its physical function: firmware knows no others.
    pub(super) fn to(dev: &PciDev) -> Self {
        let mut chain = Self {
            rids: [Rid(0); Self::DEEPEST],
            first: Self::DEEPEST,
        };
        let mut at = Some(dev.physical_function());
        while let (Some(dev), Some(first)) = (at, chain.first.checked_sub(1)) {
            let devfn = dev.devfn();
            if let Some(slot) = chain.rids.get_mut(first) {
                *slot = Rid::new(dev.bus(), devfn >> 3, devfn & 7);
                chain.first = first;
            }
            at = dev.upstream();
        }
        chain
    }

    /// From the root bus down.
    pub(super) fn rids(&self) -> &[Rid] {
        self.rids.get(self.first..).unwrap_or(&[])
    }
}

/// Scopes of a structure, copied: firmware's table goes after the load.
pub(super) struct OwnedScopes(KVec<u8>);

impl OwnedScopes {
    pub(super) fn copy(scopes: &Scopes<'_>) -> Result<Self> {
        let mut bytes = KVec::new();
        bytes.extend_from_slice(scopes.bytes(), GFP_KERNEL)?;
        Ok(Self(bytes))
    }

    /// The scopes. What is wrong with them was said when the table was read.
    pub(super) fn scopes(&self) -> Scopes<'_> {
        Scopes::new(&self.0, 0)
    }

    /// Does one of them name the function at the end of the chain, or a bridge above?
    pub(super) fn name(&self, chain: &Chain) -> bool {
        self.scopes().flatten().any(|s| s.names(chain.rids()))
    }
}
