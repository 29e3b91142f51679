// SPDX-License-Identifier: GPL-2.0

//! What the IOMMU core asks of the driver.

use iommu_core::{
    addr::{
        PageSpan,
        Perm,
        Range,
        PAGE_SIZE, //
    },
    id::Sbdf,
    pt::{
        Format,
        MapError, //
    }, //
};
use kernel::{
    device,
    error::code::*,
    prelude::*,
    sync::Arc, //
};
use kernel_iommu::{
    hw_pages::Gfp,
    iommu::{
        device::is_coherent,
        dma_ops::{
            self,
            DomainTimer, //
        },
        driver::{
            Capability,
            DomainType,
            Driver,
            Geometry,
            Prot,
            Span,
            StaticDomain, //
        },
        fault::FaultReporter,
        group::Group,
        ops::{
            attached,
            attached_domain,
            Attached,
            IommuDevice,
            Slot, //
        },
        own_domain,
        resv::{
            Kind,
            ResvRegions, //
        }, //
    },
    pci_topology::PciDev, //
};

use crate::{
    device::{
        Device,
        Required,
        State, //
    },
    dma::Flush,
    domain::{
        map_errno,
        PagingDomain, //
    },
    family::{
        Family,
        Unit, //
    },
    glue::Show,
    group,
    iommu::{
        is_shared,
        rids_of,
        Domain,
        Iommu, //
    },
    machine::Running,
    params,
    refusal::{
        user_of,
        Refusal, //
    },
    release::make_way, //
};

/// Calls `f` for the memory windows of a device's host bridge: a request to them may be routed to
/// another device before it reaches the unit.
fn host_windows(id: Sbdf, mut f: impl FnMut(Range) -> Result) -> Result {
    let Some(dev) = PciDev::find(id.segment, id.rid.bus(), id.rid.devfn()) else {
        return Ok(());
    };
    // A host bridge has a handful of windows.
    for i in 0..32 {
        match dev.host_window(i) {
            Some((first, last)) => {
                if let Some(range) = Range::new(first, last) {
                    f(range)?;
                }
            }
            None => break,
        }
    }
    Ok(())
}

impl<F: Family> Iommu<F> {
    /// Is the device of a kind whose DMA API our functions can serve?
    fn can_serve(&self, dev: &device::Device, pdev: &PciDev) -> bool {
        self.dma != params::Dma::Core
            && !pdev.is_untrusted()
            && is_coherent(dev)
            && dma_ops::available()
    }

    /// Is it one that they do serve?
    fn may_serve(&self, dev: &device::Device, pdev: &PciDev) -> bool {
        self.can_serve(dev, pdev) && (self.dma == params::Dma::Rust || !maps_in_two_steps(pdev))
    }

    /// Who serves a device's DMA API: puts our functions on it or takes them away. The device has
    /// no driver that uses it yet.
    pub(crate) fn serve(&self, dev: &device::Device) {
        let Some(pdev) = PciDev::from_device(dev) else {
            return;
        };
        if !self.may_serve(dev, &pdev) || attached::<Self>(dev) != Attached::Dma {
            return;
        }
        let ready = attached_domain::<Self, _>(dev, |data, domain| {
            domain.serve()?;
            self.reserve_for(data, domain)
        });
        match ready {
            Some(Ok(())) => dma_ops::install::<Self>(dev),
            Some(Err(e)) => pr_warn!(
                "{}: its reserved regions cannot be kept ({:?}); the core serves its DMA\n",
                Show(group::sbdf(&pdev)),
                e
            ),
            None => {}
        }
    }

    /// Keeps a domain in reserve for a passed-through device: its driver's DMA masks, which it is
    /// about to declare, may not reach all memory.
    pub(crate) fn reserve_own(&self, dev: &device::Device) {
        let Some(pdev) = PciDev::from_device(dev) else {
            return;
        };
        if !self.translate_short_masks || !self.can_serve(dev, &pdev) {
            return;
        }
        let id = group::sbdf(&pdev);
        let list = self.devices.lock();
        let Some(data) = list.iter().find(|d| d.id == id).cloned() else {
            return;
        };
        // Others that are passed through under the same ID would move with it.
        let shared = data.rids.iter().any(|r| is_shared(&list, &data, *r));
        if data.state() != State::Identity || shared {
            return;
        }
        drop(list);
        let reserved = own_domain::reserve::<Self>(dev, |data, domain| {
            domain.serve()?;
            self.reserve_for(data, domain)?;
            self.make_ready(data, domain)
        });
        if let Err(e) = reserved {
            pr_warn!(
                "{}: no domain in reserve ({:?}); with short DMA masks it bounces\n",
                Show(id),
                e
            );
        }
    }

    /// Keeps the device's reserved regions out of the domain's own IOVA space, before our DMA API
    /// serves the device.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn reserve_for(&self, dev: &Device, domain: &Domain<F>) -> Result {
        for (range, _) in F::fixed_regions() {
            domain.reserve(range)?;
        }
        for r in dev.required.iter() {
            domain.reserve(r.memory)?;
        }
        host_windows(dev.id, |range| domain.reserve(range))
    }

    /// May user space get the device? Sleeps.
    ///
    /// # Errors
    ///
    /// `EPERM`: it is not isolated from what the core believes it to be. As [`group::Groups::of`].
    fn may_assign(&self, data: &Device) -> Result {
        let (_, members) = self.groups.of(data.id, |id| self.firmware_alias(id))?;
        if group::exist_apart(&members) {
            pr_err!(
                "{}: not for user space: it shares a group with devices the core has in another one; debugfs rust_iommu/groups says why\n",
                Show(data.id)
            );
            return Err(EPERM);
        }
        Ok(())
    }

    /// Memory that firmware wants any member of a group to reach: they share their address space, so
    /// nobody may have something else there.
    fn required_of_any(&self, members: &[PciDev]) -> Result<KVec<Required>> {
        let mut all: KVec<Required> = KVec::new();
        for dev in members.iter() {
            for r in self.family.required(dev, &rids_of(&self.units, dev)?)? {
                if !all.contains(&r) {
                    all.push(r, GFP_KERNEL)?;
                }
            }
        }
        Ok(all)
    }
}

/// Does the device's driver map a request of several pages with the core's two-step calls (`dma_iova_*`)?
/// They exist on the core's own path only, and need one invalidation for the request where single calls
/// need one a page: 128 KiB of single pages cost half as much there (README, "What it costs").
fn maps_in_two_steps(dev: &PciDev) -> bool {
    const NVME: u32 = 0x0108;
    const INFINIBAND: u32 = 0x0207;
    matches!(dev.class() >> 8, NVME | INFINIBAND)
}

impl<F: Family> Driver for Iommu<F> {
    type Unit = F::Unit;
    type Device = Arc<Device>;
    type Domain = Domain<F>;

    fn slot() -> &'static Slot<Self> {
        F::slot()
    }

    fn find_unit(&self, dev: &device::Device) -> Result<Arc<F::Unit>> {
        let pdev = PciDev::from_device(dev).ok_or(ENODEV)?;
        match self.refusal(&pdev) {
            Some(Refusal::NoUnit) => self.pass_unnamed(group::sbdf(&pdev)),
            Some(_) => {}
            None => return Ok(self.unit_of(&pdev).ok_or(ENODEV)?.clone()),
        }
        Err(ENODEV)
    }

    fn probe_device(&self, dev: &device::Device, unit: &F::Unit) -> Result<KBox<Arc<Device>>> {
        let pdev = PciDev::from_device(dev).ok_or(ENODEV)?;
        let id = group::sbdf(&pdev);
        let (_, members) = self.groups.of(id, |id| self.firmware_alias(id))?;
        if user_of(&members).is_some() {
            return Err(ENODEV);
        }
        let rids = rids_of(&self.units, &pdev)?;
        for rid in rids.iter() {
            unit.prepare(*rid)?;
        }
        let required = self.required_of_any(&members)?;
        let device = Device::new(dev, id, unit.index(), rids, required)?;
        let data = Arc::new(device, GFP_KERNEL)?;
        let boxed = KBox::new(data.clone(), GFP_KERNEL)?;
        self.devices.lock().push(data, GFP_KERNEL)?;
        Ok(boxed)
    }

    fn release_device(&self, _dev: &device::Device, data: &Arc<Device>) {
        self.devices.lock().retain(|d| !Arc::ptr_eq(d, data));
    }

    fn fault_reporter(data: &Arc<Device>) -> &FaultReporter {
        &data.reporter
    }

    fn probe_finalize(&self, dev: &device::Device, _data: &Arc<Device>) {
        self.serve(dev);
    }

    fn device_group(&self, _dev: &device::Device, data: &Arc<Device>) -> Result<Group> {
        group::core_group(&self.groups, data.id, |id| self.firmware_alias(id))
    }

    fn def_domain_type(&self, _dev: &device::Device, _data: &Arc<Device>) -> Option<DomainType> {
        None
    }

    fn resv_regions(&self, data: &Arc<Device>, list: &mut ResvRegions<'_>) {
        let mut add = |range: Range, read, write, kind| {
            let len = usize::try_from(range.len_bytes()).unwrap_or(usize::MAX);
            if list.add(range.first(), len, read, write, kind).is_err() {
                pr_err!(
                    "{}: no memory for the reserved region {}\n",
                    Show(data.id),
                    Show(range)
                );
            }
        };
        for r in data.required.iter() {
            let kind = if r.relaxable {
                Kind::DirectRelaxable
            } else {
                Kind::Direct
            };
            add(r.memory.page_cover(), r.read, r.write, kind);
        }
        for (range, kind) in F::fixed_regions() {
            add(range, false, true, kind);
        }
        list.add_bus_regions();
    }

    fn capable(&self, _data: &Arc<Device>, cap: Capability) -> bool {
        match cap {
            Capability::CacheCoherency | Capability::DeferredFlush => true,
            Capability::Other => false,
        }
    }

    fn domains_used(&self, unit: &IommuDevice) -> u32 {
        let is_it = |u: &&Arc<F::Unit>| core::ptr::eq((***u).as_ref(), unit);
        let Some(unit) = self.units.iter().find(is_it) else {
            return 0;
        };
        let of_unit = |d: &&Arc<Domain<F>>| d.units() >> unit.index() & 1 != 0;
        let used = self.domains.lock().iter().filter(of_unit).count();
        // CAST: domain IDs have 16 bits.
        used as u32
    }

    fn attach_static(
        &self,
        data: &Arc<Device>,
        old: Option<&Domain<F>>,
        to: StaticDomain,
    ) -> Result {
        self.to_static(data, old, to)?;
        data.set_assigned(false);
        Ok(())
    }

    fn domain_alloc(
        &self,
        data: &Arc<Device>,
        timer: DomainTimer,
    ) -> Result<(Arc<Domain<F>>, Geometry)> {
        let shape = self.unit(data.unit)?.shape()?;
        let domain = Domain::<F>::new(self.ids.clone(), &shape, Some(timer))?;
        let geometry = Geometry {
            page_sizes: shape.page_sizes,
            last_iova: domain.last_iova(),
        };
        Ok((domain, geometry))
    }

    fn domain_made(&self, domain: &Arc<Domain<F>>) -> Result {
        Ok(self.domains.lock().push(domain.clone(), GFP_KERNEL)?)
    }

    fn domain_free(&self, domain: &Arc<Domain<F>>) {
        self.domains.lock().retain(|d| !Arc::ptr_eq(d, domain));
    }

    fn attach(
        &self,
        data: &Arc<Device>,
        old: Option<&Domain<F>>,
        new: &Domain<F>,
        assigned: bool,
    ) -> Result {
        if assigned {
            self.may_assign(data)?;
        }
        self.to_paging(data, old, new)?;
        data.set_assigned(assigned);
        Ok(())
    }

    #[inline(always)]
    fn map(
        &self,
        domain: &Domain<F>,
        iova: u64,
        phys: u64,
        len: usize,
        prot: Prot,
        gfp: Gfp,
    ) -> (usize, Result) {
        let perm = Perm {
            read: prot.read,
            write: prot.write,
        };
        // CAST: usize is not wider than u64.
        if domain.map_quickly(iova, phys, len as u64, perm) {
            domain.calls.count_map();
            return (len, Ok(()));
        }
        map_for_core(self, domain, (iova, phys, len), perm, gfp)
    }

    #[inline(always)]
    fn unmap(&self, domain: &Domain<F>, iova: u64, len: usize) -> (usize, Option<Span>) {
        // CAST: usize is not wider than u64.
        if domain.unmap_quickly(iova, len as u64) {
            domain.calls.count_unmap();
            return (len, Some((iova, iova | (PAGE_SIZE - 1))));
        }
        self.unmap_for_core(domain, iova, len)
    }

    fn syncs_maps(&self) -> bool {
        self.hears_of_maps()
    }

    fn sync_map(&self, domain: &Domain<F>, span: Span) -> Result {
        match Range::new(span.0, span.1) {
            Some(range) => self.after_map(domain, PageSpan::of(&range)),
            None => Ok(()),
        }
    }

    fn sync_unmap(&self, domain: &Domain<F>, span: Span) {
        if let Some(range) = Range::new(span.0, span.1) {
            // A failure marks the unit broken, which is reported there.
            let _ = self.after_unmap_inline(domain, PageSpan::of(&range));
        }
    }

    fn flush_all(&self, domain: &Domain<F>) {
        self.flush_domain(domain);
    }

    fn iova_to_phys(&self, domain: &Domain<F>, iova: u64) -> Option<u64> {
        domain.lookup(iova)
    }
}

/// Maps a range for the IOMMU core.
#[inline(never)]
fn map_for_core<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    (iova, phys, len): (u64, u64, usize),
    perm: Perm,
    gfp: Gfp,
) -> (usize, Result) {
    // CAST: usize is not wider than u64.
    let Some(range) = Range::with_len(iova, len as u64) else {
        return (0, Err(EINVAL));
    };
    if let Err(e) = domain.claim(range) {
        pr_err!(
            "a mapping of the core at {} clashes with one of ours\n",
            Show(range)
        );
        return (0, Err(e));
    }
    let mut done = 0;
    loop {
        // CAST: as above.
        let mapped = domain.map(iova + done, phys + done, len as u64 - done, perm, gfp);
        let Err(e) = mapped else {
            domain.calls.count_map();
            return (len, Ok(()));
        };
        done += e.mapped_bytes;
        match e.cause {
            MapError::Table(at) if make_way(unit, domain, at) => {}
            // CAST: at most `len`.
            _ => return (done as usize, Err(map_errno(&e))),
        }
    }
}

impl<F: Family> Iommu<F> {
    /// Unmaps a range for the IOMMU core.
    #[inline(never)]
    fn unmap_for_core(&self, domain: &Domain<F>, iova: u64, len: usize) -> (usize, Option<Span>) {
        // CAST: usize is not wider than u64.
        let u = domain.unmap(iova, len as u64);
        if u.cleared.is_some() {
            domain.calls.count_unmap();
        }
        if let (Some(range), Some(_)) = (u.cleared, domain.space()) {
            // A claim of the core's. Nobody else gets its addresses before the units have let go of it.
            match self.after_unmap(domain, PageSpan::of(&range)) {
                Ok(()) => domain.unclaim(range),
                Err(_) => domain.quarantine(range.len_bytes() / PAGE_SIZE),
            }
            return (usize::try_from(u.bytes).unwrap_or(0), None);
        }
        (
            usize::try_from(u.bytes).unwrap_or(0),
            u.cleared.map(|r| (r.first(), r.last())),
        )
    }
}
