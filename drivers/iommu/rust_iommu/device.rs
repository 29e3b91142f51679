// SPDX-License-Identifier: GPL-2.0

//! A probed device: its requester IDs, what it is attached to, its counters.

use iommu_core::{
    addr::{
        Perm,
        Range, //
    },
    id::{
        Rid,
        Sbdf, //
    }, //
};
use kernel::{
    device,
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        SpinLockIrq, //
    }, //
};
use kernel_iommu::iommu::fault::FaultReporter;

use crate::{
    calls::Calls,
    family::Words,
    glue::Show, //
};

/// Memory that firmware wants a device to reach at all times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Required {
    pub(crate) memory: Range,
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// Only until the device has a driver.
    pub(crate) relaxable: bool,
}

impl Required {
    /// More than this is a mistake of firmware's: the largest known is graphics memory of 2 GiB.
    const MOST: u64 = 4 << 30;

    /// Can firmware mean this? Says so if not.
    pub(crate) fn is_plausible(memory: Range) -> bool {
        let plausible = memory.len_bytes() <= Self::MOST;
        if !plausible {
            pr_err!(
                "firmware wants devices to reach {}, more than can be meant; it is ignored\n",
                Show(memory)
            );
        }
        plausible
    }

    /// What the device may do there.
    pub(crate) fn perm(&self) -> Perm {
        Perm {
            read: self.read,
            write: self.write,
        }
    }
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

/// Table entries with their requester IDs.
pub(crate) type Entries = KVec<(Rid, Words)>;

/// A probed device.
pub(crate) struct Device {
    pub(crate) id: Sbdf,
    /// Index of its unit.
    pub(crate) unit: usize,
    /// Every requester ID its requests may carry, its own first.
    pub(crate) rids: KVec<Rid>,
    pub(crate) required: KVec<Required>,
    state: Atomic<u32>,
    /// The domain is that of a user: VFIO, iommufd, or a driver of its own.
    assigned: Atomic<bool>,
    /// Held while the device moves from one domain to another. Holds what has to be put back if
    /// that fails, with room for all requester IDs, as it must not fail for want of memory.
    pub(crate) moving: Pin<KBox<SpinLockIrq<Entries>>>,
    /// By our DMA API; the core's are counted in the domain.
    pub(crate) calls: Calls,
    pub(crate) faults: Atomic<u64>,
    pub(crate) reporter: Pin<KBox<FaultReporter>>,
}

impl Device {
    /// A blocked device.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(
        dev: &device::Device,
        id: Sbdf,
        unit: usize,
        rids: KVec<Rid>,
        required: KVec<Required>,
    ) -> Result<Self> {
        let undo = KVec::with_capacity(rids.len(), GFP_KERNEL)?;
        Ok(Self {
            id,
            unit,
            rids,
            required,
            state: Atomic::new(State::Blocked.to_word()),
            assigned: Atomic::new(false),
            moving: KBox::pin_init(new_spinlock_irq!(undo), GFP_KERNEL)?,
            calls: Calls::new()?,
            faults: Atomic::new(0),
            reporter: KBox::pin_init(FaultReporter::new(dev), GFP_KERNEL)?,
        })
    }

    /// What the device is attached to.
    pub(crate) fn state(&self) -> State {
        State::from_word(self.state.load(Relaxed))
    }

    /// Records what the device is attached to.
    pub(crate) fn set_state(&self, state: State) {
        self.state.store(state.to_word(), Relaxed);
    }

    /// Does somebody else than the DMA API map in its domain?
    pub(crate) fn is_assigned(&self) -> bool {
        self.assigned.load(Relaxed)
    }

    /// Records whose domain the device is attached to.
    pub(crate) fn set_assigned(&self, assigned: bool) {
        self.assigned.store(assigned, Relaxed);
    }
}
