// SPDX-License-Identifier: GPL-2.0

//! What an IOMMU driver implements: the trait and the values it speaks in.
//!
//! C header: [`include/linux/iommu.h`](srctree/include/linux/iommu.h)

use kernel::{
    bindings,
    device::Device,
    ffi::c_int,
    prelude::*,
    sync::Arc, //
};

use super::super::hw_pages::Gfp;
use super::{
    domain_timer::DomainTimer,
    fault::FaultReporter,
    group::Group,
    ops::{
        IommuDevice,
        Slot, //
    },
    resv::ResvRegions, //
};

/// Type of a group's default domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainType {
    /// DMA addresses are physical addresses.
    Identity,
    /// The DMA API maps.
    Dma,
}

/// The domains that exist once and cannot fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaticDomain {
    /// All addresses are passed through.
    Identity,
    /// All DMA is refused.
    Blocked,
}

/// Capabilities the core and its users ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// DMA is coherent with the CPU caches where mapped so.
    CacheCoherency,
    /// Invalidation may be deferred.
    DeferredFlush,
    /// Any other; drivers say no.
    Other,
}

/// Protection of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prot {
    /// Devices may read.
    pub read: bool,
    /// Devices may write.
    pub write: bool,
}

impl Prot {
    pub(super) fn from_raw(prot: c_int) -> Self {
        // CAST: a bit mask.
        let bits = prot as u32;
        Self {
            read: bits & bindings::IOMMU_READ != 0,
            write: bits & bindings::IOMMU_WRITE != 0,
        }
    }
}

/// What a paging domain can do; the core copies it when the domain is made.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// Bitmap of page sizes.
    pub page_sizes: u64,
    /// Highest IOVA, inclusive.
    pub last_iova: u64,
}

/// A range of IOVA space, both ends inclusive.
pub type Span = (u64, u64);

/// An IOMMU driver. Methods run in the contexts that the core's documentation of `iommu_ops` and
/// `iommu_domain_ops` gives; "may sleep" below is a promise of the core.
pub trait Driver: Send + Sync + Sized + 'static {
    /// A unit: what `iommu_device` stands for.
    type Unit: AsRef<IommuDevice> + Send + Sync;
    /// What the driver keeps for a probed device.
    type Device: Send + Sync;
    /// A paging domain.
    type Domain: Send + Sync;

    /// Where the callbacks find the driver.
    fn slot() -> &'static Slot<Self>;

    /// Finds the unit of a device, registered or not. May sleep. `ENODEV` leaves the device alone.
    fn find_unit(&self, dev: &Device) -> Result<Arc<Self::Unit>>;
    /// Makes what the driver keeps for a device behind `unit`, which is registered. May sleep. `ENODEV`
    /// leaves the device alone.
    fn probe_device(&self, dev: &Device, unit: &Self::Unit) -> Result<KBox<Self::Device>>;
    /// The device goes away; its entry is on the release domain already.
    fn release_device(&self, dev: &Device, data: &Self::Device);
    /// Where the device's faults go.
    fn fault_reporter(data: &Self::Device) -> &FaultReporter;
    /// The default domain is attached.
    fn probe_finalize(&self, dev: &Device, data: &Self::Device);
    /// The group of a device. May sleep.
    fn device_group(&self, dev: &Device, data: &Self::Device) -> Result<Group>;
    /// The default domain type a device needs, if it needs one.
    fn def_domain_type(&self, dev: &Device, data: &Self::Device) -> Option<DomainType>;
    /// Lists reserved regions. May sleep.
    fn resv_regions(&self, data: &Self::Device, list: &mut ResvRegions<'_>);
    /// Answers a capability question.
    fn capable(&self, data: &Self::Device, cap: Capability) -> bool;

    /// Domains that devices behind the unit are attached to. May sleep.
    fn domains_used(&self, unit: &IommuDevice) -> u32;

    /// Attaches one of the static domains. Must not fail for lack of resources. May sleep.
    fn attach_static(
        &self,
        data: &Self::Device,
        old: Option<&Self::Domain>,
        to: StaticDomain,
    ) -> Result;
    /// Makes a paging domain that `data`'s device can use, with its timer. May sleep.
    fn domain_alloc(
        &self,
        data: &Self::Device,
        timer: DomainTimer,
    ) -> Result<(Arc<Self::Domain>, Geometry)>;
    /// A domain of [`Driver::domain_alloc`] is in place. May sleep.
    ///
    /// # Errors
    ///
    /// The domain goes again; [`Driver::domain_free`] is not called.
    fn domain_made(&self, domain: &Arc<Self::Domain>) -> Result;
    /// A domain that was in place is nobody's any more. May sleep.
    fn domain_free(&self, domain: &Arc<Self::Domain>);
    /// Attaches a paging domain. `assigned`: it is not the DMA API's, but that of user space or of a driver
    /// with an address space of its own; that may be refused. On error the device is still on `old`. May
    /// sleep.
    fn attach(
        &self,
        data: &Self::Device,
        old: Option<&Self::Domain>,
        new: &Self::Domain,
        assigned: bool,
    ) -> Result;

    /// Maps `len_bytes` bytes. Any context, disjoint ranges in parallel. Returns the bytes mapped, also on
    /// error.
    fn map(
        &self,
        domain: &Self::Domain,
        iova: u64,
        phys: u64,
        len_bytes: usize,
        prot: Prot,
        flags: Gfp,
    ) -> (usize, Result);
    /// Unmaps up to `len_bytes`. Any context. Returns the bytes unmapped and the range that has
    /// to be invalidated.
    fn unmap(&self, domain: &Self::Domain, iova: u64, len_bytes: usize) -> (usize, Option<Span>);
    /// Is [`Driver::sync_map`] needed at all? Does not change.
    fn syncs_maps(&self) -> bool;
    /// New mappings become visible to units that cache absent entries.
    fn sync_map(&self, domain: &Self::Domain, span: Span) -> Result;
    /// The range becomes unreachable for devices before this returns.
    fn sync_unmap(&self, domain: &Self::Domain, span: Span);
    /// Everything unmapped before the call becomes unreachable. May run with interrupts off.
    fn flush_all(&self, domain: &Self::Domain);
    /// Looks an address up. Any context.
    fn iova_to_phys(&self, domain: &Self::Domain, iova: u64) -> Option<u64>;
}
