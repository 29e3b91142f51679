// SPDX-License-Identifier: GPL-2.0

//! Objects larger than half a chunk: runs of whole chunks, so that the mapper can use superpages.

use super::{
    chunk::{
        Chunk,
        Use, //
    },
    env::{
        Env,
        Word, //
    },
    slot::CpuSlots,
    Object,
    Refusal,
    Space,
    Wild,
    CHUNK_SHIFT,
    LAST_LOW,
    PAGES, //
};

/// Chunks of a node; a larger run takes whole nodes.
const NODE: u32 = 64;
/// Empty chunks that one call takes out of use.
const GATHER: usize = 16;
/// The largest run: a region.
const MOST: u32 = 4096;

/// The largest object, in pages: 8 GiB.
pub const MOST_PAGES: u32 = MOST * PAGES;

impl<E: Env, S: AsRef<[CpuSlots<E>]>> Space<E, S> {
    pub(super) fn alloc_run(&self, pages: u32, limit: u64) -> Result<Object<'_, E>, Refusal> {
        if pages == 0 || pages > MOST_PAGES {
            return Err(Refusal::Impossible);
        }
        let chunks = pages.div_ceil(PAGES);
        let end = limit.saturating_add(1) >> CHUNK_SHIFT;
        // CAST: at most 18 bits after `min`.
        let last = (end.min(u64::from(self.tree.last()).saturating_add(1)) as u32)
            .checked_sub(1)
            .ok_or(Refusal::Impossible)?;
        let low_full = self.is_high(limit);
        let high = (LAST_LOW.saturating_add(1), last);
        let low = (0, last.min(LAST_LOW));
        let zones = if last <= LAST_LOW {
            [low, low]
        } else if low_full {
            [high, low]
        } else {
            [low, high]
        };
        let take = || {
            let mut found = zones.iter().map(|(a, b)| self.take_chunks(chunks, *a, *b));
            found.find_map(|c| c)
        };
        // What lies empty may make up a run.
        let found = take().or_else(|| self.gather(last).then(take).flatten());
        self.run_at(found.ok_or(Refusal::Full)?, chunks)
    }

    fn take_chunks(&self, chunks: u32, first: u32, last: u32) -> Option<u32> {
        if chunks <= NODE {
            self.tree.take_run(chunks, first, last)
        } else {
            self.tree.take_nodes(chunks.div_ceil(NODE), first, last)
        }
    }

    fn run_at(&self, c: u32, chunks: u32) -> Result<Object<'_, E>, Refusal> {
        let Some(chunk) = self.tree.make_chunk(c) else {
            self.tree.give_run(c, taken(chunks));
            return Err(Refusal::NoMemory);
        };
        let used_for = Use::Run { chunks };
        chunk.dedicate(used_for);
        Ok(Object {
            chunk,
            number: 0,
            iova: u64::from(c) << CHUNK_SHIFT,
            used_for,
        })
    }

    pub(super) fn free_run(&self, c: u32, chunk: &Chunk<E>, chunks: u32) -> Result<bool, Wild> {
        if !chunk.end(Use::Run { chunks }) {
            return Err(Wild::Free);
        }
        self.tree.give_run(c, taken(chunks));
        Ok(false)
    }

    /// Takes empty chunks out of use, so that they can be part of runs: [`GATHER`] of them at most, as
    /// calls are to stay short; the next call goes on. Their leaf tables stay where they are.
    #[cold]
    fn gather(&self, last: u32) -> bool {
        let mut any = false;
        for _ in 0..GATHER {
            let Some(c) = self.tree.find(super::Class::EMPTY, 0, last) else {
                break;
            };
            if let Some(chunk) = self.take_empty(c) {
                Self::retire(chunk);
                self.reclaimed(c);
                any = true;
            }
        }
        any
    }

    /// Takes a chunk that is the caller's alone out of use.
    fn retire(chunk: &Chunk<E>) {
        chunk.dedicate(Use::None);
        chunk.leave();
    }

    /// Takes an empty chunk after `from` out of use, so that its leaf table can be freed: the chunk,
    /// and what the mapper has stored. [`Space::reclaimed`] gives it back.
    pub fn reclaim(&self, from: u32) -> Option<(u32, u64)> {
        for _ in 0..super::REFILL_TRIES {
            let c = self
                .tree
                .find(super::Class::EMPTY, from, self.tree.last())?;
            if let Some(chunk) = self.take_empty(c) {
                Self::retire(chunk);
                return Some((c, chunk.take_leaf()));
            }
        }
        None
    }

    /// Gives a chunk from [`Space::reclaim`] back, once no unit can have its leaf table cached.
    pub fn reclaimed(&self, c: u32) {
        self.tree.give_unused(c, 1u64.wrapping_shl(c & 63));
    }

    /// Chunks that are listed as empty: most are, and all that are empty are listed.
    #[inline]
    pub fn empty_chunks(&self) -> u64 {
        self.empty.load()
    }
}

/// The chunks that a run of so many takes.
fn taken(chunks: u32) -> u32 {
    if chunks <= NODE {
        chunks
    } else {
        chunks.next_multiple_of(NODE)
    }
}
