// SPDX-License-Identifier: GPL-2.0

//! A paging domain: a page table, its domain ID, the units that use it, and its IOVA space.

use core::marker::PhantomData;

use iommu_core::{
    addr::{
        Iova,
        Oa,
        Perm,
        Range,
        PAGE_SHIFT,
        PAGE_SIZE, //
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
    },
    slab::{
        self,
        Chunk,
        Refusal,
        Wild,
        CHUNK_SHIFT, //
    },
};
use kernel::{
    error::code::*,
    id_pool::IdPool,
    new_mutex,
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        barrier::{
            smp_mb, //
        },
        Arc,
        Mutex,
        SpinLockIrq, //
    }, //
};
use kernel_iommu::{
    hw_pages::Gfp,
    iommu::table::TablePage,
    once_box::OnceBox,
    shared_word::SharedWord, //
};

use crate::{
    family::Shape,
    glue::{
        Kernel,
        Slots,
        Space,
        Tables, //
    }, //
};

/// Units one machine can have; the largest servers have a few dozen.
pub(crate) const MAX_UNITS: usize = 64;
/// Windows that a domain's space has to leave out: a host bridge has a handful, firmware names some.
const MAX_RESERVED: usize = 64;
/// Domain IDs 0 to 3 are not handed out: 0 has meanings of its own on some units, the static
/// domains use the others.
const FIRST_FREE_ID: usize = 4;

/// An object of a domain's space.
pub(crate) type Object<'a> = slab::Object<'a, Kernel>;

/// The domain IDs of a machine.
#[pin_data]
pub(crate) struct DomainIds {
    #[pin]
    pool: Mutex<IdPool>,
}

impl DomainIds {
    /// `count` IDs, 16-bit ones at most.
    pub(crate) fn new(count: u32) -> Result<Arc<Self>> {
        // CAST: u32 fits usize.
        let pool = IdPool::with_capacity(count.min(1 << 16) as usize, GFP_KERNEL)?;
        Arc::pin_init(
            pin_init!(Self {
                pool <- new_mutex!(pool),
            }),
            GFP_KERNEL,
        )
    }
}

/// A domain ID in use; given back on drop.
struct OwnedId {
    ids: Arc<DomainIds>,
    id: DomainId,
}

impl OwnedId {
    fn new(ids: Arc<DomainIds>) -> Result<Self> {
        let id = {
            let mut pool = ids.pool.lock();
            let free = pool.find_unused_id(FIRST_FREE_ID).ok_or(ENOSPC)?;
            free.acquire()
        };
        let id = DomainId(u16::try_from(id).map_err(|_| ENOSPC)?);
        Ok(Self { ids, id })
    }
}

impl Drop for OwnedId {
    fn drop(&mut self) {
        self.ids.pool.lock().release_id(self.id.0.into());
    }
}

/// The addresses of a domain whose DMA API we serve.
struct Served {
    space: Space,
    /// What is kept out of it for good.
    reserved: Pin<KBox<SpinLockIrq<KVec<Range>>>>,
}

/// A paging domain with tables of format `F`.
pub(crate) struct PagingDomain<F: Format> {
    root: Root<TablePage>,
    last_iova: u64,
    /// A unit does not look into the processor's caches when it walks.
    flush: bool,
    id: OwnedId,
    /// Leaf tables, for callers that only know addresses.
    near: Near<Kernel>,
    /// There once our DMA API serves a device of the domain; the core's mappings are claims then.
    served: OnceBox<Served>,
    /// Requester IDs attached through each unit.
    users: [Atomic<u32>; MAX_UNITS],
    /// The units that have any, a bit each.
    units: SharedWord,
    /// Pages whose addresses are never used again, as their invalidation was not confirmed.
    quarantined: Atomic<u64>,
    _format: PhantomData<F>,
}

impl<F: Format> PagingDomain<F> {
    /// Makes an empty domain that a unit with this shape can walk.
    pub(crate) fn new(ids: Arc<DomainIds>, shape: &Shape) -> Result<Self> {
        let id = OwnedId::new(ids)?;
        let tables = Tables {
            gfp: Gfp::Kernel,
            flush: shape.flush,
        };
        let table = tables.alloc().ok_or(ENOMEM)?;
        tables.written(table, 0, ITEMS);
        Ok(Self {
            root: Root {
                table,
                level: shape.levels.saturating_sub(1),
                page_sizes: F::PAGE_SIZES & shape.page_sizes,
            },
            last_iova: shape.last_iova.min(pt::last_iova(shape.levels)),
            flush: shape.flush,
            id,
            near: Near::new(),
            served: OnceBox::new(),
            users: [const { Atomic::new(0) }; MAX_UNITS],
            units: SharedWord::new(0),
            quarantined: Atomic::new(0),
            _format: PhantomData,
        })
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

    fn tables(&self, gfp: Gfp) -> Tables {
        Tables {
            gfp,
            flush: self.flush,
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
            let served = Served {
                space: Space::new(self.last_iova, Slots::new()?).map_err(refused)?,
                reserved: KBox::pin_init(new_spinlock_irq!(KVec::new()), GFP_KERNEL)?,
            };
            self.served.set(KBox::new(served, GFP_KERNEL)?);
        }
        Ok(())
    }

    /// The space of addresses, if our DMA API serves a device of this domain.
    #[inline]
    pub(crate) fn space(&self) -> Option<&Space> {
        self.served.get().map(|s| &s.space)
    }

    /// Maps a range. Any context, with `Gfp::Atomic`.
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

    /// [`Self::map`] of one page, where that is quick. `false`: it is not, nothing is done.
    #[inline(always)]
    pub(crate) fn map_quickly(&self, iova: u64, oa: u64, len: u64, perm: Perm) -> bool {
        let tables = self.tables(Gfp::Atomic);
        len == PAGE_SIZE
            && !self.is_served()
            && self
                .near
                .map_page::<F, _>(&tables, Iova(iova), Oa(oa), perm)
    }

    /// [`Self::unmap`] of one page, where that is quick. `false`: it is not, nothing is done.
    #[inline(always)]
    pub(crate) fn unmap_quickly(&self, iova: u64, len: u64) -> bool {
        let tables = self.tables(Gfp::Atomic);
        len == PAGE_SIZE && !self.is_served() && self.near.unmap_page::<F, _>(&tables, Iova(iova))
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
        let (tables, iova) = (self.tables(Gfp::Atomic), Iova(iova));
        match self.is_served() {
            false => self
                .near
                .lookup::<F, _>(&tables, self.root, iova)
                .map(|oa| oa.0),
            // Its tables may go while nothing is mapped by them.
            true => pt::lookup::<F, _>(&tables, self.root, iova).map(|(oa, _, _)| oa.0),
        }
    }

    /// Does our DMA API serve a device of the domain?
    #[inline]
    fn is_served(&self) -> bool {
        self.served.get().is_some()
    }

    /// The table of single pages that an object's chunk has; made with all that leads to it when the
    /// chunk is first used.
    #[inline]
    pub(crate) fn leaf_table(&self, object: &Object<'_>) -> Result<TablePage> {
        match object.chunk.leaf() {
            0 => self.first_leaf_table(object.iova, object.chunk),
            leaf => Ok(self.tables(Gfp::Atomic).named(leaf)),
        }
    }

    #[cold]
    fn first_leaf_table(&self, iova: u64, chunk: &Chunk<Kernel>) -> Result<TablePage> {
        let tables = self.tables(Gfp::Atomic);
        let table =
            leaf::leaf_table::<F, _>(&tables, self.root, Iova(iova)).map_err(|e| errno(&e))?;
        chunk.set_leaf(tables.name(table));
        Ok(table)
    }

    /// Makes written items visible to units that do not look into the processor's caches.
    #[inline]
    pub(crate) fn written(&self, table: TablePage, item: usize, pages: usize) {
        self.tables(Gfp::Atomic).written(table, item, pages);
    }

    /// Fills items of a table. Not flushed: [`Self::written`] is.
    #[inline(always)]
    pub(crate) fn fill(&self, table: TablePage, item: usize, oa: u64, pages: usize, perm: Perm) {
        let tables = self.tables(Gfp::Atomic);
        if pages == 1 {
            return tables.store(table, item, F::leaf(Oa(oa), perm, PAGE_SHIFT));
        }
        self.fill_more(table, item, oa, pages, perm);
    }

    #[inline(never)]
    fn fill_more(&self, table: TablePage, item: usize, oa: u64, pages: usize, perm: Perm) {
        let tables = self.tables(Gfp::Atomic);
        leaf::fill::<F, _>(
            &tables,
            table,
            item,
            Oa(oa),
            pages,
            perm,
            self.root.page_sizes,
        );
    }

    /// Fills one page of an object, and makes it visible to all units.
    #[inline]
    pub(crate) fn fill_one(&self, table: TablePage, item: usize, oa: u64, perm: Perm) {
        let tables = self.tables(Gfp::Atomic);
        tables.store(table, item, F::leaf(Oa(oa), perm, PAGE_SHIFT));
        tables.written(table, item, 1);
    }

    /// Clears an object of one page.
    ///
    /// # Errors
    ///
    /// [`Mismatch::NotMapped`].
    #[inline]
    pub(crate) fn clear_one(&self, object: &Object<'_>) -> Result<(), Mismatch> {
        let tables = self.tables(Gfp::Atomic);
        let table = match object.chunk.leaf() {
            0 => return Err(Mismatch::NotMapped),
            leaf => tables.named(leaf),
        };
        let item = object.first_item();
        // ORDERING: the exchange is a barrier: the item is clear before anyone looks which units there
        // are to be told; pairs with `set_unit`.
        leaf::clear(&tables, table, item, 1).map_err(|_| Mismatch::NotMapped)?;
        tables.written(table, item, 1);
        Ok(())
    }

    /// Clears an object's pages; with `pages` all that was mapped at once. Returns their number.
    ///
    /// # Errors
    ///
    /// [`Mismatch`]; what is mapped stays mapped, but where only a part was to be unmapped.
    #[inline]
    pub(crate) fn clear(
        &self,
        object: &Object<'_>,
        pages: Option<usize>,
    ) -> Result<usize, Mismatch> {
        let tables = self.tables(Gfp::Atomic);
        let (first, room) = (object.first_item(), object.pages() as usize); // CAST: 256 at most.
        let table = match object.chunk.leaf() {
            0 => return Err(Mismatch::NotMapped),
            leaf => tables.named(leaf),
        };
        let count = match pages {
            Some(n) if n > room => return Err(Mismatch::Longer),
            Some(n) if n < room && tables.load(table, first + n) != 0 => {
                self.report_partial(object.iova, n);
                leaf::extent(&tables, table, first, room)
            }
            Some(n) => n,
            None => leaf::extent(&tables, table, first, room),
        };
        leaf::clear(&tables, table, first, count).map_err(|_| Mismatch::NotMapped)?;
        tables.written(table, first, count);
        if count > 1 {
            // ORDERING: as in `clear_one`, for the items after the first.
            smp_mb(Full);
        }
        Ok(count)
    }

    /// Says that a driver has unmapped less than it mapped. The rest goes, too.
    #[cold]
    pub(crate) fn report_partial(&self, iova: u64, pages: usize) {
        kernel::pr_warn_once!(
            "DMA API: {} pages unmapped at {:#x}, where more were mapped at once; all of them are unmapped\n",
            pages,
            iova
        );
    }

    /// Takes exact addresses for a mapping the core makes; what is reserved for it anyway is fine.
    pub(crate) fn claim(&self, range: Range) -> Result {
        match self.served.get() {
            Some(s) if !s.is_reserved(&range) => {
                s.space.claim(range).map_err(|e| match refused(e) {
                    ENOMEM if e == Refusal::Full => EEXIST,
                    e => e,
                })
            }
            _ => Ok(()),
        }
    }

    /// Gives a claim back, after the invalidation.
    pub(crate) fn unclaim(&self, range: Range) {
        if let Some(s) = self.served.get().filter(|s| !s.is_reserved(&range)) {
            s.space.unclaim(range);
        }
    }

    /// Keeps a range out of our allocations for good.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EBUSY` if some of it is in use.
    pub(crate) fn reserve(&self, range: Range) -> Result {
        self.serve()?;
        let served = self.served.get().ok_or(ENOMEM)?;
        let range = range.page_cover();
        if served.is_reserved(&range) {
            return Ok(());
        }
        let mut more = KVec::with_capacity(MAX_RESERVED, GFP_KERNEL)?;
        {
            let mut all = served.reserved.lock();
            if all.capacity() == 0 {
                core::mem::swap(&mut *all, &mut more);
            }
            all.push_within_capacity(range).map_err(|_| ENOMEM)?;
        }
        match served.space.reserve(range) {
            Ok(()) => Ok(()),
            Err(Refusal::Full) => self.reserve_pages(served, range),
            Err(e) => Err(refused(e)),
        }
    }

    /// Reserves what is free of a range; the rest has to be in another one that is reserved, or to be
    /// mapped to itself, as the core does with what firmware wants.
    #[cold]
    fn reserve_pages(&self, served: &Served, range: Range) -> Result {
        for page in (range.first()..=range.last()).step_by(PAGE_SIZE as usize) {
            let one = Range::with_len(page, PAGE_SIZE).ok_or(EINVAL)?;
            let taken = served.space.reserve(one).is_ok();
            if !taken && !served.overlaps_another(&one, &range) && self.lookup(page) != Some(page) {
                return Err(EBUSY);
            }
        }
        Ok(())
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

/// Writes translations piece by piece in ascending order, without a walk for each.
pub(crate) struct Writer<'a, F: Format> {
    domain: &'a PagingDomain<F>,
    tables: Tables,
    /// The table of single pages of `chunk`; what was written there and not flushed: first item, end.
    table: Option<TablePage>,
    chunk: u64,
    dirty: (usize, usize),
}

impl<'a, F: Format> Writer<'a, F> {
    /// A writer that does not know a table yet.
    pub(crate) fn new(domain: &'a PagingDomain<F>) -> Self {
        Self {
            domain,
            tables: domain.tables(Gfp::Atomic),
            table: None,
            chunk: u64::MAX,
            dirty: (0, 0),
        }
    }

    /// A writer into an object of a chunk.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    #[inline]
    pub(crate) fn to_object(domain: &'a PagingDomain<F>, object: &Object<'_>) -> Result<Self> {
        let first = object.first_item();
        Ok(Self {
            table: Some(domain.leaf_table(object)?),
            chunk: object.iova >> CHUNK_SHIFT,
            dirty: (first, first),
            ..Self::new(domain)
        })
    }

    /// Writes `pages` pages at `iova`, right after what was written last or in another chunk.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    #[inline]
    pub(crate) fn put(&mut self, iova: u64, phys: u64, pages: u64, perm: Perm) -> Result {
        // CAST: masked to 9 bits.
        let item = (iova >> PAGE_SHIFT) as usize & (ITEMS - 1);
        match self.table {
            Some(table) if pages == 1 && iova >> CHUNK_SHIFT == self.chunk => {
                self.tables
                    .store(table, item, F::leaf(Oa(phys), perm, PAGE_SHIFT));
                self.dirty.1 = item + 1;
                Ok(())
            }
            _ => self.put_more(iova, phys, pages, perm),
        }
    }

    #[inline(never)]
    fn put_more(&mut self, mut iova: u64, mut phys: u64, mut pages: u64, perm: Perm) -> Result {
        // CAST: 512.
        const CHUNK_PAGES: u64 = ITEMS as u64;
        while pages > 0 {
            let whole = (iova | phys) & (CHUNK_PAGES * PAGE_SIZE - 1) == 0 && pages >= CHUNK_PAGES;
            if whole {
                // Superpages, as far as they go.
                let n = pages - pages % CHUNK_PAGES;
                self.flush();
                self.domain
                    .map(iova, phys, n * PAGE_SIZE, perm, Gfp::Atomic)
                    .map_err(|e| map_errno(&e))?;
                (iova, phys, pages) = (iova + n * PAGE_SIZE, phys + n * PAGE_SIZE, pages - n);
                continue;
            }
            let table = self.table_of(iova)?;
            // CAST (all): at most 512.
            let item = (iova >> PAGE_SHIFT) as usize & (ITEMS - 1);
            let n = pages.min((ITEMS - item) as u64);
            self.domain.fill(table, item, phys, n as usize, perm);
            self.dirty.1 = item + n as usize;
            (iova, phys, pages) = (iova + n * PAGE_SIZE, phys + n * PAGE_SIZE, pages - n);
        }
        Ok(())
    }

    fn table_of(&mut self, iova: u64) -> Result<TablePage> {
        let chunk = iova >> CHUNK_SHIFT;
        if let Some(table) = self.table.filter(|_| chunk == self.chunk) {
            return Ok(table);
        }
        self.flush();
        let table = leaf::leaf_table::<F, _>(&self.tables, self.domain.root, Iova(iova))
            .map_err(|e| errno(&e))?;
        // CAST: masked to 9 bits.
        let item = (iova >> PAGE_SHIFT) as usize & (ITEMS - 1);
        (self.table, self.chunk, self.dirty) = (Some(table), chunk, (item, item));
        Ok(table)
    }

    /// Makes what was written visible to units that do not look into the processor's caches.
    #[inline]
    fn flush(&mut self) {
        let (first, end) = self.dirty;
        if let Some(table) = self.table.filter(|_| end > first) {
            self.tables.written(table, first, end - first);
        }
        self.dirty.0 = end;
    }
}

impl<F: Format> Drop for Writer<'_, F> {
    #[inline]
    fn drop(&mut self) {
        self.flush();
    }
}

impl<F: Format> Drop for PagingDomain<F> {
    fn drop(&mut self) {
        pt::free_all::<F, _>(&self.tables(Gfp::Atomic), self.root);
    }
}

impl Served {
    fn is_reserved(&self, range: &Range) -> bool {
        self.reserved.lock().iter().any(|r| r.contains(range))
    }

    /// Is a page in a reserved range other than this one, or the first?
    fn overlaps_another(&self, page: &Range, but: &Range) -> bool {
        let all = self.reserved.lock();
        page.first() < PAGE_SIZE || all.iter().any(|r| r != but && r.overlaps(page))
    }
}

/// An unmap that does not match a mapping.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mismatch {
    /// Nothing is mapped there, or not any more.
    NotMapped,
    /// More than was mapped at once.
    Longer,
    /// No such object.
    Wild(#[expect(dead_code, reason = "shown")] Wild),
}

/// The errno of a refusal.
pub(crate) fn refused(e: Refusal) -> Error {
    match e {
        Refusal::Full | Refusal::NoMemory => ENOMEM,
        Refusal::Impossible => EINVAL,
    }
}

/// The errno of a failed mapping.
pub(crate) fn map_errno(e: &MapFailure) -> Error {
    errno(&e.cause)
}

fn errno(e: &MapError) -> Error {
    match e {
        MapError::NoMemory => ENOMEM,
        MapError::AlreadyMapped(_) => EEXIST,
        MapError::BadRange => EINVAL,
    }
}
