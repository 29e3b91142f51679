// SPDX-License-Identifier: GPL-2.0

//! The AMD-Vi family: discovery, devices and domains.

mod discover;
mod events;
mod hardware;
mod ops;
mod queue;
mod unit;

use iommu_core::{
    addr::Range,
    amd::{
        cmd::Pages,
        dte::Dte, //
    },
    id::{
        Rid,
        Sbdf, //
    },
    pt::amd_v1::AmdV1, //
};
use kernel::{
    error::code::*,
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
use kernel_iommu::iommu::{
    driver::StaticDomain,
    ops::Slot, //
};

use crate::{
    dma::Flush,
    domain::{
        DomainIds,
        PagingDomain, //
    },
    group::Groups,
    params, //
};

pub(crate) use discover::{
    find,
    interrupts,
    Lines, //
};
pub(crate) use unit::Unit;

/// A domain of this family.
pub(crate) type Domain = PagingDomain<AmdV1>;

/// A firmware-required region of some requester IDs.
pub(crate) struct Required {
    pub(crate) segment: u16,
    pub(crate) target: iommu_core::acpi::ivrs::Target,
    pub(crate) memory: Range,
    pub(crate) read: bool,
    pub(crate) write: bool,
}

/// What a device is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// All DMA refused.
    Blocked,
    /// Passed through.
    Identity,
    /// Translated by the domain with this ID.
    Paging(u16),
}

impl State {
    fn to_word(self) -> u32 {
        match self {
            Self::Blocked => 0,
            Self::Identity => 1,
            Self::Paging(did) => 0x1_0000 | u32::from(did),
        }
    }

    fn from_word(word: u32) -> Self {
        match word {
            0 => Self::Blocked,
            1 => Self::Identity,
            // CAST: the low 16 bits.
            did => Self::Paging(did as u16),
        }
    }
}

/// Device-table entries with their requester IDs.
type Entries = KVec<(Rid, Dte)>;

/// A probed device.
pub(crate) struct Device {
    pub(crate) id: Sbdf,
    pub(crate) unit: usize,
    /// Every requester ID its requests may carry, its own first.
    pub(crate) rids: KVec<Rid>,
    state: Atomic<u32>,
    /// What an attach has to put back if it fails; has room for all requester IDs, as an attach
    /// must not fail for want of memory.
    undo: Pin<KBox<Mutex<Entries>>>,
    pub(crate) maps: Atomic<u64>,
    pub(crate) unmaps: Atomic<u64>,
    pub(crate) faults: Atomic<u64>,
}

impl Device {
    /// A blocked device.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn new(id: Sbdf, unit: usize, rids: KVec<Rid>) -> Result<Self> {
        let undo = KVec::with_capacity(rids.len(), GFP_KERNEL)?;
        Ok(Self {
            id,
            unit,
            rids,
            state: Atomic::new(State::Blocked.to_word()),
            undo: KBox::pin_init(new_mutex!(undo), GFP_KERNEL)?,
            maps: Atomic::new(0),
            unmaps: Atomic::new(0),
            faults: Atomic::new(0),
        })
    }

    /// What the device is attached to.
    pub(crate) fn state(&self) -> State {
        State::from_word(self.state.load(Relaxed))
    }
}

/// The driver of all AMD units of a machine.
#[pin_data]
pub(crate) struct AmdVi {
    pub(crate) units: KVec<Arc<Unit>>,
    pub(crate) required: KVec<Required>,
    pub(crate) dma: params::Dma,
    ids: Arc<DomainIds>,
    #[pin]
    pub(crate) devices: Mutex<KVec<Arc<Device>>>,
    #[pin]
    pub(crate) groups: Groups,
}

static SLOT: Slot<AmdVi> = Slot::new();

impl AmdVi {
    /// The alias firmware gives a requester ID.
    pub(crate) fn firmware_alias(&self, id: Sbdf) -> Option<Rid> {
        self.units
            .iter()
            .find_map(|u| u.range_of(id))
            .and_then(|r| r.alias)
    }

    /// The unit that a device is behind.
    fn unit_of(&self, id: Sbdf) -> Option<&Arc<Unit>> {
        self.units.iter().find(|u| u.range_of(id).is_some())
    }

    fn unit(&self, index: usize) -> Result<&Arc<Unit>> {
        self.units.get(index).ok_or(ENODEV)
    }

    /// Counts a fault of the devices that use a requester ID.
    fn count_fault(&self, unit: usize, rid: Rid) {
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

    /// Writes the entries of all requester IDs of a device; on failure the ones written are put
    /// back.
    fn set_entries(&self, dev: &Device, entry: impl Fn(&Unit, Rid) -> Option<Dte>) -> Result {
        let unit = self.unit(dev.unit)?;
        let mut undo = dev.undo.lock();
        undo.clear();
        for rid in dev.rids.iter() {
            let Some(target) = entry(unit, *rid) else {
                continue;
            };
            match unit.set_entry(*rid, &target) {
                Ok(was) => undo.push_within_capacity((*rid, was))?,
                Err(e) => {
                    for (rid, was) in undo.iter().rev() {
                        // The unit is broken; the memory is right at least.
                        let _ = unit.set_entry(*rid, was);
                    }
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    /// Leaves a domain: nothing a unit cached for this device survives.
    fn leave(&self, dev: &Device, old: Option<&Domain>) {
        let Some(domain) = old else { return };
        if let Ok(unit) = self.unit(dev.unit) {
            // A failure marks the unit broken, which is reported there.
            let _ = unit.invalidate_domain(domain.id());
        }
        domain.remove_user(dev.unit);
    }

    /// Attaches a static domain.
    fn to_static(&self, dev: &Device, old: Option<&Domain>, to: StaticDomain) -> Result {
        self.set_entries(dev, |unit, rid| match to {
            StaticDomain::Identity => Some(unit.identity(rid)),
            // What another device of the group still uses stays as it is.
            StaticDomain::Blocked if self.is_shared(dev, rid) => None,
            StaticDomain::Blocked => Some(unit.blocked(rid)),
        })?;
        let state = match to {
            StaticDomain::Identity => State::Identity,
            StaticDomain::Blocked => State::Blocked,
        };
        dev.state.store(state.to_word(), Relaxed);
        self.leave(dev, old);
        Ok(())
    }

    /// Attaches a paging domain.
    fn to_paging(&self, dev: &Device, old: Option<&Domain>, new: &Domain) -> Result {
        new.add_user(dev.unit);
        let set = self.set_entries(dev, |unit, rid| {
            unit.paging(rid, new.root(), new.levels(), new.id())
        });
        if let Err(e) = set {
            new.remove_user(dev.unit);
            return Err(e);
        }
        dev.state
            .store(State::Paging(new.id().0).to_word(), Relaxed);
        self.leave(dev, old);
        Ok(())
    }

    /// Keeps the device's reserved regions out of the domain's own IOVA space, before our DMA API
    /// serves the device.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn reserve_for(&self, dev: &Device, domain: &Domain) -> Result {
        for (range, _) in ops::fixed_regions() {
            domain.reserve(range)?;
        }
        for r in self.required_of(dev) {
            domain.reserve(r.memory)?;
        }
        ops::host_windows(dev.id, |range| domain.reserve(range))
    }

    /// The regions firmware requires for a device.
    fn required_of<'a>(&'a self, dev: &'a Device) -> impl Iterator<Item = &'a Required> {
        self.required.iter().filter(|r| {
            r.segment == dev.id.segment && dev.rids.iter().any(|rid| r.target.contains(*rid))
        })
    }

    /// Stops all units.
    pub(crate) fn stop(&self) {
        for u in self.units.iter() {
            u.stop();
        }
    }
}

impl Flush<AmdV1> for AmdVi {
    #[inline]
    fn after_map(&self, domain: &Domain, range: Range) -> Result {
        for u in self.units.iter() {
            if u.np_cache && domain.is_used_by(u.index) {
                let done = u
                    .queue_invalidate(domain.id(), Pages::covering(range))
                    .and_then(|ticket| u.wait(ticket));
                // A unit that completes no commands may still hold "absent" for these addresses:
                // then the device faults. But what was in use before is never used again, so most
                // likely it walks the table and all is well, while a map that fails for ever
                // would stop the machine's disks.
                if done.is_err() && !u.queue.is_broken() {
                    return done;
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn after_unmap(&self, domain: &Domain, range: Range) -> Result {
        let mut result = Ok(());
        for u in self.units.iter() {
            if domain.is_used_by(u.index) {
                let done = u
                    .queue_invalidate(domain.id(), Pages::covering(range))
                    .and_then(|ticket| u.wait(ticket));
                if done.is_err() {
                    result = done;
                }
            }
        }
        result
    }
}
