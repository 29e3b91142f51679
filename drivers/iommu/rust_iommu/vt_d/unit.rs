// SPDX-License-Identifier: GPL-2.0

//! One VT-d unit: who is behind it, its tables, its invalidations.
//!
//! Source: Intel Virtualization Technology for Directed I/O, D51397-016 (revision 4.1).

use iommu_core::{
    acpi::dmar::{
        Claim,
        Drhd, //
    },
    addr::PageSpan,
    id::{
        DomainId,
        Rid,
        Sbdf, //
    },
    plan::{
        Half,
        Step, //
    },
    vtd::{
        cap::{
            Capabilities,
            Mode, //
        },
        desc::{
            Block,
            Descriptor, //
        },
        entry::{
            plan_update,
            Entry, //
        }, //
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
    iommu::ops::IommuDevice,
    pci_topology::PciDev, //
};

use super::{
    hardware::Hardware,
    scopes::{
        Chain,
        OwnedScopes, //
    },
    tables::{
        Layout,
        Tables, //
    }, //
};
use crate::{
    family::{
        self,
        Shape,
        Target,
        Unit as _,
        Words,
        IDENTITY_DID,
        MOVING_DID, //
    },
    fault::FaultLog,
    queue::Queue, //
};

/// Blocks of pages that are invalidated one by one; more cost more than the domain's refill.
const MAX_BLOCKS: usize = 16;

/// One unit.
#[pin_data]
pub(crate) struct Unit {
    /// First, so that the unit stops before its tables go (fields drop in order).
    pub(super) hw: Hardware,
    index: usize,
    name: CString,
    pub(super) segment: u16,
    scopes: OwnedScopes,
    takes_rest: bool,
    /// What units that are not driven have.
    lost: KVec<OwnedScopes>,
    layout: Layout,
    /// What invalidations need to know of the capabilities: the pages that one descriptor can name, 0 for
    /// none.
    block_limit: u64,
    first_stage: bool,
    /// Held while an entry is moved, invalidations included.
    #[pin]
    tables: SpinLockIrq<Tables>,
    #[pin]
    queue: Queue,
    #[pin]
    faults: FaultLog,
    #[pin]
    core: IommuDevice,
}

impl AsRef<IommuDevice> for Unit {
    fn as_ref(&self) -> &IommuDevice {
        &self.core
    }
}

impl Unit {
    /// Builds a unit's tables in memory. Hardware is not touched yet. `number` is its place in firmware's
    /// table; `lost` is what is behind other
    /// units, although none that is driven names it.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(
        index: usize,
        number: usize,
        drhd: &Drhd<'_>,
        lost: KVec<OwnedScopes>,
        hw: Hardware,
    ) -> impl PinInit<Self, Error> + use<> {
        let (segment, takes_rest) = (drhd.segment, drhd.takes_rest);
        let scopes = OwnedScopes::copy(&drhd.scopes());
        let name = CString::try_from_fmt(fmt!("dmar{}", number));
        let caps = hw.caps;
        let layout = Layout {
            scalable: caps.mode().is_scalable(),
            flush: !caps.coherent,
        };
        let tables = Tables::new(layout);
        try_pin_init!(Self {
            hw,
            index,
            name: name?,
            segment,
            scopes: scopes?,
            takes_rest,
            lost,
            layout,
            block_limit: match caps.page_selective {
                true => 1 << (caps.max_mask & 63),
                false => 0,
            },
            first_stage: caps.mode() == Mode::FirstStage,
            tables <- new_spinlock_irq!(tables?),
            queue <- Queue::new(Hardware::descriptor_words(&caps)),
            faults <- FaultLog::new(),
            core <- IommuDevice::new(),
        }? Error)
    }

    fn caps(&self) -> &Capabilities {
        &self.hw.caps
    }

    /// Starts the unit on its tables.
    ///
    /// # Errors
    ///
    /// `EIO` or `ETIMEDOUT` if the unit does not do what it is told; it is disabled then.
    pub(super) fn start(&self) -> Result {
        if self.hw.was_enabled() {
            pr_warn!("{}: was left enabled; taking over\n", self.text());
        }
        self.run()
    }

    /// Gives the unit our tables and queue, and enables it.
    fn run(&self) -> Result {
        let root = self.tables.lock().root();
        self.hw.start(self.queue.base(), root, || {
            let mut all = [
                Descriptor::all_contexts(),
                Descriptor::all_pasids(),
                Descriptor::all_translations(),
            ];
            if !self.caps().mode().is_scalable() {
                // There are no PASIDs; the descriptor would be refused.
                all[1] = Descriptor::all_contexts();
            }
            self.command(&all)
        })
    }

    /// Runs descriptors to completion. Any context.
    #[inline]
    fn command(&self, descriptors: &[Descriptor]) -> Result {
        self.queue.run(&self.hw, descriptors)
    }

    /// Drops the cached copies of an entry, and what was translated by it.
    fn forget_entry(&self, rid: Rid, was: &Entry) -> Result {
        let scalable = self.caps().mode().is_scalable();
        let did = was.domain_id(scalable);
        self.hw.flush_write_buffer()?;
        let context = Descriptor::context(rid, did);
        let all = Descriptor::domain(did);
        match self.caps().mode() {
            Mode::Legacy => self.command(&[context, all]),
            Mode::SecondStage => self.command(&[context, Descriptor::pasid(did), all]),
            Mode::FirstStage => self.command(&[
                context,
                Descriptor::pasid(did),
                Descriptor::first_domain(did),
                all,
            ]),
        }
    }

    /// Moves an entry to `target` by safe steps. Returns the old one.
    fn change_entry(&self, rid: Rid, target: &Entry) -> Result<Entry> {
        let tables = self.tables.lock();
        let old = tables.read(rid);
        let mut was = old;
        // The lock sees to it that one entry at a time has the spare ID.
        for step in plan_update(&old, target, MOVING_DID).steps() {
            match step {
                Step::Write { half, value } => {
                    was = tables.read(rid);
                    tables.write(rid, *half, *value);
                }
                Step::Invalidate => self.forget_entry(rid, &was)?,
            }
        }
        Ok(old)
    }

    /// The entry that takes requests to a target; [`None`] if the unit cannot.
    fn entry(&self, to: &Target) -> Option<Entry> {
        let caps = self.caps();
        let snoop = caps.scalable_coherent;
        match *to {
            Target::Blocked => Some(Entry::ABSENT),
            Target::Identity if !caps.pass_through => None,
            Target::Identity if caps.mode().is_scalable() => {
                Entry::pass_through(caps.most_levels(), IDENTITY_DID, snoop)
            }
            Target::Identity => Entry::legacy_pass_through(caps.most_levels(), IDENTITY_DID),
            Target::Paging { root, levels, did } => match caps.mode() {
                Mode::Legacy => Entry::legacy(root, levels, did),
                Mode::SecondStage => Entry::second_stage(root, levels, did, snoop),
                Mode::FirstStage => Entry::first_stage(root, caps.most_levels(), did, snoop),
            },
        }
    }

    /// Drops cached translations of pages of a domain, and with `!leaf_only` what leads to them.
    #[inline(always)]
    fn invalidate(&self, did: DomainId, span: PageSpan, leaf_only: bool) -> Result {
        match span.one_block(self.block_limit) {
            Some(lg2) => {
                let command = self.pages(did, span.first, lg2, leaf_only);
                self.queue.run_one(&self.hw, command)
            }
            None => self.invalidate_more(did, span, leaf_only),
        }
    }

    #[inline]
    fn pages(&self, did: DomainId, first: u64, lg2: u32, leaf_only: bool) -> Descriptor {
        match self.first_stage {
            true => Descriptor::first_pages(did, Block::new(first, lg2), leaf_only),
            false => Descriptor::pages(did, Block::new(first, lg2), leaf_only),
        }
    }

    #[inline(never)]
    fn invalidate_more(&self, did: DomainId, span: PageSpan, leaf_only: bool) -> Result {
        let caps = self.caps();
        if !caps.page_selective {
            return self.invalidate_domain(did);
        }
        let of = |(first, lg2)| self.pages(did, first, lg2, leaf_only);
        let mut blocks = span.blocks(caps.max_mask);
        let Some(first) = blocks.next() else {
            return Ok(());
        };
        match blocks.next() {
            None => self.command(&[of(first)]),
            Some(second) => self.invalidate_blocks(did, of(first), of(second), blocks.map(of)),
        }
    }

    /// Drops cached translations of several blocks of pages.
    #[inline(never)]
    fn invalidate_blocks(
        &self,
        did: DomainId,
        first: Descriptor,
        second: Descriptor,
        mut others: impl Iterator<Item = Descriptor>,
    ) -> Result {
        let mut batch = [first; MAX_BLOCKS];
        let mut count = 1;
        for (slot, d) in batch
            .iter_mut()
            .skip(1)
            .zip(Iterator::chain(core::iter::once(second), &mut others))
        {
            *slot = d;
            count += 1;
        }
        match batch.get(..count) {
            Some(all) if others.next().is_none() => self.command(all),
            _ => self.invalidate_domain(did),
        }
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
        let claim = Claim {
            segment: self.segment,
            takes_rest: self.takes_rest,
            scopes: self.scopes.scopes(),
        };
        let chain = Chain::to(dev);
        claim.covers(dev.segment(), chain.rids()) && !self.lost.iter().any(|l| l.name(&chain))
    }

    fn segment(&self) -> u16 {
        self.segment
    }

    fn function(&self) -> Option<PciDev> {
        None
    }

    fn is_at(&self, _id: Sbdf) -> bool {
        // A unit is no PCI function.
        false
    }

    fn alias(&self, _id: Sbdf) -> Option<Rid> {
        // Firmware has no way to say so.
        None
    }

    fn passes_through(&self) -> bool {
        self.caps().pass_through
    }

    fn shape(&self) -> Result<Shape> {
        let caps = self.caps();
        let levels = caps.levels().ok_or(ENODEV)?;
        Ok(Shape {
            levels,
            last_iova: caps.last_iova(levels),
            page_sizes: caps.page_sizes(),
            flush: !caps.tables_coherent(),
        })
    }

    fn prepare(&self, rid: Rid) -> Result {
        if self.tables.lock().is_prepared(rid) {
            return Ok(());
        }
        // What a racing call has made is dropped here, after the lock.
        let mut new = self.layout.new_tables()?;
        self.tables.lock().install(rid, &mut new);
        if self.hw.is_enabled() {
            self.forget_entry(rid, &Entry::ABSENT)?;
        }
        Ok(())
    }

    fn preset(&self, rid: Rid, to: &Target) -> Result {
        let entry = self.entry(to).ok_or(EINVAL)?;
        let mut new = self.layout.new_tables()?;
        let mut tables = self.tables.lock();
        tables.install(rid, &mut new);
        let [a, b, c, d] = entry.0;
        if self.layout.scalable {
            tables.write(rid, Half::High, [c, d]);
        }
        tables.write(rid, Half::Low, [a, b]);
        // Pages are given back after the lock.
        drop(tables);
        drop(new);
        Ok(())
    }

    fn set_entry(&self, rid: Rid, to: &Target) -> Result<Words> {
        let target = self.entry(to).ok_or(EINVAL)?;
        self.change_entry(rid, &target).map(|was| was.0)
    }

    fn put_back(&self, rid: Rid, entry: &Words) {
        // The unit is broken; the memory is right at least.
        let _ = self.change_entry(rid, &Entry(*entry));
    }

    fn hears_of_maps(&self) -> bool {
        self.caps().caching_mode || self.caps().write_buffer
    }

    #[inline(always)]
    fn after_map(&self, did: DomainId, span: PageSpan) -> Result {
        if !self.caps().caching_mode {
            return self.hw.flush_write_buffer();
        }
        // Absent entries of upper levels may be cached, too (D51397-016, 6.1), and are new ones by now.
        self.queue.mapped(self.invalidate(did, span, false))
    }

    #[inline(always)]
    fn after_unmap(&self, did: DomainId, span: PageSpan) -> Result {
        self.hw.flush_write_buffer()?;
        // Tables are not freed while what leads to them may be cached, so leaves are enough.
        self.invalidate(did, span, true)
    }

    fn after_unmaps(&self, did: DomainId, spans: &[PageSpan]) -> Result {
        let caps = self.caps();
        let mut batch = [Descriptor::domain(did); MAX_BLOCKS];
        for (slot, span) in batch.iter_mut().zip(spans) {
            let (first, lg2) = span.cover();
            if !caps.page_selective || lg2 > caps.max_mask {
                return self.invalidate_domain(did);
            }
            *slot = self.pages(did, first, lg2, true);
        }
        self.hw.flush_write_buffer()?;
        match batch.get(..spans.len()) {
            Some(all) => self.command(all),
            None => self.invalidate_domain(did),
        }
    }

    fn invalidate_domain(&self, did: DomainId) -> Result {
        let all = Descriptor::domain(did);
        match self.caps().mode() {
            Mode::FirstStage => self.command(&[Descriptor::first_domain(did), all]),
            _ => self.command(&[all]),
        }
    }

    fn faults(&self) -> &FaultLog {
        &self.faults
    }

    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: registers {:#x} segment {:04x}{} {}",
            self.text(),
            self.hw.phys(),
            self.segment,
            if self.takes_rest { " (the rest)" } else { "" },
            self.caps()
        )?;
        writeln!(
            f,
            "  commands: {} faults: {} was enabled before: {}",
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
        self.run()?;
        self.hw.restore_fault_message();
        Ok(())
    }
}
