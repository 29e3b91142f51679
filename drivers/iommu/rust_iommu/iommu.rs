// SPDX-License-Identifier: GPL-2.0

//! The driver of all units of a machine, of one family: devices, their entries, their domains.

use core::num::NonZero;

use iommu_core::{
    acpi::srat,
    addr::{
        PageSpan,
        Perm, //
    },
    id::{
        DomainId,
        Rid,
        Sbdf, //
    },
    pt::Format, //
};
use kernel::{
    error::code::*,
    fmt,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    }, //
};
use kernel_iommu::{
    acpi_table::AcpiTable,
    hw_pages::{
        last_ram,
        Gfp, //
    },
    iommu::own_domain,
    pci_topology::{
        self,
        PciDev, //
    }, //
};

use crate::{
    device::{
        Device,
        State, //
    },
    dma::Flush,
    domain::{
        map_errno,
        PagingDomain, //
    },
    domain_ids::DomainIds,
    family::{
        Family,
        Shape,
        Target,
        Unit, //
    },
    glue::Show,
    group::{
        self,
        Groups, //
    },
    machine::Running,
    params::{
        self,
        Params, //
    },
    refusal::Refusal,
    release::free_spare, //
};

/// A domain of a family.
pub(crate) type Domain<F> = PagingDomain<<F as Family>::Format>;

/// The driver.
#[pin_data]
pub(crate) struct Iommu<F: Family> {
    pub(crate) family: F,
    pub(crate) units: KVec<Arc<F::Unit>>,
    pub(crate) dma: params::Dma,
    pub(crate) translate_short_masks: bool,
    /// The last address of memory that firmware says can be plugged in.
    pub(crate) last_pluggable: u64,
    pub(crate) ids: Arc<DomainIds>,
    /// A unit caches that nothing is mapped, or buffers writes.
    hears_of_maps: bool,
    /// Memory mapped to itself, for units that cannot pass requests through.
    one_to_one: Option<Arc<Domain<F>>>,
    /// A function without unit was reported.
    unnamed: Atomic<bool>,
    #[pin]
    pub(crate) devices: Mutex<KVec<Arc<Device>>>,
    /// The core's, and those in reserve. Whoever frees memory for others may want it: no device's lock
    /// is taken under this one.
    #[pin]
    pub(crate) domains: Mutex<KVec<Arc<Domain<F>>>>,
    #[pin]
    pub(crate) groups: Groups,
}

impl<F: Family> Iommu<F> {
    /// The driver of running units. `nr_domains`: domain IDs that all of them have; `acs`: switch
    /// Access Control Services on where they are all off.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(
        family: F,
        units: KVec<Arc<F::Unit>>,
        params: Params,
        nr_domains: u32,
        acs: bool,
    ) -> Result<Arc<Self>> {
        let ids = DomainIds::new(nr_domains)?;
        let last_pluggable = last_pluggable();
        let last = last_ram().max(last_pluggable);
        let hears_of_maps = units.iter().any(|u| u.hears_of_maps());
        let one_to_one = match units.iter().find(|u| !u.passes_through()) {
            Some(unit) => Some(one_to_one(&ids, &unit.shape()?, last)?),
            None => None,
        };
        Arc::pin_init(
            pin_init!(Self {
                family,
                units,
                dma: params.dma,
                translate_short_masks: params.translate_short_masks,
                last_pluggable,
                one_to_one,
                ids,
                hears_of_maps,
                unnamed: Atomic::new(false),
                devices <- new_mutex!(KVec::new()),
                domains <- new_mutex!(KVec::new()),
                groups <- Groups::new(params.policy, acs),
            }),
            GFP_KERNEL,
        )
    }

    /// The unit that a function is behind.
    pub(crate) fn unit_of(&self, dev: &PciDev) -> Option<&Arc<F::Unit>> {
        unit_of(&self.units, dev)
    }

    pub(crate) fn unit(&self, index: usize) -> Result<&Arc<F::Unit>> {
        self.units.get(index).ok_or(ENODEV)
    }

    /// Where requests go that are to reach the addresses they name.
    ///
    /// # Errors
    ///
    /// `EINVAL`: the unit cannot do so, neither by itself nor with tables that another unit has.
    pub(crate) fn identity(&self, unit: &F::Unit) -> Result<Target> {
        if unit.passes_through() {
            return Ok(Target::Identity);
        }
        let domain = self.one_to_one.as_ref().ok_or(EINVAL)?;
        domain.check(&unit.shape()?)?;
        Ok(target(domain))
    }

    /// Firmware names no unit for the function. If it is behind one all the same, its requests are
    /// to pass as they did before the load.
    pub(crate) fn pass_unnamed(&self, id: Sbdf) {
        let mut passed = false;
        for unit in self.units.iter().filter(|u| u.segment() == id.segment) {
            let set = unit
                .prepare(id.rid)
                .and_then(|()| unit.set_entry(id.rid, &self.identity(unit)?));
            passed |= set.is_ok();
        }
        if passed && !self.unnamed.xchg(true, Relaxed) {
            pr_warn!(
                "{}: firmware's table names no unit for it, nor maybe for others; untranslated\n",
                Show(id)
            );
        }
    }

    /// Counts a fault of the devices that use a requester ID, and tells the core what it is about, if that
    /// is memory: the address, and whether it was to be written. `true`: a handler has dealt with it.
    pub(crate) fn count_fault(&self, unit: usize, rid: Rid, memory: Option<(u64, bool)>) -> bool {
        let mut who: Option<Arc<Device>> = None;
        for d in self.devices.lock().iter() {
            if d.unit == unit && d.rids.contains(&rid) {
                d.faults.fetch_add(1u64, Relaxed);
                if who.is_none() || d.id.rid == rid {
                    who = Some(d.clone());
                }
            }
        }
        match (who, memory) {
            (Some(d), Some((iova, write))) => d.reporter.report(iova, write),
            _ => false,
        }
    }

    /// The units that have users of a domain.
    #[inline]
    fn users<'a>(&'a self, domain: &Domain<F>) -> impl Iterator<Item = &'a Arc<F::Unit>> {
        let mut units = domain.units();
        core::iter::from_fn(move || {
            if units == 0 {
                return None;
            }
            // CAST: below 64.
            let index = units.trailing_zeros() as usize;
            units &= units - 1;
            self.units.get(index)
        })
    }

    /// Tells all units that have users of a domain, even if one fails.
    fn tell_all(&self, domain: &Domain<F>, tell: impl Fn(&F::Unit) -> Result) -> Result {
        let mut result = Ok(());
        for u in self.users(domain) {
            result = tell(u).and(result);
        }
        result
    }

    /// The unit that has all users of a domain, as for nearly all domains.
    #[inline(always)]
    fn only_user(&self, domain: &Domain<F>) -> Option<&Arc<F::Unit>> {
        let units = NonZero::new(domain.units()).filter(|u| u.is_power_of_two())?;
        // CAST: below 64.
        self.units.get(units.trailing_zeros() as usize)
    }

    #[inline(never)]
    fn after_map_of_all(&self, domain: &Domain<F>, span: PageSpan) -> Result {
        let did: DomainId = domain.id();
        self.users(domain).try_for_each(|u| u.after_map(did, span))
    }

    /// Drops everything that units hold of a domain.
    pub(crate) fn flush_domain(&self, domain: &Domain<F>) {
        // A failure marks the unit broken, which is reported there.
        let _ = self.forget(domain);
    }
}

impl<F: Family> Flush<F::Format> for Iommu<F> {
    #[inline]
    fn hears_of_maps(&self) -> bool {
        self.hears_of_maps
    }

    #[inline(always)]
    fn after_map(&self, domain: &Domain<F>, span: PageSpan) -> Result {
        if !self.hears_of_maps {
            return Ok(());
        }
        match self.only_user(domain) {
            Some(u) => u.after_map(domain.id(), span),
            None => self.after_map_of_all(domain, span),
        }
    }

    #[inline(always)]
    fn after_unmap_inline(&self, domain: &Domain<F>, span: PageSpan) -> Result {
        match self.only_user(domain) {
            Some(u) => u.after_unmap(domain.id(), span),
            None => self.after_unmap(domain, span),
        }
    }

    fn forget(&self, domain: &Domain<F>) -> Result {
        self.tell_all(domain, |u| u.invalidate_domain(domain.id()))
    }

    #[inline(never)]
    fn after_unmap(&self, domain: &Domain<F>, span: PageSpan) -> Result {
        self.tell_all(domain, |u| u.after_unmap(domain.id(), span))
    }

    fn after_unmaps(&self, domain: &Domain<F>, spans: &[PageSpan]) -> Result {
        self.tell_all(domain, |u| u.after_unmaps(domain.id(), spans))
    }
}

impl<F: Family> Running for Iommu<F> {
    fn devices(&self) -> &Mutex<KVec<Arc<Device>>> {
        &self.devices
    }

    fn groups(&self) -> &Groups {
        &self.groups
    }

    fn firmware_alias(&self, id: Sbdf) -> Option<Rid> {
        self.units.iter().find_map(|u| u.alias(id))
    }

    fn before_driver(&self, dev: &kernel::device::Device) {
        self.serve(dev);
        self.reserve_own(dev);
    }

    fn after_driver(&self, dev: &kernel::device::Device) {
        own_domain::withdraw::<Self>(dev);
    }

    fn why_untranslated(&self, dev: &PciDev) -> Option<Refusal> {
        self.refusal_in_group(dev).ok().flatten()
    }

    fn show_core_calls(&self, dev: &Device, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let domains = self.domains.lock();
        let domain = domains
            .iter()
            .find(|d| dev.state() == State::Paging(d.id().0) && d.has_one_device());
        match domain {
            Some(domain) => write!(f, "{}", domain.calls),
            None => write!(f, "maps - unmaps -"),
        }
    }

    fn show_domains(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.domains.lock().iter().try_for_each(|d| d.show(f))
    }

    fn count_spare_tables(&self) -> usize {
        let Some(domains) = self.domains.try_lock() else {
            return 0;
        };
        domains.iter().map(|d| d.spare_tables()).sum()
    }

    fn free_spare_tables(&self, most: usize) -> usize {
        let Some(domains) = self.domains.try_lock() else {
            return 0;
        };
        let mut freed = 0;
        for domain in domains.iter() {
            freed += free_spare(self, domain, most.saturating_sub(freed));
        }
        freed
    }

    fn show_units(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.units.iter().try_for_each(|u| u.show(f))
    }

    fn show_faults(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for u in self.units.iter() {
            writeln!(
                f,
                "{}: {} faults; the last ones shown in the log:",
                u.text(),
                u.faults().total()
            )?;
            u.faults().show(f)?;
        }
        Ok(())
    }

    fn stop(&self) {
        for u in self.units.iter() {
            u.stop();
        }
    }

    fn resume(&self) {
        for u in self.units.iter() {
            if let Err(e) = u.resume() {
                pr_err!(
                    "{}: does not start again after sleep ({:?}); DMA is not translated\n",
                    u.text(),
                    e
                );
            }
        }
    }
}

/// Where memory can be plugged in later, as far as firmware says.
fn last_pluggable() -> u64 {
    let Some(table) = AcpiTable::get(b"SRAT") else {
        return 0;
    };
    match srat::highest_address(table.bytes()) {
        Ok(last) => last.unwrap_or(0),
        Err(e) => {
            pr_warn!(
                "SRAT: {}; memory that can be plugged in is not counted\n",
                Show(e)
            );
            0
        }
    }
}

fn unit_of<'a, U: Unit>(units: &'a [Arc<U>], dev: &PciDev) -> Option<&'a Arc<U>> {
    units.iter().find(|u| u.covers(dev))
}

/// Every requester ID that requests of a function may carry, its own first.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn rids_of<U: Unit>(units: &[Arc<U>], dev: &PciDev) -> Result<KVec<Rid>> {
    let Sbdf { segment, rid } = group::sbdf(dev);
    let mut rids = KVec::new();
    rids.push(rid, GFP_KERNEL)?;
    for rid in group::bus_aliases(dev)? {
        if !rids.contains(&rid) {
            rids.push(rid, GFP_KERNEL)?;
        }
    }
    for i in 0..rids.len() {
        let alias = rids.get(i).and_then(|rid| {
            let id = Sbdf { segment, rid: *rid };
            units.iter().find_map(|u| u.alias(id))
        });
        if let Some(alias) = alias.filter(|a| !rids.contains(a)) {
            rids.push(alias, GFP_KERNEL)?;
        }
    }
    Ok(rids)
}

/// Is a requester ID also that of another device that is not blocked?
pub(crate) fn is_shared(all: &[Arc<Device>], dev: &Device, rid: Rid) -> bool {
    all.iter().any(|d| {
        d.id != dev.id && d.unit == dev.unit && d.rids.contains(&rid) && d.state() != State::Blocked
    })
}

/// A domain that maps all of memory to itself, up to the address `last` and 4 GiB at least, as far as a
/// unit's addresses go.
fn one_to_one<F: Format>(
    ids: &Arc<DomainIds>,
    shape: &Shape,
    last: u64,
) -> Result<Arc<PagingDomain<F>>> {
    const GIB: u64 = 1 << 30;
    let domain = PagingDomain::new(ids.clone(), shape, None)?;
    let end = last.max(4 * GIB - 1).checked_next_multiple_of(GIB);
    let len = end.unwrap_or(u64::MAX).min(domain.last_iova() + 1);
    let perm = Perm {
        read: true,
        write: true,
    };
    domain
        .map(0, 0, len, perm, Gfp::Kernel)
        .map_err(|e| map_errno(&e))?;
    Ok(domain)
}

/// The entry of a domain.
pub(crate) fn target<F: Format>(domain: &PagingDomain<F>) -> Target {
    Target::Paging {
        root: domain.root(),
        levels: domain.levels(),
        did: domain.id(),
    }
}

/// Where DMA may be under way when units start, it goes on: a device with a driver, or with memory
/// that firmware wants it to reach, is passed through at first, with every requester ID it may use.
/// The second kind is translated when it is probed, the first when its driver has let go.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn leave_devices_in_use<F: Family>(
    family: &F,
    units: &[Arc<F::Unit>],
    identity: impl Fn(&F::Unit) -> Result<Target>,
) -> Result {
    for dev in pci_topology::all() {
        let id = group::sbdf(&dev);
        let rids = rids_of(units, &dev)?;
        let has_driver = dev.has_driver();
        if !has_driver && family.required(&dev, &rids)?.is_empty() {
            continue;
        }
        let named = unit_of(units, &dev);
        // A function that firmware names no unit for may be behind any.
        let may_be_behind = |u: &&Arc<F::Unit>| match named {
            Some(named) => Arc::ptr_eq(u, named),
            None => u.segment() == id.segment,
        };
        for unit in units.iter().filter(may_be_behind) {
            let to = identity(unit)?;
            for rid in rids.iter() {
                unit.preset(*rid, &to)?;
            }
        }
        if has_driver && named.is_some() && !group::is_bridge(&dev) {
            pr_info!(
                "{}: in use by a driver that was there first; untranslated until that driver is unbound\n",
                Show(id)
            );
        }
    }
    Ok(())
}
