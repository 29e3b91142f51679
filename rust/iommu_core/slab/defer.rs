// SPDX-License-Identifier: GPL-2.0

//! Objects that are unmapped but not invalidated yet, for lazy mode: what a CPU has put off, and
//! when it has to be done.
//!
//! Each object is one word in a place of its own; who exchanges it for zero owns it. So a batch can
//! be emptied by any CPU at any time, while others put objects there.

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
    Space,
    CHUNK_SHIFT,
    PAGES, //
};
use crate::addr::{
    PageSpan,
    PAGE_SHIFT,
    PAGE_SIZE, //
};

/// Objects of a batch: few enough for a call that does them all to stay short.
pub const BATCH: usize = 32;

/// An object whose first pages were unmapped: its address, and their number less one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deferred(u64);

impl Deferred {
    /// `pages` pages at `iova`, which is not page 0 and aligned to a page. [`None`]: more than a batch can name.
    #[inline]
    pub const fn new(iova: u64, pages: u64) -> Option<Self> {
        let less = pages.wrapping_sub(1);
        if less < PAGE_SIZE && iova & (PAGE_SIZE - 1) == 0 && iova != 0 {
            Some(Self(iova | less))
        } else {
            None
        }
    }

    /// Address of the object.
    #[inline]
    pub const fn iova(self) -> u64 {
        self.0 & !(PAGE_SIZE - 1)
    }

    /// The pages.
    #[inline]
    pub const fn span(self) -> PageSpan {
        PageSpan {
            first: self.iova(),
            pages: (self.0 & (PAGE_SIZE - 1)).wrapping_add(1),
        }
    }
}

/// What became of an object that was to be put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It waits.
    Kept,
    /// It waits, and there is no more room: the batch is to be emptied.
    Filled,
    /// There was no room: the caller does it at once.
    Refused,
}

/// What one CPU has put off.
pub struct Batch<E: Env> {
    /// The place for the next object. A guess: places decide.
    next: E::Word,
    objects: [E::Word; BATCH],
}

impl<E: Env> Batch<E> {
    /// Nothing put off.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            next: E::Word::new(0),
            objects: core::array::from_fn(|_| E::Word::new(0)),
        }
    }

    /// Puts an object off.
    #[inline]
    pub fn put(&self, object: Deferred) -> Put {
        // CAST: 32 at most.
        let next = self.next.load();
        let Some(place) = self.objects.get(next as usize) else {
            return Put::Refused;
        };
        // Another context of this CPU may have taken the place: rare enough to give up.
        if place.cas(0, object.0).is_err() {
            return Put::Refused;
        }
        self.next.store(next.wrapping_add(1));
        if next.wrapping_add(1) == BATCH as u64 {
            Put::Filled
        } else {
            Put::Kept
        }
    }

    /// The pages that wait.
    pub fn pages(&self) -> u64 {
        let waiting = self.objects.iter().map(|place| Deferred(place.load()));
        waiting
            .filter(|d| d.0 != 0)
            .map(|d| d.span().pages)
            .fold(0, u64::saturating_add)
    }

    /// Takes what waits.
    pub fn take(&self) -> impl Iterator<Item = Deferred> + '_ {
        // Whoever puts an object now begins at the start, or finds its place taken.
        self.next.store(0);
        self.objects.iter().filter_map(|place| match place.swap(0) {
            0 => None,
            word => Some(Deferred(word)),
        })
    }
}

/// Knows whether a timer runs that will empty all batches.
pub struct Alarm<E: Env>(E::Word);

impl<E: Env> Alarm<E> {
    /// No timer runs.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(E::Word::new(0))
    }

    /// After an object was put off: is the caller to start the timer?
    #[inline]
    pub fn is_wanted(&self) -> bool {
        // ORDERING: after the object, whose exchange is a barrier; pairs with `rings`.
        self.0.load() == 0 && self.0.swap(1) == 0
    }

    /// The timer has run out; the caller empties all batches now. `false`: nobody wanted it.
    #[inline]
    pub fn rings(&self) -> bool {
        // ORDERING: full: an object that is put off from here on starts the timer again, others are
        // seen.
        self.0.swap(0) != 0
    }
}

/// Ranges that cover objects, one for those in a row that one leaf table maps: their number is what an
/// invalidation costs.
pub struct Spans<I: Iterator<Item = Deferred>>(core::iter::Peekable<I>);

impl<I: Iterator<Item = Deferred>> Spans<I> {
    /// Of these objects.
    pub fn of(objects: I) -> Self {
        Self(objects.peekable())
    }
}

impl<I: Iterator<Item = Deferred>> Iterator for Spans<I> {
    type Item = PageSpan;

    fn next(&mut self) -> Option<PageSpan> {
        let first = self.0.next()?;
        let chunk = first.iova() >> CHUNK_SHIFT;
        let end = |d: Deferred| {
            let s = d.span();
            s.first.wrapping_add(s.pages << PAGE_SHIFT)
        };
        let (mut from, mut to) = (first.iova(), end(first));
        while let Some(d) = self.0.next_if(|d| d.iova() >> CHUNK_SHIFT == chunk) {
            from = from.min(d.iova());
            to = to.max(end(d));
        }
        Some(PageSpan {
            first: from,
            pages: to.wrapping_sub(from) >> PAGE_SHIFT,
        })
    }
}

/// Objects of one word of a chunk's bitmap, on their way back.
struct Word64<'a, E: Env> {
    /// The first one's address.
    iova: u64,
    number: u32,
    chunk: &'a Chunk<E>,
    order: u32,
    word: u32,
    bits: u64,
}

impl<E: Env, S: AsRef<[CpuSlots<E>]>> Space<E, S> {
    /// Gives the objects at these addresses back, those of one word together. Their pages no unit can reach
    /// any more. `true`: a chunk is empty now.
    ///
    /// # Errors
    ///
    /// The first address where no object of a chunk begins, or of a word some of whose objects are free; the
    /// others are given back.
    pub fn free_all(&self, objects: impl Iterator<Item = u64>) -> Result<bool, u64> {
        let (mut wild, mut empty) = (None, false);
        let mut open: Option<Word64<'_, E>> = None;
        // A last one that is nowhere closes the word before it.
        for iova in objects.chain(core::iter::once(u64::MAX)) {
            // CAST (both): 18 bits of what is in the space; 9 bits.
            let number = (iova >> CHUNK_SHIFT) as u32;
            let page = ((iova >> PAGE_SHIFT) as u32) & (PAGES - 1);
            if let Some(o) = &mut open {
                let object = page >> (o.order & 15);
                if o.number == number && object >> 6 == o.word {
                    o.bits |= 1u64.wrapping_shl(object & 63);
                    continue;
                }
                // CAST: 7 at most.
                match self.give(o.number, o.chunk, o.order, o.word as usize, o.bits) {
                    Ok(now) => empty |= now,
                    Err(_) => wild = wild.or(Some(o.iova)),
                }
            }
            open = match self.object(iova) {
                Ok(Object {
                    chunk,
                    number: object,
                    used_for: Use::Objects { order },
                    ..
                }) => Some(Word64 {
                    iova,
                    number,
                    chunk,
                    order,
                    word: object >> 6,
                    bits: 1u64.wrapping_shl(object & 63),
                }),
                _ if iova == u64::MAX => None,
                _ => {
                    wild = wild.or(Some(iova));
                    None
                }
            };
        }
        wild.map_or(Ok(empty), Err)
    }
}
