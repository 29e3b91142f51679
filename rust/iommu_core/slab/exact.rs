// SPDX-License-Identifier: GPL-2.0

//! Addresses that are taken as they are named: reserved windows, and mappings that the IOMMU core makes.

use super::{
    chunk::{
        Chunk,
        Use, //
    },
    env::Env,
    slot::CpuSlots,
    tree::{
        bit,
        path,
        Class, //
    },
    Refusal,
    Space,
    LAST,
    PAGES, //
};
use crate::addr::{
    Range,
    PAGE_SHIFT, //
};

/// The part of a range of pages that lies in one chunk.
struct Piece {
    chunk: u32,
    first: u32,
    pages: u32,
}

impl<E: Env, S: AsRef<[CpuSlots<E>]>> Space<E, S> {
    /// Cuts pages into their parts in chunks, as far as the space goes.
    fn pieces(&self, range: Range) -> impl Iterator<Item = Piece> {
        let end = (u64::from(self.tree.last()).saturating_add(1)).saturating_mul(PAGES.into());
        let last = (range.last() >> PAGE_SHIFT).min(end.saturating_sub(1));
        let mut next = range.first() >> PAGE_SHIFT;
        core::iter::from_fn(move || {
            if next > last {
                return None;
            }
            let stop = (next | u64::from(PAGES - 1)).min(last);
            // CAST (all): 18 bits and 9 bits.
            let piece = Piece {
                chunk: (next >> PAGES.trailing_zeros()) as u32,
                first: (next as u32) & (PAGES - 1),
                pages: (stop.wrapping_sub(next) as u32).wrapping_add(1),
            };
            next = stop.wrapping_add(1);
            Some(piece)
        })
    }

    /// Keeps pages out of all further allocations, for good. Pages beyond the space are none of its
    /// business.
    ///
    /// # Errors
    ///
    /// [`Refusal::Full`]: some are in use; the others are kept out all the same.
    pub fn reserve(&self, range: Range) -> Result<(), Refusal> {
        if range.first() > LAST {
            return Ok(());
        }
        let mut result = Ok(());
        let mut whole = 0u32;
        for p in self.pieces(range.page_cover()) {
            // Whole nodes need no descriptors.
            if p.chunk < whole {
                continue;
            }
            let (_, _, c) = path(p.chunk);
            let node_end =
                (u64::from(p.chunk).saturating_add(64)).saturating_mul(1 << super::CHUNK_SHIFT);
            if c == 0
                && p.first == 0
                && node_end <= range.last().saturating_add(1)
                && self.tree.withdraw_node(p.chunk)
            {
                whole = p.chunk.saturating_add(64);
                continue;
            }
            result = self.take_piece(&p).and(result);
        }
        result
    }

    pub(super) fn withdraw(&self, first: u64, pages: u64) -> Result<(), Refusal> {
        match Range::with_len(first << PAGE_SHIFT, pages << PAGE_SHIFT) {
            Some(range) => self.reserve(range),
            None => Ok(()),
        }
    }

    /// Takes exactly these pages.
    ///
    /// # Errors
    ///
    /// [`Refusal::Full`]: some are in use or reserved; nothing is taken then.
    pub fn claim(&self, range: Range) -> Result<(), Refusal> {
        let range = range.page_cover();
        if range.first() > LAST {
            return Ok(());
        }
        for (i, p) in self.pieces(range).enumerate() {
            let mut taken = self.take_piece(&p);
            if taken == Err(Refusal::Full) {
                // Slots may hold the pages in reserve.
                self.drain();
                taken = self.take_piece(&p);
            }
            if let Err(e) = taken {
                for q in self.pieces(range).take(i) {
                    self.give_piece(&q);
                }
                return Err(e);
            }
        }
        Ok(())
    }

    /// Gives back what [`Space::claim`] has taken.
    pub fn unclaim(&self, range: Range) {
        let range = range.page_cover();
        if range.first() <= LAST {
            for p in self.pieces(range) {
                self.give_piece(&p);
            }
        }
    }

    fn take_piece(&self, p: &Piece) -> Result<(), Refusal> {
        let unused = self.tree.make_node(p.chunk).ok_or(Refusal::NoMemory)?;
        let _ = unused;
        if self.tree.unlist(Class::FRESH, p.chunk) {
            let Some(chunk) = self.tree.make_chunk(p.chunk) else {
                self.tree.give_unused(p.chunk, bit(path(p.chunk).2));
                return Err(Refusal::NoMemory);
            };
            // One page an object, so that any part of the chunk can be taken.
            chunk.dedicate(Use::Objects { order: 0 });
            let taken = chunk.take_exact(0, p.first, p.pages);
            self.settle_home(p.chunk, chunk);
            return taken.then_some(()).ok_or(Refusal::Full);
        }
        let chunk = self.tree.chunk(p.chunk).ok_or(Refusal::Full)?;
        match chunk.used_for() {
            Use::Objects { order: 0 } if chunk.take_exact(0, p.first, p.pages) => Ok(()),
            // An empty chunk of another order becomes one of single pages.
            Use::Objects { order } if order > 0 && self.take_empty(p.chunk).is_some() => {
                chunk.dedicate(Use::Objects { order: 0 });
                let taken = chunk.take_exact(0, p.first, p.pages);
                self.settle_home(p.chunk, chunk);
                taken.then_some(()).ok_or(Refusal::Full)
            }
            _ => Err(Refusal::Full),
        }
    }

    fn settle_home(&self, c: u32, chunk: &Chunk<E>) {
        if chunk.leave() {
            self.tree.list(Class::partial(0), c);
        }
    }

    fn give_piece(&self, p: &Piece) {
        let Some(chunk) = self.tree.chunk(p.chunk) else {
            return;
        };
        if chunk.used_for() != (Use::Objects { order: 0 }) {
            return;
        }
        for page in p.first..p.first.saturating_add(p.pages) {
            // CAST: 7 at most.
            let word = (page >> 6) as usize;
            // A page that was not taken stays free.
            let _ = self.give(p.chunk, chunk, 0, word, 1u64.wrapping_shl(page & 63));
        }
    }
}
