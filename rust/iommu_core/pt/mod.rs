// SPDX-License-Identifier: GPL-2.0

//! Page tables: one generic algorithm over a format and over table memory.
//!
//! Tables only grow: [`map`] installs lower tables with compare-and-exchange and [`unmap`] clears
//! leaves, but a table that hardware has seen stays until its whole domain is torn down, or until
//! [`leaf::detach`] takes it out where nothing is mapped. So unmapping invalidates leaves only. Where
//! a table already is, a superpage is not put in its place; smaller pages fill it instead.
//!
//! Callers may run in parallel on disjoint ranges, without a lock.

pub mod leaf;
mod map;
pub mod near;
mod unmap;
mod written;

pub mod amd_v1;
pub mod vtd_ss;
pub mod x86;

pub use map::{
    map,
    map_large,
    MapError,
    MapFailure, //
};
pub use unmap::{
    unmap,
    Unmapped, //
};

use crate::addr::{
    Iova,
    Oa,
    Perm,
    PAGE_SHIFT, //
};

/// log2 of the items of a table.
pub const ITEMS_LG2: u32 = 9;
/// Items of a table.
pub const ITEMS: usize = 1 << ITEMS_LG2;

/// Memory that tables live in.
pub trait TableMem {
    /// Names a table; cheap to copy.
    type Table: Copy;

    /// Makes a table whose items are all zero, visible as such before the name is used.
    fn alloc(&self) -> Option<Self::Table>;
    /// Takes back a table that nothing refers to and no unit has seen or can have cached.
    fn free(&self, table: Self::Table);
    /// The address to put into an item.
    fn oa(&self, table: Self::Table) -> Oa;
    /// The table that an item with this address refers to.
    fn table_at(&self, oa: Oa) -> Self::Table;
    /// A word that names a table, not zero.
    fn name(&self, table: Self::Table) -> u64;
    /// The table that a word from [`TableMem::name`] names.
    fn named(&self, name: u64) -> Self::Table;
    /// Reads an item. `index` is below [`ITEMS`].
    fn load(&self, table: Self::Table, index: usize) -> u64;
    /// Writes an item with one store.
    fn store(&self, table: Self::Table, index: usize, word: u64);
    /// Writes zero to `count` items from `first` on, each with one store.
    #[inline]
    fn zero(&self, table: Self::Table, first: usize, count: usize) {
        for i in 0..count {
            self.store(table, first.wrapping_add(i) & (ITEMS - 1), 0);
        }
    }
    /// Replaces `old` by `new`, or returns what is there. Earlier writes are visible first.
    fn cmpxchg(&self, table: Self::Table, index: usize, old: u64, new: u64) -> Result<(), u64>;
    /// Writes an item and returns what was there. Fully ordered.
    fn swap(&self, table: Self::Table, index: usize, word: u64) -> u64;
    /// `count` items from `first` on were written: units that do not look into the processor's
    /// caches see them before this returns. Nothing to do where all do.
    #[inline]
    fn written(&self, _table: Self::Table, _first: usize, _count: usize) {}
}

/// What an item says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// Nothing is mapped.
    Empty,
    /// A translation of `1 << lg2` bytes; several equal items where that is more than one covers.
    Leaf {
        /// First byte of the page.
        oa: Oa,
        /// log2 of the page size in bytes.
        lg2: u32,
        /// What devices may do.
        perm: Perm,
    },
    /// The next lower table.
    Table(Oa),
}

/// Layout of a page-table format. Levels count from 0, the level of leaves only.
pub trait Format {
    /// Bitmap of page sizes: bit n stands for `1 << n` bytes. A unit may have fewer.
    const PAGE_SIZES: u64;

    /// Encodes a leaf of `1 << lg2` bytes; `oa` is aligned to it.
    fn leaf(oa: Oa, perm: Perm, lg2: u32) -> u64;
    /// Encodes a pointer to a table of `child_level`.
    fn table(oa: Oa, child_level: u8) -> u64;
    /// Decodes an item of a table of `level`.
    fn decode(word: u64, level: u8) -> Item;
}

/// log2 of the bytes that one item of `level` covers.
#[inline]
pub const fn item_lg2(level: u8) -> u32 {
    // CAST: u8 to u32 never loses a bit.
    PAGE_SHIFT.wrapping_add(ITEMS_LG2.wrapping_mul(level as u32))
}

/// Index of the item for `iova` in its table of `level`.
#[inline]
pub(crate) const fn index(iova: u64, level: u8) -> usize {
    let shift = item_lg2(level);
    if shift >= u64::BITS {
        return 0;
    }
    // CAST: masked to 9 bits.
    ((iova >> shift) as usize) & (ITEMS.wrapping_sub(1))
}

/// The highest IOVA that a table with `levels` levels translates.
pub const fn last_iova(levels: u8) -> u64 {
    let bits = item_lg2(levels);
    if bits >= u64::BITS {
        u64::MAX
    } else {
        (1u64 << bits).wrapping_sub(1)
    }
}

/// A root: the top table and its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root<T> {
    /// The top table.
    pub table: T,
    /// Its level: one less than the number of levels.
    pub level: u8,
    /// The page sizes to use, all of them the format's.
    pub page_sizes: u64,
}

/// Looks up an IOVA: the output address, the permissions and the page size.
#[inline]
pub fn lookup<F: Format, M: TableMem>(
    mem: &M,
    root: Root<M::Table>,
    iova: Iova,
) -> Option<(Oa, Perm, u32)> {
    if iova.0 > last_iova(root.level.saturating_add(1)) {
        return None;
    }
    let mut table = root.table;
    let mut level = root.level;
    loop {
        match F::decode(mem.load(table, index(iova.0, level)), level) {
            Item::Empty => return None,
            Item::Leaf { oa, lg2, perm } => {
                let offset = iova.0 & mask(lg2);
                return Some((Oa(oa.0 | offset), perm, lg2));
            }
            Item::Table(oa) => {
                level = level.checked_sub(1)?;
                table = mem.table_at(oa);
            }
        }
    }
}

/// Gives back a whole tree. No unit may use it any more.
pub fn free_all<F: Format, M: TableMem>(mem: &M, root: Root<M::Table>) {
    // The depth is bounded by the levels of a format, six at most.
    if let Some(below) = root.level.checked_sub(1) {
        for i in 0..ITEMS {
            if let Item::Table(oa) = F::decode(mem.load(root.table, i), root.level) {
                free_all::<F, M>(
                    mem,
                    Root {
                        table: mem.table_at(oa),
                        level: below,
                        ..root
                    },
                );
            }
        }
    }
    mem.free(root.table);
}

/// The low `lg2` bits.
#[inline]
pub(crate) const fn mask(lg2: u32) -> u64 {
    if lg2 >= u64::BITS {
        u64::MAX
    } else {
        (1u64 << lg2).wrapping_sub(1)
    }
}

#[cfg(test)]
mod tests;
