// SPDX-License-Identifier: GPL-2.0

//! Translations of a domain whose DMA API we serve: written into leaf tables that the addresses lead to,
//! without a walk.

use iommu_core::{
    addr::{
        Iova,
        Oa,
        Perm,
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    pt::{
        leaf,
        Format,
        TableMem,
        ITEMS, //
    },
    slab::{
        Chunk,
        Wild,
        CHUNK_SHIFT, //
    }, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Full,
        barrier::smp_mb, //
    }, //
};
use kernel_iommu::{
    hw_pages::Gfp,
    iommu::table::TablePage, //
};

use crate::{
    addresses::Object,
    domain::{
        errno,
        map_errno,
        PagingDomain, //
    },
    glue::{
        Kernel,
        Tables, //
    }, //
};

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

impl<F: Format> PagingDomain<F> {
    /// The table of single pages of an object's chunk, if it has been used.
    #[inline(always)]
    pub(crate) fn known_leaf_table(&self, object: &Object<'_>) -> Option<TablePage> {
        match object.chunk.leaf() {
            0 => None,
            leaf => Some(self.tables(Gfp::Atomic).named(leaf)),
        }
    }

    /// The table of single pages that an object's chunk has; made with all that leads to it when the
    /// chunk is first used.
    #[inline]
    pub(crate) fn leaf_table(&self, object: &Object<'_>) -> Result<TablePage> {
        match self.known_leaf_table(object) {
            Some(table) => Ok(table),
            None => self.first_leaf_table(object.iova, object.chunk),
        }
    }

    #[cold]
    fn first_leaf_table(&self, iova: u64, chunk: &Chunk<Kernel>) -> Result<TablePage> {
        let tables = self.tables_at_hand();
        let table =
            leaf::leaf_table::<F, _>(&tables, self.root, Iova(iova)).map_err(|e| errno(&e))?;
        chunk.set_leaf(tables.name(table));
        self.top_up(iova);
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
    #[inline(always)]
    pub(crate) fn clear_one(&self, object: &Object<'_>) -> Result<(), Mismatch> {
        let table = self.known_leaf_table(object).ok_or(Mismatch::NotMapped)?;
        // ORDERING: the exchange is a barrier: the item is clear before anyone looks which units there
        // are to be told; pairs with `set_unit`.
        self.clear_first(table, object.first_item(), 1)?;
        Ok(())
    }

    /// Clears all pages of an object that were mapped at once. Returns their number.
    ///
    /// # Errors
    ///
    /// [`Mismatch::NotMapped`].
    #[inline(always)]
    pub(crate) fn clear_all(&self, object: &Object<'_>) -> Result<usize, Mismatch> {
        let tables = self.tables(Gfp::Atomic);
        let table = self.known_leaf_table(object).ok_or(Mismatch::NotMapped)?;
        // CAST: 256 at most.
        let (first, room) = (object.first_item(), object.pages() as usize);
        let count = leaf::extent(&tables, table, first, room);
        self.clear_first(table, first, count)
    }

    /// Clears an object's first `pages` pages, and the others, too, if more were mapped at once. Returns
    /// their number.
    ///
    /// # Errors
    ///
    /// [`Mismatch`]; what is mapped stays mapped.
    #[inline]
    pub(crate) fn clear(&self, object: &Object<'_>, pages: usize) -> Result<usize, Mismatch> {
        let tables = self.tables(Gfp::Atomic);
        let table = self.known_leaf_table(object).ok_or(Mismatch::NotMapped)?;
        // CAST: 256 at most.
        let (first, room) = (object.first_item(), object.pages() as usize);
        if pages > room {
            return Err(Mismatch::Longer);
        }
        if pages < room && tables.load(table, first + pages) != 0 {
            self.report_partial(object.iova, pages);
            return self.clear_all(object);
        }
        self.clear_first(table, first, pages)
    }

    #[inline(always)]
    fn clear_first(&self, table: TablePage, first: usize, count: usize) -> Result<usize, Mismatch> {
        let tables = self.tables(Gfp::Atomic);
        leaf::clear(&tables, table, first, count).map_err(|_| Mismatch::NotMapped)?;
        tables.written(table, first, count);
        if count > 1 {
            // ORDERING: as in `clear_one`, for the items after the first.
            smp_mb(Full);
        }
        Ok(count)
    }

    /// Takes the leaf table of a chunk that is nobody's out of the tree. It is freed once every unit has
    /// forgotten it.
    pub(crate) fn detach(&self, chunk: u32) -> Option<TablePage> {
        let iova = Iova(u64::from(chunk) << CHUNK_SHIFT);
        leaf::detach::<F, _>(&self.tables(Gfp::Atomic), self.root, iova)
    }

    /// Frees a table from [`Self::detach`], which is empty; or keeps it for the next that need one.
    pub(crate) fn free_table(&self, table: TablePage, keep: bool) {
        let tables = self.tables(Gfp::Atomic);
        if !keep || !self.reserve.put(tables.name(table)) {
            tables.free(table);
        }
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
}

/// Writes translations piece by piece in ascending order, without a walk for each.
pub(crate) struct Writer<'a, F: Format> {
    domain: &'a PagingDomain<F>,
    tables: Tables<'a>,
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
            tables: domain.tables_at_hand(),
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
        self.domain.top_up(iova);
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
