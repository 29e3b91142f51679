// SPDX-License-Identifier: GPL-2.0

//! Unmapping a range.

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
    Range,
    PAGE_SHIFT,
    PAGE_SIZE, //
};

/// What [`unmap`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmapped {
    /// Bytes from the start that are not mapped any more; more than asked for if the last entry
    /// was larger than the range.
    pub bytes: u64,
    /// What was cleared: this has to be invalidated, not what was asked for.
    pub cleared: Option<Range>,
}

/// Clears the entries of `len_bytes` bytes at `iova`, up to the first hole. An entry is cleared
/// whole, never split.
#[inline]
pub fn unmap<F: Format, M: TableMem>(
    mem: &M,
    root: Root<M::Table>,
    iova: Iova,
    len_bytes: u64,
) -> Unmapped {
    let mut bytes = 0u64;
    let mut cleared: Option<(u64, u64)> = None;
    let top = last_iova(root.level.saturating_add(1));
    // The table the last entry was in: (table, level, iova bits above it).
    let mut near: Option<(M::Table, u8, u64)> = None;
    let mut written = Written::new(mem);
    while bytes < len_bytes {
        let at = match iova.0.checked_add(bytes) {
            Some(at) if at <= top => at,
            _ => break,
        };
        let (mut table, mut level) = match near {
            Some((table, level, prefix)) if at >> span_lg2(level) == prefix => (table, level),
            _ => (root.table, root.level),
        };
        let leaf = loop {
            match F::decode(mem.load(table, index(at, level)), level) {
                Item::Empty => break None,
                Item::Leaf { lg2, .. } => break Some(lg2),
                Item::Table(oa) => match level.checked_sub(1) {
                    Some(below) => {
                        level = below;
                        table = mem.table_at(oa);
                    }
                    None => break None,
                },
            }
        };
        let Some(lg2) = leaf else { break };
        if lg2 == PAGE_SHIFT {
            // All single pages in a row.
            let first = index(at, level);
            // CAST: at most a table's.
            let most =
                (len_bytes.wrapping_sub(bytes).div_ceil(PAGE_SIZE)).min(ITEMS as u64) as usize;
            let mut n = 0usize;
            while n < most && first.wrapping_add(n) < ITEMS {
                let word = mem.load(table, first.wrapping_add(n));
                if !matches!(
                    F::decode(word, level),
                    Item::Leaf {
                        lg2: PAGE_SHIFT,
                        ..
                    }
                ) {
                    break;
                }
                mem.store(table, first.wrapping_add(n), 0);
                n = n.wrapping_add(1);
            }
            written.add(table, first, n);
            let start = at & !mask(PAGE_SHIFT);
            let end = start.wrapping_add((n as u64) << PAGE_SHIFT).wrapping_sub(1); // CAST: at most 512.
            cleared = match cleared {
                None => Some((start, end)),
                Some((a, b)) => Some((a.min(start), b.max(end))),
            };
            near = Some((table, level, at >> span_lg2(level)));
            bytes = end.wrapping_sub(iova.0).saturating_add(1);
            continue;
        }
        near = Some((table, level, at >> span_lg2(level)));
        let start = at & !mask(lg2);
        let end = at | mask(lg2);
        let items = 1usize << lg2.saturating_sub(item_lg2(level)).min(ITEMS_LG2);
        let first = index(start, level);
        for i in 0..items {
            mem.store(table, first.wrapping_add(i) & (ITEMS.wrapping_sub(1)), 0);
        }
        written.add(table, first, items);
        cleared = match cleared {
            None => Some((start, end)),
            Some((a, b)) => Some((a.min(start), b.max(end))),
        };
        bytes = end.wrapping_sub(iova.0).saturating_add(1);
    }
    Unmapped {
        bytes,
        cleared: cleared.and_then(|(a, b)| Range::new(a, b)),
    }
}

/// log2 of the bytes that a whole table of `level` covers, kept below 64 for shifts.
#[inline]
fn span_lg2(level: u8) -> u32 {
    item_lg2(level).saturating_add(ITEMS_LG2).min(63)
}
