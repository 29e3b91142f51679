// SPDX-License-Identifier: GPL-2.0

//! A paging domain: a page table, its domain ID, the units that use it, and its IOVA space.

use core::marker::PhantomData;

use iommu_core::{
    addr::{
        Iova,
        Oa,
        Perm,
        Range, //
    },
    id::DomainId,
    pt::{
        self,
        leaf,
        near::Near,
        Format,
        MapError,
        MapFailure,
        Root,
        TableMem,
        Unmapped,
        ITEMS, //
    }, //
};
use kernel::{
    error::code::*,
    fmt,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc, //
    },
    time::Delta, //
};
use kernel_iommu::{
    hw_pages::Gfp,
    iommu::{
        dma_ops::DomainTimer,
        table::TablePage, //
    },
    once_box::OnceBox,
    shared_word::SharedWord, //
};

use crate::{
    addresses::Addresses,
    calls::Calls,
    domain_ids::{
        DomainIds,
        OwnedId, //
    },
    family::Shape,
    glue::{
        Kernel,
        Space,
        Tables, //
    },
    lazy::Lazy,
    reserve::{
        Reserve,
        REFILL_US, //
    }, //
};

/// Units one machine can have; the largest servers have a few dozen.
pub(crate) const MAX_UNITS: usize = 64;

/// A paging domain with tables of format `F`.
pub(crate) struct PagingDomain<F: Format> {
    pub(crate) root: Root<TablePage>,
    last_iova: u64,
    /// A unit does not look into the processor's caches when it walks.
    flush: bool,
    id: OwnedId,
    /// Leaf tables, for callers that only know addresses.
    near: Near<Kernel>,
    /// Tables for those that our DMA API makes.
    pub(crate) reserve: Reserve,
    /// There if devices are served.
    timer: Option<DomainTimer>,
    /// There once our DMA API serves a device of the domain; the core's mappings are claims then.
    served: OnceBox<Addresses>,
    /// Devices attached through each unit.
    users: [Atomic<u32>; MAX_UNITS],
    /// The units that have any, a bit each.
    units: SharedWord,
    /// By the core: its DMA API, VFIO, iommufd.
    pub(crate) calls: Calls,
    /// Pages whose addresses are never used again, as their invalidation was not confirmed.
    quarantined: Atomic<u64>,
    _format: PhantomData<F>,
}

impl<F: Format> PagingDomain<F> {
    /// Makes an empty domain that a unit with this shape can walk, where it stays: it is too large for a
    /// kernel's stack.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `ENOSPC`: all domain IDs are in use.
    pub(crate) fn new(
        ids: Arc<DomainIds>,
        shape: &Shape,
        timer: Option<DomainTimer>,
    ) -> Result<Arc<Self>> {
        let id = OwnedId::new(ids)?;
        let calls = Calls::new()?;
        let tables = Tables {
            gfp: Gfp::Kernel,
            flush: shape.flush,
            reserve: None,
        };
        let top = || {
            let table = tables.alloc()?;
            tables.written(table, 0, ITEMS);
            Some(table)
        };
        let domain = try_init!(Self {
            last_iova: shape.last_iova.min(pt::last_iova(shape.levels)),
            flush: shape.flush,
            id,
            near: Near::new(),
            reserve: Reserve::new(),
            timer,
            served: OnceBox::new(),
            users: [const { Atomic::new(0) }; MAX_UNITS],
            units: SharedWord::new(0),
            calls,
            quarantined: Atomic::new(0),
            _format: PhantomData,
            // Nothing fails once there is a table.
            root: Root {
                table: top().ok_or(ENOMEM)?,
                level: shape.levels.saturating_sub(1),
                page_sizes: F::PAGE_SIZES & shape.page_sizes,
            },
        }? Error);
        Arc::try_init(domain, GFP_KERNEL)
    }

    /// The tag of the domain's translations.
    pub(crate) fn id(&self) -> DomainId {
        self.id.id
    }

    /// Address of the top table.
    pub(crate) fn root(&self) -> Oa {
        Oa(self.root.table.phys())
    }

    /// Number of levels.
    pub(crate) fn levels(&self) -> u8 {
        self.root.level.saturating_add(1)
    }

    /// Highest IOVA.
    pub(crate) fn last_iova(&self) -> u64 {
        self.last_iova
    }

    /// Can a unit with this shape walk the domain, too?
    ///
    /// # Errors
    ///
    /// `EINVAL`: it cannot, and another domain is needed.
    pub(crate) fn check(&self, shape: &Shape) -> Result {
        let fits = self.levels() == shape.levels
            && self.last_iova <= shape.last_iova
            && self.root.page_sizes & !shape.page_sizes == 0
            && (self.flush || !shape.flush);
        fits.then_some(()).ok_or(EINVAL)
    }

    #[inline]
    pub(crate) fn tables(&self, gfp: Gfp) -> Tables<'_> {
        Tables {
            gfp,
            flush: self.flush,
            reserve: None,
        }
    }

    /// [`Self::tables`] for the DMA API, which does not sleep.
    #[inline]
    pub(crate) fn tables_at_hand(&self) -> Tables<'_> {
        Tables {
            reserve: Some(&self.reserve),
            ..self.tables(Gfp::Atomic)
        }
    }

    /// Counts a user behind a unit, before its entry points here.
    pub(crate) fn add_user(&self, unit: usize) {
        if let Some(n) = self.users.get(unit) {
            n.fetch_add(1u32, Full);
            self.set_unit(unit, true);
        }
    }

    /// Counts a user off, after its entry has left and the domain was invalidated.
    pub(crate) fn remove_user(&self, unit: usize) {
        if let Some(n) = self.users.get(unit) {
            if n.fetch_sub(1u32, Full) == 1 {
                self.set_unit(unit, false);
                // Another device may have come meanwhile.
                if n.load(Relaxed) != 0 {
                    self.set_unit(unit, true);
                }
            }
        }
    }

    fn set_unit(&self, unit: usize, used: bool) {
        // CAST: below 64.
        let bit = 1u64 << (unit as u32 & 63);
        let mut now = self.units.load();
        loop {
            let new = if used { now | bit } else { now & !bit };
            // ORDERING: full, so that an invalidation that misses this user has run before the
            // user's entry could be read.
            match self.units.cas(now, new) {
                Ok(()) => return,
                Err(other) => now = other,
            }
        }
    }

    /// Is one device attached, and no more?
    pub(crate) fn has_one_device(&self) -> bool {
        self.users.iter().map(|n| n.load(Relaxed)).sum::<u32>() == 1
    }

    /// The units that have users of the domain, a bit each.
    #[inline]
    pub(crate) fn units(&self) -> u64 {
        self.units.load()
    }

    /// Makes a space of addresses for our DMA API, unless there is one.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn serve(&self) -> Result {
        if self.served.get().is_none() {
            let addresses = Addresses::new(self.last_iova)?;
            self.reserve.stock(&self.tables(Gfp::Kernel), &addresses);
            self.served.set(addresses);
        }
        Ok(())
    }

    /// The space of addresses, if our DMA API serves a device of this domain.
    #[inline]
    pub(crate) fn space(&self) -> Option<&Space> {
        self.served.get().map(|s| &s.space)
    }

    /// What was put off, if our DMA API serves a device of this domain.
    #[inline]
    pub(crate) fn lazy(&self) -> Option<&Lazy> {
        self.served.get().map(|s| &s.lazy)
    }

    /// Has what the first use of the chunk of `iova` took from the reserve replaced.
    pub(crate) fn top_up(&self, iova: u64) {
        if self.reserve.wants_timer(iova) {
            self.start_timer(Delta::from_micros(REFILL_US));
        }
    }

    /// Gets ready what [`Self::top_up`] wanted.
    pub(crate) fn refill(&self) {
        self.reserve
            .refill(&self.tables(Gfp::Atomic), self.served.get());
    }

    /// Has what was put off done after this time.
    pub(crate) fn start_timer(&self, after: Delta) {
        if let Some(timer) = &self.timer {
            timer.start(after);
        }
    }

    /// Maps a range. Any context, with `Gfp::Atomic`.
    ///
    /// # Errors
    ///
    /// Those of [`pt::map_large`], where our DMA API does not serve a device.
    #[inline]
    pub(crate) fn map(
        &self,
        iova: u64,
        oa: u64,
        len: u64,
        perm: Perm,
        gfp: Gfp,
    ) -> Result<(), MapFailure> {
        let (tables, iova, oa) = (self.tables(gfp), Iova(iova), Oa(oa));
        match self.is_served() {
            false => self
                .near
                .map::<F, _>(&tables, self.root, iova, oa, len, perm),
            true => pt::map::<F, _>(&tables, self.root, iova, oa, len, perm),
        }
    }

    /// Takes the leaf table for an address, if it has no mappings, out of the tree. It is freed once every
    /// unit has forgotten it. All that it could map is the caller's, and our DMA API serves no device.
    pub(crate) fn detach_empty(&self, iova: Iova) -> Option<TablePage> {
        self.near.forget(iova);
        leaf::detach_empty::<F, _>(&self.tables(Gfp::Atomic), self.root, iova)
    }

    /// [`Self::map`] of one page, where that is quick. `false`: it is not, nothing is done.
    #[inline(always)]
    pub(crate) fn map_quickly(&self, iova: u64, oa: u64, len: u64, perm: Perm) -> bool {
        let tables = self.tables(Gfp::Atomic);
        len == PAGE_SIZE as u64
            && !self.is_served()
            && self
                .near
                .map_page::<F, _>(&tables, Iova(iova), Oa(oa), perm)
    }

    /// [`Self::unmap`] of one page, where that is quick. `false`: it is not, nothing is done.
    #[inline(always)]
    pub(crate) fn unmap_quickly(&self, iova: u64, len: u64) -> bool {
        let tables = self.tables(Gfp::Atomic);
        len == PAGE_SIZE as u64
            && !self.is_served()
            && self.near.unmap_page::<F, _>(&tables, Iova(iova))
    }

    /// Clears a range up to the first hole.
    #[inline]
    pub(crate) fn unmap(&self, iova: u64, len: u64) -> Unmapped {
        let (tables, iova) = (self.tables(Gfp::Atomic), Iova(iova));
        match self.is_served() {
            false => self.near.unmap::<F, _>(&tables, self.root, iova, len),
            true => pt::unmap::<F, _>(&tables, self.root, iova, len),
        }
    }

    /// Looks an address up.
    #[inline(always)]
    pub(crate) fn lookup(&self, iova: u64) -> Option<u64> {
        // Where our DMA API serves a device, tables may go while nothing is mapped by them.
        if !self.is_served() {
            let known = self
                .near
                .lookup::<F, _>(&self.tables(Gfp::Atomic), Iova(iova));
            if let Some(oa) = known {
                return Some(oa.0);
            }
        }
        self.walk(iova)
    }

    #[inline(never)]
    fn walk(&self, iova: u64) -> Option<u64> {
        pt::lookup::<F, _>(&self.tables(Gfp::Atomic), self.root, Iova(iova)).map(|(oa, _, _)| oa.0)
    }

    /// Does our DMA API serve a device of the domain?
    #[inline]
    fn is_served(&self) -> bool {
        self.served.get().is_some()
    }

    /// Takes exact addresses for a mapping the core makes. Nothing to do where the core has them all.
    ///
    /// # Errors
    ///
    /// `EEXIST`: some are in use. `ENOMEM`.
    pub(crate) fn claim(&self, range: Range) -> Result {
        self.served.get().map_or(Ok(()), |a| a.claim(range))
    }

    /// Gives a claim back, after the invalidation.
    pub(crate) fn unclaim(&self, range: Range) {
        if let Some(addresses) = self.served.get() {
            addresses.unclaim(range);
        }
    }

    /// Keeps a range out of our allocations for good.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EBUSY` if something is mapped there, but not to itself.
    pub(crate) fn reserve(&self, range: Range) -> Result {
        self.serve()?;
        let addresses = self.served.get().ok_or(ENOMEM)?;
        addresses.reserve(range, |page| self.lookup(page) == Some(page))
    }

    /// Leaf tables that empty chunks hold.
    pub(crate) fn spare_tables(&self) -> usize {
        // CAST: below 2^18.
        let empty = self.space().map_or(0, |s| s.empty_chunks()) as usize;
        empty + self.reserve.count()
    }

    /// Describes the domain's addresses for debugfs.
    pub(crate) fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quarantined = self.quarantined.load(Relaxed);
        let (id, last) = (self.id().0, self.last_iova);
        write!(
            f,
            "domain {}: addresses to {:#x}, pages quarantined {}, tables at hand {}",
            id,
            last,
            quarantined,
            self.reserve.count()
        )?;
        match self.served.get() {
            Some(addresses) => addresses.show(f),
            None => writeln!(f, ", mapped by the core: {}", self.calls),
        }
    }

    /// Leaks addresses that could not be invalidated.
    pub(crate) fn quarantine(&self, pages: u64) {
        let before = self.quarantined.fetch_add(pages, Relaxed);
        if before == 0 {
            pr_err!(
                "domain {}: addresses that could not be invalidated are not used again\n",
                self.id().0
            );
        }
    }
}

impl<F: Format> Drop for PagingDomain<F> {
    fn drop(&mut self) {
        let tables = self.tables(Gfp::Atomic);
        self.reserve.drain(&tables);
        pt::free_all::<F, _>(&tables, self.root);
    }
}

/// The errno of a failed mapping.
pub(crate) fn map_errno(e: &MapFailure) -> Error {
    errno(&e.cause)
}

/// The errno of what went wrong.
pub(crate) fn errno(e: &MapError) -> Error {
    match e {
        MapError::NoMemory => ENOMEM,
        MapError::AlreadyMapped(_) | MapError::Table(_) => EEXIST,
        MapError::BadRange => EINVAL,
    }
}
