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
    addr::{
        Oa,
        PageSpan, //
    },
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
    },
    pt::{
        self,
        amd_v1::AmdV1,
        Format, //
    }, //
};
use kernel::{
    error::code::*,
    fmt,
    new_spinlock_irq,
    prelude::*,
    str::{
        CStr,
        CString, //
    },
    sync::SpinLockIrq, //
};
use kernel_iommu::{
    hw_pages::{
        Gfp,
        HwPages, //
    },
    iommu::ops::IommuDevice,
    pci_topology::PciDev, //
};

use super::hardware::{
    Found,
    Hardware, //
};
use crate::{
    family::{
        self,
        Shape,
        Target,
        Unit as _,
        Words,
        BLOCKED_DID,
        IDENTITY_DID, //
    },
    fault::FaultLog,
    glue::Show,
    group,
    lazy::MAX_SPANS,
    queue::{
        self,
        Queue, //
    }, //
};

/// Levels of a domain's tables: 48 bits, what PCIe devices and VFIO users expect.
const LEVELS: u8 = 4;
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
    table_lock: SpinLockIrq<()>,
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
    /// Builds a unit's tables in memory. Hardware is not touched yet. `number` is its place among those that
    /// firmware describes.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(
        index: usize,
        number: usize,
        ivhd: &Ivhd<'_>,
        found: Found,
    ) -> impl PinInit<Self, Error> {
        let (id, flags) = (ivhd.unit, ivhd.flags);
        let name = CString::try_from_fmt(fmt!("ivhd{}", number));
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
            table_lock <- new_spinlock_irq!(()),
            queue <- Queue::new(regs::RING_ENTRY_LEN / 8),
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

    /// The entry that takes a requester ID's requests to a target.
    fn entry(&self, rid: Rid, to: &Target) -> Option<Dte> {
        let dte = match *to {
            Target::Blocked => {
                let logged = Dte::blocked_with_events(Oa(self.empty_root.phys()), BLOCKED_DID);
                logged.unwrap_or_else(Dte::blocked)
            }
            Target::Identity => Dte::identity(IDENTITY_DID),
            Target::Paging { root, levels, did } => Dte::paging(root, levels, did)?,
        };
        Some(self.with_settings(dte, rid))
    }

    fn index_of(rid: Rid) -> usize {
        usize::from(rid.0) * WORDS_PER_ENTRY
    }

    fn read_entry(&self, rid: Rid) -> Dte {
        let at = Self::index_of(rid);
        Dte([0, 1, 2, 3].map(|i| self.table.read(at + i)))
    }

    /// Moves an entry to `target` by safe steps. Returns the old one.
    fn change_entry(&self, rid: Rid, target: &Dte) -> Result<Dte> {
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
    fn command(&self, commands: &[Command]) -> Result {
        self.queue.run(&self.hw, commands)
    }

    /// Drops cached translations of pages of a domain, and with `upper` what leads to them.
    #[inline(always)]
    fn invalidate(&self, did: DomainId, span: PageSpan, upper: bool) -> Result {
        let of =
            |(first, lg2)| Command::invalidate_iommu_pages(did, Pages::block(first, lg2), upper);
        match span.one_block(1 << 40) {
            Some(lg2) => self.queue.run_one(&self.hw, of((span.first, lg2))),
            None => self.invalidate_more(did, span, of),
        }
    }

    #[inline(never)]
    fn invalidate_more(
        &self,
        did: DomainId,
        span: PageSpan,
        of: impl Fn((u64, u32)) -> Command,
    ) -> Result {
        let mut blocks = span.blocks(51);
        let Some(first) = blocks.next() else {
            return Ok(());
        };
        match blocks.next() {
            None => self.command(&[of(first)]),
            Some(second) => self.invalidate_blocks(did, [of(first), of(second)], blocks.map(of)),
        }
    }

    /// Drops cached translations of several blocks of pages.
    #[inline(never)]
    fn invalidate_blocks(
        &self,
        did: DomainId,
        [first, second]: [Command; 2],
        mut others: impl Iterator<Item = Command>,
    ) -> Result {
        match (others.next(), others.next()) {
            (None, _) => self.command(&[first, second]),
            (Some(third), None) => self.command(&[first, second, third]),
            // Not at a multiple of their size.
            _ => self.invalidate_all_of(did),
        }
    }

    /// Drops everything cached of a domain, walk caches included.
    fn invalidate_all_of(&self, did: DomainId) -> Result {
        self.command(&[Command::invalidate_iommu_pages(did, Pages::ALL, true)])
    }

    /// Starts the unit on our tables. A unit that was left enabled stays so: the new device table
    /// takes over from the old one without a moment in between.
    ///
    /// # Errors
    ///
    /// `EIO` or `ETIMEDOUT` if the unit does not complete commands; it is disabled then.
    pub(super) fn start(&self) -> Result {
        if self.hw.was_enabled() {
            pr_warn!("{}: was left enabled; taking over\n", self.text());
        }
        self.run()
    }

    /// Gives the unit our tables and rings, and enables it.
    fn run(&self) -> Result {
        let io = self.hw.regs.io();
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
        self.invalidate_all_of(IDENTITY_DID)?;
        self.invalidate_all_of(BLOCKED_DID)
    }
}

impl family::Unit for Unit {
    fn index(&self) -> usize {
        self.index
    }

    fn name(&self) -> &CStr {
        &self.name
    }

    fn covers(&self, dev: &PciDev) -> bool {
        self.range_of(group::sbdf(dev)).is_some()
    }

    fn segment(&self) -> u16 {
        self.id.segment
    }

    fn function(&self) -> Option<PciDev> {
        PciDev::find(self.id.segment, self.id.rid.bus(), self.id.rid.devfn())
    }

    fn is_at(&self, id: Sbdf) -> bool {
        self.id == id
    }

    fn alias(&self, id: Sbdf) -> Option<Rid> {
        self.range_of(id).and_then(|r| r.alias)
    }

    fn passes_through(&self) -> bool {
        true
    }

    fn shape(&self) -> Result<Shape> {
        let levels = self.features.host_levels().ok_or(ENODEV)?.min(LEVELS);
        Ok(Shape {
            levels,
            last_iova: pt::last_iova(levels),
            page_sizes: AmdV1::PAGE_SIZES,
            // Control.Coherent is set.
            flush: false,
        })
    }

    fn prepare(&self, _rid: Rid) -> Result {
        // The table has an entry for every requester ID.
        Ok(())
    }

    fn preset(&self, rid: Rid, to: &Target) -> Result {
        let dte = self.entry(rid, to).ok_or(EINVAL)?;
        let at = Self::index_of(rid);
        for (i, word) in dte.0.iter().enumerate() {
            self.table.write(at + i, *word);
        }
        Ok(())
    }

    fn set_entry(&self, rid: Rid, to: &Target) -> Result<Words> {
        let target = self.entry(rid, to).ok_or(EINVAL)?;
        self.change_entry(rid, &target).map(|was| was.0)
    }

    fn put_back(&self, rid: Rid, entry: &Words) {
        // The unit is broken; the memory is right at least.
        let _ = self.change_entry(rid, &Dte(*entry));
    }

    fn hears_of_maps(&self) -> bool {
        self.np_cache
    }

    #[inline(always)]
    fn after_map(&self, did: DomainId, span: PageSpan) -> Result {
        if !self.np_cache {
            return Ok(());
        }
        // Absent entries of upper levels may be cached, too, and are new ones by now.
        self.queue.mapped(self.invalidate(did, span, true))
    }

    #[inline(always)]
    fn after_unmap(&self, did: DomainId, span: PageSpan) -> Result {
        // Tables are not freed while what leads to them may be cached, so leaves are enough.
        self.invalidate(did, span, false)
    }

    fn after_unmaps(&self, did: DomainId, spans: &[PageSpan]) -> Result {
        let all = Command::invalidate_iommu_pages(did, Pages::ALL, false);
        let mut batch = [all; MAX_SPANS];
        for (slot, span) in batch.iter_mut().zip(spans) {
            let (first, lg2) = span.cover();
            *slot = Command::invalidate_iommu_pages(did, Pages::block(first, lg2), false);
        }
        match batch.get(..spans.len()) {
            Some(batch) => self.command(batch),
            None => self.command(&[all]),
        }
    }

    fn invalidate_domain(&self, did: DomainId) -> Result {
        self.invalidate_all_of(did)
    }

    fn faults(&self) -> &FaultLog {
        &self.faults
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: function {} registers {:#x} features {}",
            self.text(),
            self.id,
            self.hw.regs.phys(),
            self.features
        )?;
        writeln!(
            f,
            "  caches absent entries: {} commands: {} faults: {} was enabled before: {}",
            self.np_cache,
            self.queue.state_text(),
            self.faults.total(),
            self.hw.was_enabled()
        )
    }

    fn stop(&self) {
        self.hw.stop();
    }

    fn resume(&self) -> Result {
        if !self.hw.is_enabled() {
            return Ok(());
        }
        self.queue.reset();
        self.run()
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
