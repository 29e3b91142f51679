// SPDX-License-Identifier: GPL-2.0

//! Mapping a range.

use super::{
    index,
    item_lg2,
    last_iova,
    mask,
    written::Written,
    Format,
    Item,
    Root,
    TableMem,
    ITEMS,
    ITEMS_LG2, //
};
use crate::addr::{
    Iova,
    Oa,
    Perm,
    PAGE_SHIFT, //
};

/// Why a range was not mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// No memory for a table.
    NoMemory,
    /// Something is mapped there already.
    AlreadyMapped(Iova),
    /// A table of smaller pages is where a page of this size would go. Only from [`map_large`].
    Table(Iova),
    /// Unaligned, empty, or beyond what the root translates.
    BadRange,
}

/// A failed [`map`]; `mapped_bytes` from the start are mapped all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapFailure {
    /// Bytes that were mapped before the failure.
    pub mapped_bytes: u64,
    /// What went wrong.
    pub cause: MapError,
}

/// The largest page size, at most `1 << cap` bytes, for the addresses and the length left.
#[inline]
pub(super) fn best_size(page_sizes: u64, iova: u64, oa: u64, left: u64, cap: u32) -> u32 {
    let aligned = (iova | oa).trailing_zeros();
    let fits = 63u32.saturating_sub(left.leading_zeros());
    let most = aligned.min(fits).min(cap).min(63);
    let sizes = page_sizes & (mask(most) | (1u64 << most));
    63u32.saturating_sub(sizes.leading_zeros()).max(PAGE_SHIFT)
}

/// The single pages to write before a larger one may be next.
#[inline]
fn singles(page_sizes: u64, iova: u64, oa: u64, left: u64) -> usize {
    let larger = page_sizes & !mask(PAGE_SHIFT.wrapping_add(1));
    let next = larger.trailing_zeros().min(63);
    let pages = left >> PAGE_SHIFT;
    let to_boundary = if larger == 0 || (iova ^ oa) & mask(next) != 0 {
        // The two never get aligned together.
        pages
    } else {
        ((iova | mask(next)).wrapping_sub(iova) >> PAGE_SHIFT).wrapping_add(1)
    };
    // CAST: callers cut it to a table.
    pages.min(to_boundary.max(1)).min(1 << 20) as usize
}

/// Maps `len_bytes` bytes at `iova` to `oa` with the largest pages that fit, and that no table is in the
/// way of. Everything is in whole base pages.
///
/// # Errors
///
/// [`MapFailure`] says how much was mapped; the caller unmaps it if it wants nothing.
#[inline]
pub fn map<F: Format, M: TableMem>(
    mem: &M,
    root: Root<M::Table>,
    iova: Iova,
    oa: Oa,
    len_bytes: u64,
    perm: Perm,
) -> Result<(), MapFailure> {
    map_with::<F, M, false>(mem, root, iova, oa, len_bytes, perm)
}

/// [`map`] that stops at a leaf table in the way ([`MapError::Table`]). Nothing can be mapped by that table,
/// or the range is not the caller's; so the caller takes it out of the tree and goes on.
///
/// # Errors
///
/// As for [`map`].
pub fn map_large<F: Format, M: TableMem>(
    mem: &M,
    root: Root<M::Table>,
    iova: Iova,
    oa: Oa,
    len_bytes: u64,
    perm: Perm,
) -> Result<(), MapFailure> {
    map_with::<F, M, true>(mem, root, iova, oa, len_bytes, perm)
}

#[inline]
fn map_with<F: Format, M: TableMem, const STOP: bool>(
    mem: &M,
    root: Root<M::Table>,
    iova: Iova,
    oa: Oa,
    len_bytes: u64,
    perm: Perm,
) -> Result<(), MapFailure> {
    let fail = |mapped_bytes, cause| {
        Err(MapFailure {
            mapped_bytes,
            cause,
        })
    };
    let top = last_iova(root.level.saturating_add(1));
    let last = match iova.0.checked_add(len_bytes.wrapping_sub(1)) {
        Some(last) if len_bytes != 0 && last <= top => last,
        _ => return fail(0, MapError::BadRange),
    };
    if (iova.0 | oa.0 | len_bytes) & mask(PAGE_SHIFT) != 0 || oa.0.checked_add(len_bytes).is_none()
    {
        return fail(0, MapError::BadRange);
    }
    let top_lg2 = item_lg2(root.level)
        .saturating_add(ITEMS_LG2)
        .saturating_sub(1);
    let mut done = 0u64;
    let mut cap = top_lg2;
    // The table that the last entry went to, and the range it covers.
    let mut near: Option<(M::Table, u8, u64)> = None;
    let mut written = Written::new(mem);
    while done < len_bytes {
        let at = iova.0.wrapping_add(done);
        let left = last.wrapping_sub(at).wrapping_add(1);
        let lg2 = best_size(root.page_sizes, at, oa.0.wrapping_add(done), left, cap);
        // CAST: at most 5.
        let level = (lg2.wrapping_sub(PAGE_SHIFT) / ITEMS_LG2) as u8;
        let prefix = at >> item_lg2(level).saturating_add(ITEMS_LG2).min(63);
        let table = match near {
            Some((table, l, p)) if l == level && p == prefix => table,
            _ => match descend::<F, M>(mem, root, at, level) {
                Ok(table) => table,
                Err(cause) => return fail(done, cause),
            },
        };
        near = Some((table, level, prefix));
        let first = index(at, level);
        if lg2 == PAGE_SHIFT {
            // All single pages in a row, up to where a larger one may fit.
            let oa = oa.0.wrapping_add(done);
            let most = singles(root.page_sizes, at, oa, left);
            let mut n = 0usize;
            while n < most && first.wrapping_add(n) < ITEMS {
                // CAST: below 2 MiB.
                let page = Oa(oa.wrapping_add((n as u64) << PAGE_SHIFT));
                if mem.load(table, first.wrapping_add(n)) != 0 {
                    written.add(table, first, n);
                    let bytes = (n as u64) << PAGE_SHIFT; // CAST: below 2 MiB.
                    let at = Iova(at.wrapping_add(bytes));
                    return fail(done.wrapping_add(bytes), MapError::AlreadyMapped(at));
                }
                mem.store(
                    table,
                    first.wrapping_add(n),
                    F::leaf(page, perm, PAGE_SHIFT),
                );
                n = n.wrapping_add(1);
            }
            written.add(table, first, n);
            done = done.saturating_add((n as u64) << PAGE_SHIFT); // CAST: below 2 MiB.
            cap = top_lg2;
            continue;
        }
        let items = 1usize
            << lg2
                .wrapping_sub(item_lg2(level))
                .min(ITEMS_LG2.wrapping_sub(1));
        match occupied::<F, M>(mem, table, level, first, items) {
            Item::Empty => {}
            Item::Table(_) if STOP && level == 1 && items == 1 => {
                return fail(done, MapError::Table(Iova(at)))
            }
            // A table is in the way: fill it with pages that are smaller than one of its items.
            Item::Table(_) if lg2 > PAGE_SHIFT => {
                cap = if items > 1 {
                    item_lg2(level)
                } else {
                    item_lg2(level).wrapping_sub(1)
                };
                continue;
            }
            _ => return fail(done, MapError::AlreadyMapped(Iova(at))),
        }
        let word = F::leaf(Oa(oa.0.wrapping_add(done)), perm, lg2);
        for i in 0..items {
            mem.store(table, first.wrapping_add(i) & (ITEMS.wrapping_sub(1)), word);
        }
        written.add(table, first, items);
        done = done.saturating_add(1u64 << lg2.min(63));
        cap = top_lg2;
    }
    Ok(())
}

/// The first thing found in a run of items.
#[inline]
fn occupied<F: Format, M: TableMem>(
    mem: &M,
    table: M::Table,
    level: u8,
    first: usize,
    items: usize,
) -> Item {
    for i in 0..items {
        let word = mem.load(table, first.wrapping_add(i) & (ITEMS.wrapping_sub(1)));
        let item = F::decode(word, level);
        if item != Item::Empty {
            return item;
        }
    }
    Item::Empty
}

/// Walks to the table of `level` for `iova` and makes what is missing on the way. When it returns,
/// every unit sees all of it: what another CPU has just put there may not have reached memory yet.
#[inline]
pub(super) fn descend<F: Format, M: TableMem>(
    mem: &M,
    root: Root<M::Table>,
    iova: u64,
    level: u8,
) -> Result<M::Table, MapError> {
    let mut table = root.table;
    let mut at = root.level;
    while at > level {
        let i = index(iova, at);
        let word = mem.load(table, i);
        let below = at.wrapping_sub(1);
        let next = match F::decode(word, at) {
            Item::Table(oa) => {
                mem.written(table, i, 1);
                mem.table_at(oa)
            }
            Item::Leaf { .. } => return Err(MapError::AlreadyMapped(Iova(iova))),
            Item::Empty => {
                let new = mem.alloc().ok_or(MapError::NoMemory)?;
                mem.written(new, 0, ITEMS);
                // ORDERING: the zeroed table is visible before the item that points to it; pairs
                // with the hardware walk and with `load` of other CPUs.
                match mem.cmpxchg(table, i, word, F::table(mem.oa(new), below)) {
                    Ok(()) => {
                        mem.written(table, i, 1);
                        new
                    }
                    Err(theirs) => {
                        // Another CPU was first; ours was never visible.
                        mem.free(new);
                        match F::decode(theirs, at) {
                            Item::Table(oa) => {
                                mem.written(table, i, 1);
                                mem.table_at(oa)
                            }
                            _ => return Err(MapError::AlreadyMapped(Iova(iova))),
                        }
                    }
                }
            }
        };
        table = next;
        at = below;
    }
    Ok(table)
}
