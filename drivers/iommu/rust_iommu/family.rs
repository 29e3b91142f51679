// SPDX-License-Identifier: GPL-2.0

//! What a family of units provides. Everything above it is shared: devices, groups, domains, the DMA
//! API, the callbacks of the core.

use iommu_core::{
    addr::{
        Oa,
        PageSpan,
        Range, //
    },
    id::{
        DomainId,
        Rid,
        Sbdf, //
    },
    pt::Format, //
};
use kernel::{
    fmt,
    prelude::*,
    str::CStr,
    sync::Arc, //
};
use kernel_iommu::{
    iommu::{
        ops::{
            IommuDevice,
            Slot, //
        },
        resv::Kind,
        unit_sysfs::Attributes, //
    },
    pci_topology::PciDev, //
};

use crate::{
    device::Required,
    fault::FaultLog,
    iommu::Iommu, //
};

/// Domain ID of devices that are passed through.
pub(crate) const IDENTITY_DID: DomainId = DomainId(1);
/// Domain ID of devices that are blocked.
pub(crate) const BLOCKED_DID: DomainId = DomainId(2);
/// Domain ID of an entry between two domains, where a unit needs one.
pub(crate) const MOVING_DID: DomainId = DomainId(3);

/// The interrupt window of x86: writes to it are interrupts, whatever a page table says.
///
/// Source: AMD I/O Virtualization Technology (IOMMU) Specification, 48882, Rev 3.10, 2.1.2; Intel
/// Virtualization Technology for Directed I/O, D51397-016 (revision 4.1), 3.14.
pub(crate) const X86_INTERRUPTS: (u64, u64) = (0xfee0_0000, 0xfeef_ffff);

/// A table entry as a family has it.
pub(crate) type Words = [u64; 4];

/// Where a requester ID's requests are to go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// Nowhere; they are logged.
    Blocked,
    /// To the addresses they name, on a unit that can pass requests through.
    Identity,
    /// Through a page table.
    Paging { root: Oa, levels: u8, did: DomainId },
}

/// What a unit can walk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) levels: u8,
    pub(crate) last_iova: u64,
    /// Bitmap of page sizes.
    pub(crate) page_sizes: u64,
    /// The unit does not look into the processor's caches when it walks.
    pub(crate) flush: bool,
}

/// One unit of a family.
pub(crate) trait Unit: AsRef<IommuDevice> + Send + Sync + 'static {
    /// Its place among the family's units.
    fn index(&self) -> usize;
    /// Its name, which the C driver gives it, too.
    fn name(&self) -> &CStr;
    /// Is the function behind it? If several say so, the first is right.
    fn covers(&self, dev: &PciDev) -> bool;
    /// The PCI segment of all functions behind it.
    fn segment(&self) -> u16;
    /// The PCI function that it is, if it is one.
    fn function(&self) -> Option<PciDev>;
    /// Is the function the unit itself?
    fn is_at(&self, id: Sbdf) -> bool;
    /// The requester ID that firmware says requests of `id` carry instead.
    fn alias(&self, id: Sbdf) -> Option<Rid>;
    /// Can it pass requests through? Where it cannot, a domain that maps memory to itself stands in.
    fn passes_through(&self) -> bool;
    /// What its domains look like.
    ///
    /// # Errors
    ///
    /// `ENODEV`: it cannot translate.
    fn shape(&self) -> Result<Shape>;

    /// Makes room for the entry of a requester ID. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn prepare(&self, rid: Rid) -> Result;
    /// Writes an entry that hardware does not read yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn preset(&self, rid: Rid, to: &Target) -> Result;
    /// Moves a prepared entry so that hardware sees the old one, the new one or a blocked one, and
    /// waits until it uses the new one. Returns the old one. Any context.
    ///
    /// # Errors
    ///
    /// `EIO` or `ETIMEDOUT` if the unit does not answer; the entry may be either. `EINVAL` if it
    /// cannot express the target.
    fn set_entry(&self, rid: Rid, to: &Target) -> Result<Words>;
    /// Puts back what `set_entry` returned.
    fn put_back(&self, rid: Rid, entry: &Words);

    /// Is [`Self::after_map`] needed at all?
    fn hears_of_maps(&self) -> bool;
    /// Makes new mappings visible, where the unit caches absent entries or buffers writes. Any
    /// context.
    fn after_map(&self, did: DomainId, span: PageSpan) -> Result;
    /// Makes unmapped pages unreachable before it returns. Any context.
    fn after_unmap(&self, did: DomainId, span: PageSpan) -> Result;
    /// [`Self::after_unmap`] for several ranges at once; a range may cost its neighbours. Any context.
    fn after_unmaps(&self, did: DomainId, spans: &[PageSpan]) -> Result;
    /// Drops everything a unit may hold of a domain, walk caches included. Any context.
    fn invalidate_domain(&self, did: DomainId) -> Result;

    /// Its faults.
    fn faults(&self) -> &FaultLog;
    /// Describes it for debugfs.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
    /// Stops it: DMA is not translated any more, and its registers are as they were found. Any
    /// context.
    fn stop(&self);
    /// Starts it once more on the same tables, after it was without power. Any context.
    ///
    /// # Errors
    ///
    /// `EIO` or `ETIMEDOUT`; it is disabled then.
    fn resume(&self) -> Result;

    /// The name as text.
    fn text(&self) -> &str {
        self.name().to_str().unwrap_or("unit")
    }
}

/// A family of units, with what firmware says about all of them.
pub(crate) trait Family: Send + Sync + Sized + 'static {
    /// The page tables of its domains.
    type Format: Format + Send + Sync + 'static;
    /// A unit.
    type Unit: Unit;
    /// The interrupts of all units; given back on drop.
    type Lines: Send;

    /// Where the callbacks of the core find it.
    fn slot() -> &'static Slot<Iommu<Self>>;
    /// Windows of the address space that mean something else to every unit.
    fn fixed_regions() -> impl Iterator<Item = (Range, Kind)>;
    /// Memory that firmware wants a function with these requester IDs to reach.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn required(&self, dev: &PciDev, rids: &[Rid]) -> Result<KVec<Required>>;
    /// What users find of a unit in sysfs.
    fn attributes(units: &[Arc<Self::Unit>], unit: &Self::Unit) -> Attributes;
    /// Requests the units' interrupts. A unit without one works, but its faults are not seen.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn interrupts(iommu: &Arc<Iommu<Self>>) -> Result<Self::Lines>;
}
