// SPDX-License-Identifier: GPL-2.0

//! The driver of all units of a machine, of one family: devices, their entries, their domains.

use iommu_core::{
    addr::Range,
    id::{
        DomainId,
        Rid,
        Sbdf, //
    }, //
};
use kernel::{
    error::code::*,
    fmt,
    new_mutex,
    page::PAGE_SIZE,
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
    hw_pages::Gfp,
    iommu::driver::StaticDomain,
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
        DomainIds,
        PagingDomain, //
    },
    family::{
        Family,
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
    }, //
};

/// A domain of a family.
pub(crate) type Domain<F> = PagingDomain<<F as Family>::Format>;

/// The driver.
#[pin_data]
pub(crate) struct Iommu<F: Family> {
    pub(crate) family: F,
    pub(crate) units: KVec<Arc<F::Unit>>,
    pub(crate) dma: params::Dma,
    pub(crate) ids: Arc<DomainIds>,
    /// A function without unit was reported.
    unnamed: Atomic<bool>,
    #[pin]
    pub(crate) devices: Mutex<KVec<Arc<Device>>>,
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
        Arc::pin_init(
            pin_init!(Self {
                family,
                units,
                dma: params.dma,
                ids,
                unnamed: Atomic::new(false),
                devices <- new_mutex!(KVec::new()),
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

    /// Firmware names no unit for the function. If it is behind one all the same, its requests are
    /// to pass as they did before the load.
    pub(crate) fn pass_unnamed(&self, id: Sbdf) {
        let mut passed = false;
        for unit in self.units.iter().filter(|u| u.segment() == id.segment) {
            let set = unit
                .prepare(id.rid)
                .and_then(|()| unit.set_entry(id.rid, &Target::Identity));
            passed |= set.is_ok();
        }
        if passed && !self.unnamed.xchg(true, Relaxed) {
            pr_warn!(
                "{}: firmware's table names no unit for it, nor maybe for others; untranslated\n",
                Show(id)
            );
        }
    }

    /// Counts a fault of the devices that use a requester ID.
    pub(crate) fn count_fault(&self, unit: usize, rid: Rid) {
        for d in self.devices.lock().iter() {
            if d.unit == unit && d.rids.contains(&rid) {
                d.faults.fetch_add(1u64, Relaxed);
            }
        }
    }

    /// Is a requester ID also that of another device that is not blocked?
    fn is_shared(&self, dev: &Device, rid: Rid) -> bool {
        self.devices.lock().iter().any(|d| {
            d.id != dev.id
                && d.unit == dev.unit
                && d.rids.contains(&rid)
                && d.state() != State::Blocked
        })
    }

    /// Writes the entries of all requester IDs of a device that `wanted` picks; on failure the ones
    /// written are put back.
    fn set_entries(&self, dev: &Device, to: &Target, wanted: impl Fn(Rid) -> bool) -> Result {
        let unit = self.unit(dev.unit)?;
        let mut undo = dev.undo.lock();
        undo.clear();
        for rid in dev.rids.iter().filter(|rid| wanted(**rid)) {
            match unit.set_entry(*rid, to) {
                Ok(was) => undo.push_within_capacity((*rid, was))?,
                Err(e) => {
                    for (rid, was) in undo.iter().rev() {
                        unit.put_back(*rid, was);
                    }
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    /// Leaves a domain: nothing a unit cached for this device survives.
    fn leave(&self, dev: &Device, old: Option<&Domain<F>>) {
        let Some(domain) = old else { return };
        if let Ok(unit) = self.unit(dev.unit) {
            // A failure marks the unit broken, which is reported there.
            let _ = unit.invalidate_domain(domain.id());
        }
        domain.remove_user(dev.unit);
    }

    /// Attaches a static domain.
    pub(crate) fn to_static(
        &self,
        dev: &Device,
        old: Option<&Domain<F>>,
        to: StaticDomain,
    ) -> Result {
        let (target, state) = match to {
            StaticDomain::Identity => (Target::Identity, State::Identity),
            StaticDomain::Blocked => (Target::Blocked, State::Blocked),
        };
        // What another device of the group still uses stays as it is.
        self.set_entries(dev, &target, |rid| {
            to != StaticDomain::Blocked || !self.is_shared(dev, rid)
        })?;
        dev.set_state(state);
        self.leave(dev, old);
        Ok(())
    }

    /// Memory that firmware wants a device to reach is mapped to itself before the device gets there.
    /// The core has done so by now, as a rule; but it takes any mapping of the addresses for the right
    /// one, and goes on if it cannot make one.
    ///
    /// # Errors
    ///
    /// `EBUSY`: the addresses lead elsewhere in this domain. `ENOMEM`.
    fn keep_required(dev: &Device, domain: &Domain<F>) -> Result {
        for r in dev.required.iter().filter(|r| !r.relaxable) {
            let pages = r.memory.page_cover();
            // CAST: a page's size.
            for page in (pages.first()..=pages.last()).step_by(PAGE_SIZE as usize) {
                let done = match domain.lookup(page) {
                    Some(oa) if oa == page => Ok(()),
                    Some(_) => Err(EBUSY),
                    // CAST: a page's size.
                    None => domain
                        .map(page, page, PAGE_SIZE as u64, r.perm(), Gfp::Kernel)
                        .map_err(|e| map_errno(&e)),
                };
                done.inspect_err(|e| {
                    pr_err!(
                        "{}: not attached: firmware wants it to reach {}, which this domain cannot have at {:#x} ({:?})\n",
                        Show(dev.id),
                        Show(r.memory),
                        page,
                        e
                    )
                })?;
            }
        }
        Ok(())
    }

    /// Attaches a paging domain.
    pub(crate) fn to_paging(
        &self,
        dev: &Device,
        old: Option<&Domain<F>>,
        new: &Domain<F>,
    ) -> Result {
        new.check(&self.unit(dev.unit)?.shape()?)?;
        Self::keep_required(dev, new)?;
        new.add_user(dev.unit);
        let target = Target::Paging {
            root: new.root(),
            levels: new.levels(),
            did: new.id(),
        };
        if let Err(e) = self.set_entries(dev, &target, |_| true) {
            new.remove_user(dev.unit);
            return Err(e);
        }
        dev.set_state(State::Paging(new.id().0));
        self.leave(dev, old);
        Ok(())
    }

    /// The units that have users of a domain.
    #[inline]
    fn users<'a>(&'a self, domain: &'a Domain<F>) -> impl Iterator<Item = &'a Arc<F::Unit>> {
        self.units.iter().filter(|u| domain.is_used_by(u.index()))
    }

    /// Drops everything that units hold of a domain.
    pub(crate) fn flush_domain(&self, domain: &Domain<F>) {
        for u in self.users(domain) {
            // A failure marks the unit broken, which is reported there.
            let _ = u.invalidate_domain(domain.id());
        }
    }
}

impl<F: Family> Flush<F::Format> for Iommu<F> {
    #[inline]
    fn after_map(&self, domain: &Domain<F>, range: Range) -> Result {
        let did: DomainId = domain.id();
        self.users(domain).try_for_each(|u| u.after_map(did, range))
    }

    #[inline]
    fn after_unmap(&self, domain: &Domain<F>, range: Range) -> Result {
        let mut result = Ok(());
        // All of them, even if one fails.
        for u in self.users(domain) {
            result = u.after_unmap(domain.id(), range).and(result);
        }
        result
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

    fn choose_dma(&self, dev: &kernel::device::Device) {
        self.serve(dev);
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

/// Where DMA may be under way when units start, it goes on: a device with a driver, or with memory
/// that firmware wants it to reach, is passed through at first, with every requester ID it may use.
/// The second kind is translated when it is probed, the first when its driver has let go.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn leave_devices_in_use<F: Family>(family: &F, units: &[Arc<F::Unit>]) -> Result {
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
            for rid in rids.iter() {
                unit.preset(*rid, &Target::Identity)?;
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
