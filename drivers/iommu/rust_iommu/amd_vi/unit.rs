// SPDX-License-Identifier: GPL-2.0

//! One AMD IOMMU: registers, device table, bring-up and hand-back.
//!
//! Source: AMD I/O Virtualization Technology (IOMMU) Specification, 48882, Rev 3.10.

use iommu_core::{
    acpi::ivrs::{
        DeviceRange,
        Flags,
        Ivhd, //
    },
    addr::Oa,
    amd::{
        cmd::{
            Command,
            Pages, //
        },
        dte::{
            plan_update,
            Dte,
            Half,
            Step, //
        },
        efr::Features,
        regs::{
            self,
            control, //
        }, //
    },
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
    prelude::*,
    str::CString,
    sync::{
        Mutex, //
    }, //
};
use kernel_iommu::{
    hw_pages::{
        Gfp,
        HwPages, //
    },
    iommu::ops::IommuDevice, //
};

use super::{
    hardware::{
        Found,
        Hardware, //
    },
    queue::{
        self,
        Queue,
        Ticket, //
    }, //
};
use crate::{
    fault::FaultLog,
    glue::Show, //
};

/// Domain ID of devices that are passed through.
pub(super) const IDENTITY_DID: DomainId = DomainId(1);
/// Domain ID of devices that are blocked.
pub(super) const BLOCKED_DID: DomainId = DomainId(2);

/// Every requester ID has an entry: a unit aborts requests beyond its table, and firmware's list
/// need not be complete.
const TABLE_BYTES: usize = (1 << 16) * 32;
const WORDS_PER_ENTRY: usize = 4;
/// log2 of the event log's entries.
const EVENTS_LG2: u32 = 9;
pub(super) const EVENTS: usize = 1 << EVENTS_LG2;
/// One unit.
#[pin_data]
pub(crate) struct Unit {
    /// First, so that the unit stops before its tables go (fields drop in order).
    pub(super) hw: Hardware,
    pub(super) index: usize,
    pub(crate) name: CString,
    /// The unit's own PCI function.
    pub(super) id: Sbdf,
    pub(super) features: Features,
    /// New mappings have to be invalidated, too.
    pub(super) np_cache: bool,
    pub(super) ranges: KVec<DeviceRange>,
    pub(super) events: HwPages,
    table: HwPages,
    /// An empty table: where blocked requests end, so that they are logged.
    empty_root: HwPages,
    flags: Flags,
    #[pin]
    table_lock: Mutex<()>,
    #[pin]
    pub(super) queue: Queue,
    #[pin]
    pub(crate) faults: FaultLog,
    #[pin]
    core: IommuDevice,
}

impl AsRef<IommuDevice> for Unit {
    fn as_ref(&self) -> &IommuDevice {
        &self.core
    }
}

impl Unit {
    /// Builds a unit's tables in memory. Hardware is not touched yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(index: usize, ivhd: &Ivhd<'_>, found: Found) -> impl PinInit<Self, Error> {
        let (id, flags) = (ivhd.unit, ivhd.flags);
        let name = CString::try_from_fmt(fmt!("amd-vi{}", index));
        let ranges = ranges_of(ivhd);
        try_pin_init!(Self {
            hw: found.hw,
            index,
            name: name?,
            id,
            features: found.features,
            np_cache: found.np_cache,
            ranges: ranges?,
            events: HwPages::new(EVENTS * regs::RING_ENTRY_LEN, Gfp::Kernel)?,
            table: HwPages::new(TABLE_BYTES, Gfp::Kernel)?,
            empty_root: HwPages::new(4096, Gfp::Kernel)?,
            flags,
            table_lock <- new_mutex!(()),
            queue <- Queue::new(),
            faults <- FaultLog::new(),
            core <- IommuDevice::new(),
        }? Error)
    }

    /// The range of firmware's table that a requester ID is in. The last one counts.
    pub(super) fn range_of(&self, id: Sbdf) -> Option<&DeviceRange> {
        if id.segment != self.id.segment {
            return None;
        }
        self.ranges.iter().rev().find(|r| r.contains(id.rid))
    }

    /// The name as text.
    pub(crate) fn name(&self) -> &str {
        self.name.to_str().unwrap_or("amd-vi")
    }

    fn with_settings(&self, dte: Dte, rid: Rid) -> Dte {
        let id = Sbdf {
            segment: self.id.segment,
            rid,
        };
        match self.range_of(id) {
            Some(r) => dte.with_ivhd_flags(r.settings.0),
            None => dte,
        }
    }

    /// The entry that blocks a requester ID.
    pub(super) fn blocked(&self, rid: Rid) -> Dte {
        let dte = Dte::blocked_with_events(Oa(self.empty_root.phys()), BLOCKED_DID);
        self.with_settings(dte.unwrap_or_else(Dte::blocked), rid)
    }

    /// The entry that passes a requester ID through.
    pub(super) fn identity(&self, rid: Rid) -> Dte {
        self.with_settings(Dte::identity(IDENTITY_DID), rid)
    }

    /// The entry that translates a requester ID.
    pub(super) fn paging(&self, rid: Rid, root: Oa, levels: u8, did: DomainId) -> Option<Dte> {
        Dte::paging(root, levels, did).map(|dte| self.with_settings(dte, rid))
    }

    fn index_of(rid: Rid) -> usize {
        usize::from(rid.0) * WORDS_PER_ENTRY
    }

    fn read_entry(&self, rid: Rid) -> Dte {
        let at = Self::index_of(rid);
        Dte([0, 1, 2, 3].map(|i| self.table.read(at + i)))
    }

    /// Writes an entry that hardware does not read yet.
    pub(super) fn preset(&self, rid: Rid, dte: Dte) {
        let at = Self::index_of(rid);
        for (i, word) in dte.0.iter().enumerate() {
            self.table.write(at + i, *word);
        }
    }

    /// Moves an entry to `target` so that hardware sees the old one, the new one or a blocked
    /// one, and waits until it uses the new one. Returns the old one. Sleeps.
    ///
    /// # Errors
    ///
    /// `EIO` or `ETIMEDOUT` if the unit does not answer; the entry may be either.
    pub(super) fn set_entry(&self, rid: Rid, target: &Dte) -> Result<Dte> {
        let _one_writer = self.table_lock.lock();
        let old = self.read_entry(rid);
        let at = Self::index_of(rid);
        for step in plan_update(&old, target).steps() {
            match step {
                Step::Write { half, value } => {
                    let word = match half {
                        Half::Low => at,
                        Half::High => at + 2,
                    };
                    self.table.write_pair(word, value[0], value[1]);
                }
                Step::Invalidate => self.command(&[Command::invalidate_devtab_entry(rid)])?,
            }
        }
        Ok(old)
    }

    /// Runs commands to completion. Any context.
    ///
    /// # Errors
    ///
    /// As [`Queue::submit`] and [`Queue::wait`].
    #[inline]
    pub(super) fn command(&self, commands: &[Command]) -> Result {
        let ticket = self.queue.submit(&self.hw.regs, commands)?;
        self.queue.wait(&self.hw.regs, ticket)
    }

    /// Queues the invalidation of pages of a domain.
    #[inline]
    pub(super) fn queue_invalidate(&self, did: DomainId, pages: Pages) -> Result<Ticket> {
        // Tables are never freed while a domain lives, so leaves are enough.
        let c = Command::invalidate_iommu_pages(did, pages, false);
        self.queue.submit(&self.hw.regs, &[c])
    }

    /// Waits for a queued invalidation.
    #[inline]
    pub(super) fn wait(&self, ticket: Ticket) -> Result {
        self.queue.wait(&self.hw.regs, ticket)
    }

    /// Drops everything a unit may hold of a domain, walk caches included.
    pub(super) fn invalidate_domain(&self, did: DomainId) -> Result {
        self.command(&[Command::invalidate_iommu_pages(did, Pages::ALL, true)])
    }

    /// Starts the unit on our tables. A unit that was left enabled stays so: the new device table
    /// takes over from the old one without a moment in between.
    ///
    /// # Errors
    ///
    /// `EIO` or `ETIMEDOUT` if the unit does not complete commands; it is disabled then.
    pub(super) fn start(&self) -> Result {
        let io = self.hw.regs.io();
        if self.hw.was_enabled() {
            pr_warn!("{}: was left enabled; taking over\n", self.name());
        }
        let mut ctl = self.hw.quiesce()?;

        // CAST: a constant of 2 MiB.
        let table = regs::dev_tab_base(Oa(self.table.phys()), TABLE_BYTES as u64).ok_or(EINVAL)?;
        let ring = regs::ring_base(self.queue.base(), queue::ENTRIES_LG2).ok_or(EINVAL)?;
        let log = regs::ring_base(Oa(self.events.phys()), EVENTS_LG2).ok_or(EINVAL)?;
        io.write64(table, regs::DEV_TAB_BASE);
        io.write64(ring, regs::CMD_BUF_BASE);
        io.write64(0, regs::CMD_BUF_HEAD);
        io.write64(0, regs::CMD_BUF_TAIL);
        io.write64(log, regs::EVENT_LOG_BASE);
        io.write64(0, regs::EVENT_LOG_HEAD);
        io.write64(0, regs::EVENT_LOG_TAIL);
        // Exclusion ranges let DMA through without translation; ours are mapped instead.
        io.write64(0, regs::EXCL_BASE);
        io.write64(0, regs::EXCL_LIMIT);

        for (wanted, bit) in [
            (self.flags.ht_tun_en(), control::HT_TUN_EN),
            (self.flags.pass_pw(), control::PASS_PW),
            (self.flags.res_pass_pw(), control::RES_PASS_PW),
            (self.flags.isoc(), control::ISOC),
            (true, control::COHERENT),
        ] {
            if wanted {
                ctl |= bit;
            } else {
                ctl &= !bit;
            }
        }
        ctl |= control::EVENT_LOG_EN | control::EVENT_INT_EN | control::CMD_BUF_EN;
        self.hw.enable(ctl);
        let flushed = self.flush_everything();
        if flushed.is_err() {
            self.stop();
        }
        flushed
    }

    /// Drops all a unit may have cached from before.
    fn flush_everything(&self) -> Result {
        if self.features.invalidate_all {
            self.command(&[Command::invalidate_all()])?;
        }
        // Entries one by one as well: units without INVALIDATE_ALL need it, and the emulated
        // one switches a device to its entry only then.
        let mut batch = [Command([0; 2]); queue::MAX_BATCH];
        let mut rids = (0..=u16::MAX).map(Rid);
        loop {
            let mut n = 0;
            for (slot, rid) in batch.iter_mut().zip(&mut rids) {
                *slot = Command::invalidate_devtab_entry(rid);
                n += 1;
            }
            match batch.get(..n) {
                Some([]) | None => break,
                Some(commands) => self.command(commands)?,
            }
        }
        self.invalidate_domain(IDENTITY_DID)?;
        self.invalidate_domain(BLOCKED_DID)
    }

    /// Describes the unit for debugfs.
    pub(crate) fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: function {} registers {:#x} features {}",
            self.name(),
            self.id,
            self.hw.regs.phys(),
            self.features
        )?;
        writeln!(
            f,
            "  caches absent entries: {} commands: {} faults: {} was enabled before: {}",
            self.np_cache,
            if self.queue.is_broken() {
                "broken"
            } else {
                "ok"
            },
            self.faults.total(),
            self.hw.was_enabled()
        )
    }

    /// Stops the unit: DMA is no longer translated.
    pub(super) fn stop(&self) {
        self.hw.stop();
    }
}

/// The ranges of a unit, with one line for each entry that is wrong.
fn ranges_of(ivhd: &Ivhd<'_>) -> Result<KVec<DeviceRange>> {
    let mut ranges = KVec::new();
    for r in ivhd.device_ranges() {
        match r {
            Ok(r) => ranges.push(r, GFP_KERNEL)?,
            Err(e) => pr_warn!("{}; the entry is ignored\n", Show(e)),
        }
    }
    Ok(ranges)
}
