// SPDX-License-Identifier: GPL-2.0

//! How a device moves from one domain to another: as a transaction over all its requester IDs.

use iommu_core::id::Rid;
use kernel::{
    error::code::*,
    page::PAGE_SIZE,
    prelude::*, //
};
use kernel_iommu::{
    hw_pages::Gfp,
    iommu::driver::StaticDomain, //
};

use crate::{
    device::{
        Device,
        Entries,
        State, //
    },
    domain::map_errno,
    family::{
        Family,
        Target,
        Unit, //
    },
    glue::Show,
    iommu::{
        is_shared,
        target,
        Domain,
        Iommu, //
    }, //
};

impl<F: Family> Iommu<F> {
    /// Writes the entries of all requester IDs of a device that `wanted` picks; on failure the ones
    /// written are put back, by way of `undo`.
    fn set_entries(
        &self,
        dev: &Device,
        undo: &mut Entries,
        to: &Target,
        wanted: impl Fn(Rid) -> bool,
    ) -> Result {
        let unit = self.unit(dev.unit)?;
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
            StaticDomain::Identity => (self.identity(self.unit(dev.unit)?)?, State::Identity),
            StaticDomain::Blocked => (Target::Blocked, State::Blocked),
        };
        // What another device of the group still uses stays as it is.
        let others = self.devices.lock();
        let stays = |rid| to == StaticDomain::Blocked && is_shared(&others, dev, rid);
        let mut undo = dev.moving.lock();
        self.set_entries(dev, &mut undo, &target, |rid| !stays(rid))?;
        dev.set_state(state);
        drop(undo);
        drop(others);
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
            for page in (pages.first()..=pages.last()).step_by(PAGE_SIZE) {
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

    /// Makes a domain ready for a device.
    ///
    /// # Errors
    ///
    /// `EINVAL`: the device's unit cannot walk it; else as for [`Self::keep_required`].
    pub(crate) fn make_ready(&self, dev: &Device, domain: &Domain<F>) -> Result {
        domain.check(&self.unit(dev.unit)?.shape()?)?;
        Self::keep_required(dev, domain)
    }

    /// Attaches a paging domain.
    pub(crate) fn to_paging(
        &self,
        dev: &Device,
        old: Option<&Domain<F>>,
        new: &Domain<F>,
    ) -> Result {
        self.make_ready(dev, new)?;
        self.enter(dev, new, &mut dev.moving.lock())?;
        self.leave(dev, old);
        Ok(())
    }

    /// Points a device's entries at a domain, whose user it becomes. Any context.
    fn enter(&self, dev: &Device, domain: &Domain<F>, undo: &mut Entries) -> Result {
        domain.add_user(dev.unit);
        self.set_entries(dev, undo, &target(domain), |_| true)
            .inspect_err(|_| domain.remove_user(dev.unit))?;
        dev.set_state(State::Paging(domain.id().0));
        Ok(())
    }

    /// Moves a passed-through device to its own domain. `true` if it was elsewhere before. Any
    /// context.
    ///
    /// # Errors
    ///
    /// What the unit answers; the device is where it was.
    pub(crate) fn to_own(&self, dev: &Device, own: &Domain<F>) -> Result<bool> {
        let mut undo = dev.moving.lock();
        if dev.state() == State::Paging(own.id().0) {
            return Ok(false);
        }
        if dev.state() != State::Identity {
            return Err(EBUSY);
        }
        self.enter(dev, own, &mut undo)?;
        Ok(true)
    }

    /// Passes a device through, if it is in its own domain.
    pub(crate) fn back_from_own(&self, dev: &Device, own: &Domain<F>) {
        let mut undo = dev.moving.lock();
        if dev.state() != State::Paging(own.id().0) {
            return;
        }
        // A failure marks the unit broken, which is reported there; and it was passed through before.
        let _ = self
            .unit(dev.unit)
            .and_then(|unit| self.identity(unit))
            .and_then(|to| self.set_entries(dev, &mut undo, &to, |_| true));
        dev.set_state(State::Identity);
        drop(undo);
        self.leave(dev, Some(own));
    }
}
