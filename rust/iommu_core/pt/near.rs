// SPDX-License-Identifier: GPL-2.0

//! A cache of leaf tables, for callers that name addresses only: most calls of the IOMMU core are near
//! each other, and a walk costs more than all else.
//!
//! An entry is one word, the address bits above its chunk and the table's name, so that it is read
//! and replaced without a lock. Who takes a table out of the tree has all addresses that it could map, and
//! has it forgotten first.

use super::{
    index,
    last_iova,
    leaf,
    map,
    mask,
    unmap,
    Format,
    Item,
    MapError,
    MapFailure,
    Root,
    TableMem,
    Unmapped,
    ITEMS, //
};
use crate::{
    addr::{
        Iova,
        Oa,
        Perm,
        Range,
        PAGE_SHIFT,
        PAGE_SIZE, //
    },
    slab::{
        Env,
        Word, //
    },
};

/// Entries; one for each of so many neighbouring chunks.
const ENTRIES: usize = 64;
/// log2 of what a leaf table covers.
const CHUNK_SHIFT: u32 = 21;
/// log2 of what all entries cover.
const TAG_SHIFT: u32 = 27;
/// Bits of the page number in a table's name; the tag has the rest.
const PAGE_BITS: u32 = 40;

/// The cache of one tree.
pub struct Near<E: Env> {
    entries: [E::Word; ENTRIES],
}

impl<E: Env> Near<E> {
    /// An empty cache.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            entries: core::array::from_fn(|_| E::Word::new(0)),
        }
    }

    #[inline]
    fn entry(&self, iova: u64) -> &E::Word {
        let [first, ..] = &self.entries;
        // CAST: masked.
        let i = (iova >> CHUNK_SHIFT) as usize & (ENTRIES - 1);
        self.entries.get(i).unwrap_or(first)
    }

    /// The leaf table for an address, if it is known.
    #[inline]
    fn get<M: TableMem>(&self, mem: &M, iova: u64) -> Option<M::Table> {
        let word = self.entry(iova).load();
        let known = word != 0 && word >> PAGE_BITS == iova >> TAG_SHIFT;
        known.then(|| mem.named(Self::name(word)))
    }

    /// Tables whose names are no pages' addresses, or too long, are not cached.
    fn put(&self, iova: u64, name: u64) {
        let (tag, page) = (iova >> TAG_SHIFT, name >> PAGE_SHIFT & mask(PAGE_BITS));
        let word = tag << PAGE_BITS | page;
        if tag <= mask(64u32.wrapping_sub(PAGE_BITS)) && Self::name(word) == name {
            self.entry(iova).store(word);
        }
    }

    /// The name in a word: a page's number, and above it copies of its highest bit, as in addresses.
    #[inline]
    fn name(word: u64) -> u64 {
        let above = 64u32.wrapping_sub(PAGE_BITS);
        // CAST (both): to shift copies of the sign in, and back.
        (word.wrapping_shl(above) as i64).wrapping_shr(above.wrapping_sub(PAGE_SHIFT)) as u64
    }

    /// Forgets the leaf table for an address, which is about to go. All that it could map is the caller's.
    pub fn forget(&self, iova: Iova) {
        let entry = self.entry(iova.0);
        let word = entry.load();
        if word >> PAGE_BITS == iova.0 >> TAG_SHIFT {
            // Else it is another chunk's by now.
            let _ = entry.cas(word, 0);
        }
    }

    /// Does the range lie in what one leaf table covers? Then its first item and their number.
    #[inline]
    fn items(iova: u64, len: u64) -> Option<(usize, usize)> {
        let first = index(iova, 0);
        // CAST: more than a table has stays more.
        let count = (len >> PAGE_SHIFT) as usize;
        let fits = (iova | len) & (PAGE_SIZE - 1) == 0
            && count.wrapping_sub(1) < ITEMS.wrapping_sub(first);
        fits.then_some((first, count))
    }

    /// [`Near::items`] of a range that does not fill a table: what does might be one large page.
    #[inline]
    fn items_of_part(iova: u64, len: u64) -> Option<(usize, usize)> {
        Self::items(iova, len).filter(|(_, count)| *count < ITEMS)
    }

    /// [`Near::map`] of one page whose table is known; `false`: it is not, or something is mapped there.
    #[inline(always)]
    pub fn map_page<F: Format, M: TableMem>(
        &self,
        mem: &M,
        iova: Iova,
        oa: Oa,
        perm: Perm,
    ) -> bool {
        let Some(table) = self.get(mem, iova.0) else {
            return false;
        };
        let item = index(iova.0, 0);
        if (iova.0 | oa.0) & (PAGE_SIZE - 1) != 0 || mem.load(table, item) != 0 {
            return false;
        }
        mem.store(table, item, F::leaf(oa, perm, PAGE_SHIFT));
        mem.written(table, item, 1);
        true
    }

    /// [`Near::unmap`] of one page whose table is known; `false`: it is not, or no single page is there.
    #[inline(always)]
    pub fn unmap_page<F: Format, M: TableMem>(&self, mem: &M, iova: Iova) -> bool {
        let Some(table) = self.get(mem, iova.0) else {
            return false;
        };
        let item = index(iova.0, 0);
        let single = match F::decode(mem.load(table, item), 0) {
            Item::Leaf { lg2, .. } => lg2 == PAGE_SHIFT,
            _ => false,
        };
        if iova.0 & (PAGE_SIZE - 1) != 0 || !single {
            return false;
        }
        mem.store(table, item, 0);
        mem.written(table, item, 1);
        true
    }

    /// [`super::map_large()`].
    ///
    /// # Errors
    ///
    /// As there.
    #[inline]
    pub fn map<F: Format, M: TableMem>(
        &self,
        mem: &M,
        root: Root<M::Table>,
        iova: Iova,
        oa: Oa,
        len_bytes: u64,
        perm: Perm,
    ) -> Result<(), MapFailure> {
        let items = Self::items_of_part(iova.0, len_bytes);
        if let (Some((first, count)), 0) = (items, oa.0 & (PAGE_SIZE - 1)) {
            if let Some(table) = self.get(mem, iova.0) {
                return Self::fill::<F, M>(
                    mem,
                    table,
                    (first, count),
                    iova,
                    oa,
                    perm,
                    root.page_sizes,
                );
            }
        }
        self.map_far::<F, M>(mem, root, iova, oa, len_bytes, perm)
    }

    #[inline]
    fn fill<F: Format, M: TableMem>(
        mem: &M,
        table: M::Table,
        (first, count): (usize, usize),
        iova: Iova,
        oa: Oa,
        perm: Perm,
        page_sizes: u64,
    ) -> Result<(), MapFailure> {
        for i in 0..count {
            if mem.load(table, first.wrapping_add(i)) != 0 {
                // CAST: below a table's size.
                let at = iova.0.wrapping_add((i as u64) << PAGE_SHIFT);
                return Err(MapFailure {
                    mapped_bytes: 0,
                    cause: MapError::AlreadyMapped(Iova(at)),
                });
            }
        }
        leaf::fill::<F, M>(mem, table, first, oa, count, perm, page_sizes);
        mem.written(table, first, count);
        Ok(())
    }

    /// [`Near::map`] where the table is not known.
    #[cold]
    fn map_far<F: Format, M: TableMem>(
        &self,
        mem: &M,
        root: Root<M::Table>,
        iova: Iova,
        oa: Oa,
        len_bytes: u64,
        perm: Perm,
    ) -> Result<(), MapFailure> {
        let single = Self::items_of_part(iova.0, len_bytes);
        let inside = iova.0 <= last_iova(root.level.saturating_add(1));
        if let (Some(items), true, 0) = (single, inside, oa.0 & (PAGE_SIZE - 1)) {
            if let Ok(table) = leaf::leaf_table::<F, M>(mem, root, iova) {
                self.put(iova.0, mem.name(table));
                return Self::fill::<F, M>(mem, table, items, iova, oa, perm, root.page_sizes);
            }
        }
        map::map_large::<F, M>(mem, root, iova, oa, len_bytes, perm)
    }

    /// [`super::unmap()`].
    #[inline]
    pub fn unmap<F: Format, M: TableMem>(
        &self,
        mem: &M,
        root: Root<M::Table>,
        iova: Iova,
        len_bytes: u64,
    ) -> Unmapped {
        if let Some((first, count)) = Self::items(iova.0, len_bytes) {
            if let Some(table) = self.get(mem, iova.0) {
                if Self::clear::<F, M>(mem, table, first, count) {
                    return Unmapped {
                        bytes: len_bytes,
                        cleared: Range::with_len(iova.0, len_bytes),
                    };
                }
            }
        }
        unmap::unmap::<F, M>(mem, root, iova, len_bytes)
    }

    /// Clears items, if all are mapped and no entry sticks out; else changes nothing.
    #[inline]
    fn clear<F: Format, M: TableMem>(mem: &M, table: M::Table, first: usize, count: usize) -> bool {
        let mut i = 0usize;
        while i < count {
            let item = first.wrapping_add(i);
            let Item::Leaf { lg2, .. } = F::decode(mem.load(table, item), 0) else {
                return false;
            };
            let items = 1usize << (lg2.wrapping_sub(PAGE_SHIFT) & 15);
            if item & items.wrapping_sub(1) != 0 {
                return false;
            }
            i = i.wrapping_add(items);
        }
        if i != count {
            return false;
        }
        mem.zero(table, first, count);
        mem.written(table, first, count);
        true
    }

    /// [`super::lookup`] where the table is known, the address only; [`None`] does not say that there is
    /// nothing.
    #[inline]
    pub fn lookup<F: Format, M: TableMem>(&self, mem: &M, iova: Iova) -> Option<Oa> {
        let table = self.get(mem, iova.0)?;
        match F::decode(mem.load(table, index(iova.0, 0)), 0) {
            Item::Leaf { oa, lg2, .. } => Some(Oa(oa.0 | iova.0 & mask(lg2))),
            _ => None,
        }
    }
}
