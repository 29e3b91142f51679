// SPDX-License-Identifier: GPL-2.0

//! Leaf tables without a walk: for callers that know the table, and own the items they write.

use super::{
    map::{
        best_size,
        descend, //
    },
    mask,
    Format,
    MapError,
    Root,
    TableMem,
    ITEMS, //
};
use crate::addr::{
    Iova,
    Oa,
    Perm,
    PAGE_SHIFT,
    PAGE_SIZE, //
};

/// The table of single pages for `iova`, with all that leads to it made and visible to every unit.
///
/// # Errors
///
/// [`MapError::NoMemory`]; [`MapError::AlreadyMapped`] where a larger page is.
pub fn leaf_table<F: Format, M: TableMem>(
    mem: &M,
    root: Root<M::Table>,
    iova: Iova,
) -> Result<M::Table, MapError> {
    descend::<F, M>(mem, root, iova.0, 0)
}

/// Fills `count` empty items from `first` on with pages from `oa` on. Not told to units that do not
/// look into the processor's caches: the caller does, once for all it writes.
///
/// Sizes that cover several items are used where the format has them.
#[inline]
pub fn fill<F: Format, M: TableMem>(
    mem: &M,
    table: M::Table,
    first: usize,
    oa: Oa,
    count: usize,
    perm: Perm,
    page_sizes: u64,
) {
    // What fits into items of this level.
    let sizes = page_sizes & mask(PAGE_SHIFT.wrapping_add(9));
    if count == 1 || sizes & sizes.wrapping_sub(1) == 0 {
        let mut at = oa.0;
        for i in 0..count {
            mem.store(
                table,
                first.wrapping_add(i) & (ITEMS - 1),
                F::leaf(Oa(at), perm, PAGE_SHIFT),
            );
            at = at.wrapping_add(PAGE_SIZE);
        }
        return;
    }
    let mut done = 0usize;
    while done < count {
        // CAST (all): below 2 MiB.
        let item = first.wrapping_add(done);
        let at = oa.0.wrapping_add((done as u64) << PAGE_SHIFT);
        let left = (count.wrapping_sub(done) as u64) << PAGE_SHIFT;
        let lg2 = best_size(sizes, (item as u64) << PAGE_SHIFT, at, left, 20);
        let word = F::leaf(Oa(at), perm, lg2);
        let items = 1usize << (lg2.wrapping_sub(PAGE_SHIFT) & 15);
        for i in 0..items {
            mem.store(table, item.wrapping_add(i) & (ITEMS - 1), word);
        }
        done = done.wrapping_add(items);
    }
}

/// Why [`clear`] did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotMapped;

/// Clears `count` items from `first` on; the first is what says that there is a mapping, and of calls
/// that run into each other one wins.
///
/// # Errors
///
/// [`NotMapped`]: the first item is empty; nothing was changed.
#[inline]
pub fn clear<M: TableMem>(
    mem: &M,
    table: M::Table,
    first: usize,
    count: usize,
) -> Result<(), NotMapped> {
    if mem.swap(table, first, 0) == 0 {
        return Err(NotMapped);
    }
    if count > 1 {
        // The first once more: a round number of items costs less.
        mem.zero(table, first, count);
    }
    Ok(())
}

/// Items from `first` on up to the last of `room` that is not empty; the first counts in any case.
#[inline]
pub fn extent<M: TableMem>(mem: &M, table: M::Table, first: usize, room: usize) -> usize {
    let mut n = room;
    while n > 1 && mem.load(table, first.wrapping_add(n).wrapping_sub(1) & (ITEMS - 1)) == 0 {
        n = n.wrapping_sub(1);
    }
    n
}

/// Takes the table of single pages for `iova` out of the tree. The caller frees it once every unit has
/// been told to forget what leads to it; nobody may use its addresses meanwhile.
pub fn detach<F: Format, M: TableMem>(
    mem: &M,
    root: Root<M::Table>,
    iova: Iova,
) -> Option<M::Table> {
    detach_if::<F, M>(mem, root, iova, |_| true)
}

/// [`detach`] of a table that has no mappings. All that it could map is the caller's.
pub fn detach_empty<F: Format, M: TableMem>(
    mem: &M,
    root: Root<M::Table>,
    iova: Iova,
) -> Option<M::Table> {
    let is_empty = |table| (0..ITEMS).all(|item| mem.load(table, item) == 0);
    detach_if::<F, M>(mem, root, iova, is_empty)
}

fn detach_if<F: Format, M: TableMem>(
    mem: &M,
    root: Root<M::Table>,
    iova: Iova,
    goes: impl Fn(M::Table) -> bool,
) -> Option<M::Table> {
    let parent = descend_existing::<F, M>(mem, root, iova.0)?;
    let index = super::index(iova.0, 1);
    let word = mem.load(parent, index);
    let super::Item::Table(oa) = F::decode(word, 1) else {
        return None;
    };
    let table = mem.table_at(oa);
    if !goes(table) {
        return None;
    }
    mem.cmpxchg(parent, index, word, 0).ok()?;
    mem.written(parent, index, 1);
    Some(table)
}

/// The table of level 1 for an address, if there is one.
fn descend_existing<F: Format, M: TableMem>(
    mem: &M,
    root: Root<M::Table>,
    iova: u64,
) -> Option<M::Table> {
    let (mut table, mut level) = (root.table, root.level);
    while level > 1 {
        match F::decode(mem.load(table, super::index(iova, level)), level) {
            super::Item::Table(oa) => table = mem.table_at(oa),
            _ => return None,
        }
        level = level.wrapping_sub(1);
    }
    (level == 1).then_some(table)
}
