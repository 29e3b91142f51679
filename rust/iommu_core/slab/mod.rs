// SPDX-License-Identifier: GPL-2.0

//! Allocation of IOVAs in slabs: a chunk of addresses is what one leaf page table covers, and holds
//! objects of one power-of-two size. So a mapping costs a bit and a store, and an unmap finds the
//! leaf table from the address, without a walk.
//!
//! - A *chunk* is 2 MiB, naturally aligned, dedicated to an *order*: objects of `1 << order` pages,
//!   0 to 8, each at a multiple of its size, so that none crosses a segment boundary at least as large.
//!   Larger requests take *runs* of whole chunks.
//! - A *slot* is what a CPU takes objects of one order from: up to 32 neighbours, in one word with the
//!   place they are at. It is refilled from the CPU's *home* chunk, so that consecutive requests get
//!   ascending addresses and CPUs stay out of each other's chunks.
//! - The [tree](tree) leads from an address to its chunk, and lists chunks by what is free in them.
//! - Everything is a compare-and-exchange on a word: no locks, no interrupts disabled, any context.
//!   Who has taken an object's bit owns it; lists and homes decide about speed only.
//!
//! # Steps of one call
//!
//! Lists are searched in at most 64 steps a level, three levels ([`tree`]); a refill tries at most
//! [`REFILL_TRIES`] chunks that turn out to have nothing; a run looks at [`tree::Tree::MOST_NODES`]
//! nodes. When a zone is full, what all CPUs hold in reserve is given back, order by order until something
//! is found; once until someone takes a reserve again.

macro_rules! item {
    // The item of an array of known, non-zero size; the caller masks the index.
    ($array:expr, $index:expr) => {{
        let array = $array;
        let [first, ..] = array;
        array.get($index).unwrap_or(first)
    }};
}

mod chunk;
pub mod defer;
mod env;
mod exact;
mod run;
mod search;
mod slot;
mod tree;
mod view;

pub use chunk::{
    Chunk,
    Use, //
};
pub use env::{
    Env,
    Link,
    Word, //
};
pub use run::MOST_PAGES;
pub use slot::CpuSlots;
pub use view::Counts;

use crate::addr::{
    PAGE_SHIFT,
    PAGE_SIZE, //
};
use tree::{
    Class,
    Tree, //
};

/// log2 of the bytes of a chunk.
pub const CHUNK_SHIFT: u32 = 21;
/// Pages of a chunk.
pub const PAGES: u32 = 512;
/// Orders of objects in chunks.
pub const ORDERS: usize = 9;
/// The space ends here at the latest: 512 GiB.
pub const LAST: u64 = (1 << 39) - 1;
/// The last chunk of the zone for 32-bit addresses.
const LAST_LOW: u32 = 2047;
/// Who reaches less than this is served without slots.
const LOW_LIMIT: u64 = u32::MAX as u64; // CAST: fits.
/// Chunks that a refill tries.
const REFILL_TRIES: usize = 8;

/// Why no addresses were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// All that fits below the limit is in use.
    Full,
    /// No pages, or more than can ever fit.
    Impossible,
    /// No memory for the allocator's own parts.
    NoMemory,
}

/// Addresses that are given back or looked up, but are not in use as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wild {
    /// No object was ever made there.
    Nothing,
    /// Not where an object begins.
    Inside,
    /// It is free.
    Free,
}

/// An object in use: its chunk, and its place there.
pub struct Object<'a, E: Env> {
    /// The chunk's descriptor.
    pub chunk: &'a Chunk<E>,
    number: u32,
    /// Its first address.
    pub iova: u64,
    /// What the chunk is used for.
    pub used_for: Use,
}

impl<E: Env> Object<'_, E> {
    /// Pages that it has room for.
    #[inline]
    pub fn pages(&self) -> u32 {
        match self.used_for {
            Use::Objects { order } => 1u32.wrapping_shl(order),
            Use::Run { chunks } => chunks.saturating_mul(PAGES),
            Use::None => 0,
        }
    }

    /// Index of its first page in its chunk.
    #[inline]
    pub fn first_item(&self) -> usize {
        // CAST: 9 bits.
        ((self.iova >> PAGE_SHIFT) as usize) & 511
    }
}

/// The addresses of one domain. `S` has the slots, one set for each CPU.
pub struct Space<E: Env, S> {
    tree: Tree<E>,
    slots: S,
    /// Requests with limits above this are served above 4 GiB first: with any, once one has found the lower
    /// 4 GiB full. They leave what is there to those that reach nothing else.
    low_until: E::Word,
    /// Not zero: slots may hold objects, or chunks be homes, since the last drain.
    stocked: E::Word,
    /// Chunks that are listed as empty.
    empty: E::Word,
}

impl<E: Env, S: AsRef<[CpuSlots<E>]>> Space<E, S> {
    /// A space up to `last`, or to [`LAST`], 2 MiB at least. It is large: made where it stays, then to be
    /// opened.
    #[inline]
    pub fn new(last: u64, slots: S) -> Self {
        let end = last.min(LAST).saturating_add(1) >> CHUNK_SHIFT;
        Self {
            // CAST: 18 bits.
            tree: Tree::new((end as u32).saturating_sub(1)),
            slots,
            low_until: E::Word::new(u64::MAX),
            stocked: E::Word::new(0),
            empty: E::Word::new(0),
        }
    }

    /// Keeps page 0 out, before anything is taken: address 0 looks like no address to too many drivers.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoMemory`].
    pub fn open(&self) -> Result<(), Refusal> {
        self.withdraw(0, 1)
    }

    /// Takes addresses for `pages` pages that end at `limit` at the latest, for this CPU (or any: it
    /// is about speed). Their first is a multiple of their number rounded up to a power of two, up to
    /// 128 MiB.
    ///
    /// # Errors
    ///
    /// See [`Refusal`].
    #[inline]
    pub fn alloc(&self, cpu: usize, pages: u32, limit: u64) -> Result<Object<'_, E>, Refusal> {
        let order = Self::order_of(pages);
        if pages != 0 && order < 9 {
            self.alloc_small(cpu, order, limit)
        } else {
            self.alloc_run(pages, limit)
        }
    }

    /// [`Space::alloc`] of `1 << order` pages, if this CPU has an object at hand; never tries hard.
    /// `order` is 8 at most.
    #[inline(always)]
    pub fn alloc_at_hand(&self, cpu: usize, order: u32, limit: u64) -> Option<Object<'_, E>> {
        let slot = self.slot(cpu, self.is_high(limit), order)?;
        let (number, seen) = slot.peek()?;
        let object = self.object_at(number, order)?;
        let last = object.iova | (PAGE_SIZE << order).wrapping_sub(1);
        (last <= limit && slot.take_seen(seen)).then_some(object)
    }

    /// The order of objects for so many pages; 9 for more than a chunk's objects have.
    #[inline]
    pub const fn order_of(pages: u32) -> u32 {
        let order = u32::BITS.wrapping_sub(pages.wrapping_sub(1).leading_zeros());
        if order < 9 {
            order
        } else {
            9
        }
    }

    /// Are objects for such addresses taken above 4 GiB?
    #[inline]
    fn is_high(&self, limit: u64) -> bool {
        limit > self.low_until.load()
    }

    fn alloc_small(&self, cpu: usize, order: u32, limit: u64) -> Result<Object<'_, E>, Refusal> {
        let high = self.is_high(limit);
        let served = (limit >= LOW_LIMIT)
            .then(|| self.alloc_from_slot(cpu, high, order, limit))
            .flatten();
        match served {
            Some(object) => Ok(object),
            None => self.alloc_slowly(cpu, order, limit, high),
        }
    }

    /// The next object of a CPU's slot, refilled if it is empty.
    #[inline(always)]
    fn alloc_from_slot(
        &self,
        cpu: usize,
        high: bool,
        order: u32,
        limit: u64,
    ) -> Option<Object<'_, E>> {
        let slot = self.slot(cpu, high, order)?;
        let number = slot.take().or_else(|| self.refill(slot, high, order))?;
        let object = self.object_at(number, order)?;
        if object.iova | (PAGE_SIZE << order).wrapping_sub(1) <= limit {
            return Some(object);
        }
        // Beyond 4 GiB, but too far for this device.
        let _ = self.free(&object);
        None
    }

    /// Where a slot has nothing: the other zone, single objects below odd limits, larger
    /// objects, other CPUs' reserves.
    #[cold]
    fn alloc_slowly(
        &self,
        cpu: usize,
        order: u32,
        limit: u64,
        high: bool,
    ) -> Result<Object<'_, E>, Refusal> {
        let end = limit.saturating_add(1) >> CHUNK_SHIFT;
        // CAST: at most 18 bits after `min`.
        let last = end.min(u64::from(tree::CHUNKS)) as u32;
        let last = last
            .checked_sub(1)
            .ok_or(Refusal::Impossible)?
            .min(self.tree.last());
        let wide = last > LAST_LOW && limit > u64::from(u32::MAX);
        if wide && !high {
            self.low_until.store(LOW_LIMIT);
            if let Some(object) = self.alloc_from_slot(cpu, true, order, limit) {
                return Ok(object);
            }
        }
        let zones = [
            (wide, LAST_LOW.saturating_add(1), last),
            (true, 0, last.min(LAST_LOW)),
        ];
        // The slot, where the CPU has one, would have been refilled with objects of its own order.
        let has_slot = self.slot(cpu, high, order).is_some();
        let refused = u32::from(!wide && limit >= LOW_LIMIT && has_slot);
        for step in 0..=9u32 {
            // What CPUs hold in reserve goes back to the lists, order by order, from this one on.
            let skipped = match step.checked_sub(1) {
                None => refused,
                Some(0) if self.stocked.swap(0) == 0 => break,
                Some(n) if self.drain_order(order.saturating_add(n) % 9) => 0,
                Some(_) => continue,
            };
            for (_, first, last) in zones.iter().filter(|z| z.0) {
                for larger in order.saturating_add(skipped)..9 {
                    let one = self.take_single(larger, *first, *last, larger == order);
                    if let Some(object) = one.and_then(|n| self.object_at(n, larger)) {
                        if step > 0 {
                            // Others may be in reserve still.
                            self.stocked.store(1);
                        }
                        return Ok(object);
                    }
                }
            }
        }
        Err(Refusal::Full)
    }

    /// One object of a listed chunk of `first..=last`, or with `others` of one that has no objects in use.
    /// The answer is its number among all objects of its order.
    fn take_single(&self, order: u32, first: u32, last: u32, others: bool) -> Option<u64> {
        for _ in 0..REFILL_TRIES {
            let (c, chunk) = match others {
                true => self.take_home(order, first, last)?,
                false => self.take_listed(order, first, last)?,
            };
            let object = chunk.take_one(order, PAGES);
            if chunk.leave() {
                self.list(c, chunk);
            }
            match object {
                Ok(number) => return Some(number_of(c, order, number)),
                Err(taken) => self.put_back(c, chunk, taken),
            }
        }
        None
    }

    /// Has the allocator's own parts ready for the next `chunks` unused chunks from the one of `iova` on, so
    /// that calls that are the first to use one need no memory for it.
    pub fn get_ready(&self, iova: u64, chunks: u32) {
        // CAST: 18 bits, as nothing is above the last.
        self.tree
            .make_unused((iova.min(LAST) >> CHUNK_SHIFT) as u32, chunks);
    }

    /// The object with this number.
    #[inline]
    fn object_at(&self, number: u64, order: u32) -> Option<Object<'_, E>> {
        let iova = number << PAGE_SHIFT.wrapping_add(order);
        // CAST: a chunk's number has 18 bits.
        let chunk = self.tree.chunk((iova >> CHUNK_SHIFT) as u32)?;
        Some(Object {
            chunk,
            // CAST: 9 bits.
            number: (number as u32) & (PAGES >> order).wrapping_sub(1),
            iova,
            used_for: Use::Objects { order },
        })
    }

    /// The object in use that begins at `iova`, or the run in whose first chunk it is.
    ///
    /// # Errors
    ///
    /// [`Wild`]: there is none. That an object is free is noticed only if no CPU holds it in its
    /// slot; the mapper knows by the leaf table.
    #[inline]
    pub fn object(&self, iova: u64) -> Result<Object<'_, E>, Wild> {
        if iova > LAST {
            return Err(Wild::Nothing);
        }
        // CAST: 18 bits.
        let chunk = self
            .tree
            .chunk((iova >> CHUNK_SHIFT) as u32)
            .ok_or(Wild::Nothing)?;
        let used_for = chunk.used_for();
        // CAST: 9 bits.
        let page = ((iova >> PAGE_SHIFT) as u32) & (PAGES - 1);
        let number = match used_for {
            Use::Objects { order } => {
                let number = page >> (order & 15);
                if number << (order & 15) != page {
                    return Err(Wild::Inside);
                }
                number
            }
            // A mapping begins where its superpages fit.
            Use::Run { .. } => 0,
            Use::None => return Err(Wild::Nothing),
        };
        Ok(Object {
            chunk,
            number,
            iova: match used_for {
                Use::Run { .. } => iova & !((1 << CHUNK_SHIFT) - 1),
                _ => iova & !(PAGE_SIZE - 1),
            },
            used_for,
        })
    }

    /// [`Space::object`] for an address in an object of one page; [`None`] for anything else.
    #[inline]
    pub fn page_object(&self, iova: u64) -> Option<Object<'_, E>> {
        if iova > LAST {
            return None;
        }
        // CAST (both): 18 bits; 9 bits.
        let chunk = self.tree.chunk((iova >> CHUNK_SHIFT) as u32)?;
        let used_for = Use::Objects { order: 0 };
        (chunk.used_for() == used_for).then_some(Object {
            chunk,
            number: ((iova >> PAGE_SHIFT) as u32) & (PAGES - 1),
            iova: iova & !(PAGE_SIZE - 1),
            used_for,
        })
    }

    /// Gives an object back, whose pages no unit can reach any more. `true`: its chunk is empty now, which
    /// is the time to look whether there are too many (see [`Space::reclaim`]).
    ///
    /// # Errors
    ///
    /// [`Wild::Free`]: it has been given back already; nothing is changed.
    #[inline(always)]
    pub fn free(&self, object: &Object<'_, E>) -> Result<bool, Wild> {
        // CAST: 18 bits.
        let c = (object.iova >> CHUNK_SHIFT) as u32;
        match object.used_for {
            Use::Objects { order } => {
                // CAST: u32 fits usize.
                let word = (object.number >> 6) as usize;
                self.give(
                    c,
                    object.chunk,
                    order,
                    word,
                    1u64.wrapping_shl(object.number & 63),
                )
            }
            Use::Run { chunks } => self.free_run(c, object.chunk, chunks),
            Use::None => Err(Wild::Nothing),
        }
    }

    /// Gives objects of one word of a chunk back.
    #[inline(always)]
    fn give(
        &self,
        c: u32,
        chunk: &Chunk<E>,
        order: u32,
        word: usize,
        bits: u64,
    ) -> Result<bool, Wild> {
        let before = chunk.give(word, bits);
        if before & bits != 0 {
            return Err(Wild::Free);
        }
        if chunk.claim_listing() {
            self.list(c, chunk);
        }
        Ok(before | bits == chunk::full_word(order) && self.note_empty(c, chunk, order))
    }

    /// Lists a chunk that has free objects and that nobody takes from.
    #[cold]
    fn list(&self, c: u32, chunk: &Chunk<E>) {
        if let Use::Objects { order } = chunk.used_for() {
            self.tree.list(Class::partial(order), c);
        }
    }

    /// Lists a chunk as empty, and counts it.
    fn list_empty(&self, c: u32) {
        if self.tree.list(Class::EMPTY, c) {
            self.count_empty(1);
        }
    }

    /// Takes a chunk off the list of empty ones, and counts it off.
    fn unlist_empty(&self, c: u32) {
        if self.tree.unlist(Class::EMPTY, c) {
            self.count_empty(u64::MAX);
        }
    }

    fn count_empty(&self, more: u64) {
        let mut now = self.empty.load();
        while let Err(other) = self.empty.cas(now, now.wrapping_add(more)) {
            now = other;
        }
    }

    #[cold]
    fn note_empty(&self, c: u32, chunk: &Chunk<E>, order: u32) -> bool {
        let empty = chunk.is_empty(order);
        if empty {
            self.list_empty(c);
        }
        empty
    }
}

/// The number among all objects of an order of one in a chunk.
#[inline]
const fn number_of(c: u32, order: u32, number: u32) -> u64 {
    // CAST (both): u32 to u64 never loses a bit.
    ((c as u64) << 9u32.saturating_sub(order)) | number as u64
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::Std as StdEnv;
