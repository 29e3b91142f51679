// SPDX-License-Identifier: GPL-2.0

//! A chunk of addresses that one leaf table covers, and the bitmap of its free objects.
//!
//! Who takes a bit owns the object, whoever that is and wherever it runs. So it is safe for any
//! CPU to take from any chunk; that a chunk is mostly one CPU's is a matter of speed.

use super::{
    env::{
        Env,
        Word, //
    },
    ORDERS,
    PAGES, //
};

/// Words of a chunk's bitmap.
pub(super) const WORDS: usize = 8;
/// Objects that a CPU takes at a time: half a word.
pub(super) const GROUP: u32 = 32;

/// What a chunk is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Nothing, or as part of a run that begins elsewhere.
    None,
    /// Objects of `1 << order` pages.
    Objects {
        /// log2 of an object's pages.
        order: u32,
    },
    /// The first of so many chunks of one object.
    Run {
        /// Their number.
        chunks: u32,
    },
}

impl Use {
    const RUN: u64 = 1 << 32;

    pub(super) const fn to_word(self) -> u64 {
        match self {
            Self::None => 0,
            // CAST (both): u32 to u64 never loses a bit.
            Self::Objects { order } => (order as u64).wrapping_add(1),
            Self::Run { chunks } => Self::RUN | chunks as u64,
        }
    }

    #[inline]
    pub(super) const fn from_word(word: u64) -> Self {
        // CAST (both): the low half.
        if word & Self::RUN != 0 {
            return Self::Run {
                chunks: word as u32,
            };
        }
        match (word as u32).checked_sub(1) {
            Some(order) => Self::Objects { order },
            None => Self::None,
        }
    }
}

/// Who may find a chunk that has free objects.
mod place {
    /// Nobody knows of it.
    pub(super) const NOWHERE: u64 = 0;
    /// It is listed as partial.
    pub(super) const LISTED: u64 = 1;
    /// A CPU takes its objects from here.
    pub(super) const HOME: u64 = 2;
}

/// Bits of a word that were taken from a chunk that is used for something else by now.
pub(super) struct Taken {
    pub(super) word: usize,
    pub(super) bits: u64,
}

/// A chunk's descriptor. It stays for the life of the space, so that a stale reference to it is
/// harmless.
pub struct Chunk<E: Env> {
    state: E::Word,
    place: E::Word,
    /// For the mapper: what names the leaf table, zero for none.
    leaf: E::Word,
    free: [E::Word; WORDS],
}

/// The bits of a word of the bitmap that stand for objects.
#[inline]
pub(super) fn full(order: u32, word: usize) -> u64 {
    let objects = PAGES >> (order & 15);
    // CAST: 8 words at most.
    if (word as u32).wrapping_mul(64) < objects {
        full_word(order)
    } else {
        0
    }
}

/// [`full`] for a word that has objects: all of its bits, or what the one word of large objects has.
#[inline]
pub(super) fn full_word(order: u32) -> u64 {
    // CAST: 4 bits.
    *item!(&FULL, (order & 15) as usize)
}

/// [`full_word`] of each order; looked up, as finding it takes a dozen instructions in the path of each unmap.
const FULL: [u64; 16] = {
    const fn of(order: u32) -> u64 {
        // Shifts the bits of missing objects out.
        u64::MAX.wrapping_shr(64u32.saturating_sub(PAGES >> (order & 15)))
    }
    [
        of(0),
        of(1),
        of(2),
        of(3),
        of(4),
        of(5),
        of(6),
        of(7),
        of(8),
        of(9),
        0,
        0,
        0,
        0,
        0,
        0,
    ]
};

impl<E: Env> Chunk<E> {
    pub(super) fn new() -> Self {
        Self {
            state: E::Word::new(Use::None.to_word()),
            place: E::Word::new(place::NOWHERE),
            leaf: E::Word::new(0),
            free: core::array::from_fn(|_| E::Word::new(0)),
        }
    }

    /// What the chunk is used for.
    #[inline]
    pub fn used_for(&self) -> Use {
        Use::from_word(self.state.load())
    }

    /// What the mapper has stored; zero for nothing. Valid while an object of the chunk is in use.
    #[inline]
    pub fn leaf(&self) -> u64 {
        self.leaf.load()
    }

    /// Stores what names the leaf table. If it is stored already, it is the same.
    #[inline]
    pub fn set_leaf(&self, leaf: u64) {
        self.leaf.store(leaf);
    }

    pub(super) fn take_leaf(&self) -> u64 {
        self.leaf.swap(0)
    }

    #[inline]
    pub(super) fn word(&self, word: usize) -> &E::Word {
        item!(&self.free, word & (WORDS - 1))
    }

    pub(super) fn has_free(&self) -> bool {
        self.free.iter().any(|w| w.load() != 0)
    }

    pub(super) fn count_free(&self) -> u32 {
        self.free
            .iter()
            .map(|w| w.load().count_ones())
            .fold(0, u32::saturating_add)
    }

    pub(super) fn is_empty(&self, order: u32) -> bool {
        let mut words = self.free.iter().enumerate();
        words.all(|(i, w)| w.load() == full(order, i))
    }

    /// Takes the first group with free objects from word `from` on: its number and the objects.
    ///
    /// # Errors
    ///
    /// There are none; or the chunk has changed its use, and bits of a word are taken that the caller is
    /// to give back.
    pub(super) fn take_group(&self, order: u32, from: usize) -> Result<(u32, u32), Option<Taken>> {
        for i in 0..WORDS {
            let w = from.wrapping_add(i) & (WORDS - 1);
            let word = self.word(w);
            let free = word.load();
            if free == 0 {
                continue;
            }
            // CAST (both): the halves.
            let half = if free as u32 != 0 { 0 } else { GROUP };
            let mask = u64::from(u32::MAX) << half;
            let got = word.and(!mask) & mask;
            if got == 0 {
                continue;
            }
            // ORDERING: the state is looked at after the objects were taken, and does not change
            // while they are.
            if self.used_for() != (Use::Objects { order }) {
                return Err(Some(Taken { word: w, bits: got }));
            }
            // CAST: 7 at most.
            let group = (w as u32).wrapping_mul(2).wrapping_add(half / GROUP);
            return Ok((group, (got >> half) as u32));
        }
        Err(None)
    }

    /// Takes one object whose number is below `end`.
    ///
    /// # Errors
    ///
    /// As for [`Chunk::take_group`].
    pub(super) fn take_one(&self, order: u32, end: u32) -> Result<u32, Option<Taken>> {
        for w in 0..WORDS {
            // CAST: 448 at most.
            let first = (w as u32).wrapping_mul(64);
            let below = match end.saturating_sub(first) {
                n @ 0..=63 => (1u64 << n).wrapping_sub(1),
                _ => u64::MAX,
            };
            let word = self.word(w);
            loop {
                let free = word.load() & below;
                if free == 0 {
                    break;
                }
                let bit = free & free.wrapping_neg();
                if word.and(!bit) & bit == 0 {
                    continue;
                }
                if self.used_for() != (Use::Objects { order }) {
                    return Err(Some(Taken { word: w, bits: bit }));
                }
                return Ok(first.wrapping_add(bit.trailing_zeros()));
            }
        }
        Err(None)
    }

    /// Takes exactly these objects, or none of them.
    pub(super) fn take_exact(&self, order: u32, first: u32, count: u32) -> bool {
        for i in 0..count {
            let object = first.wrapping_add(i);
            let bit = 1u64.wrapping_shl(object & 63);
            // CAST: u32 fits usize.
            let word = self.word((object >> 6) as usize);
            let taken = word.and(!bit) & bit != 0;
            if taken && self.used_for() == (Use::Objects { order }) {
                continue;
            }
            if taken {
                word.or(bit);
            }
            for j in 0..i {
                let object = first.wrapping_add(j);
                // CAST: u32 fits usize.
                self.word((object >> 6) as usize)
                    .or(1u64.wrapping_shl(object & 63));
            }
            return false;
        }
        true
    }

    /// Gives objects of a word back; returns what was free before.
    #[inline]
    pub(super) fn give(&self, word: usize, bits: u64) -> u64 {
        self.word(word).or(bits)
    }

    /// Takes all objects, if all are free. The chunk is the caller's alone then.
    pub(super) fn take_all(&self, order: u32) -> bool {
        for i in 0..WORDS {
            let got = self.word(i).swap(0);
            if got == full(order, i) && self.used_for() == (Use::Objects { order }) {
                continue;
            }
            self.word(i).or(got);
            for j in 0..i {
                self.word(j).or(full(order, j));
            }
            return false;
        }
        true
    }

    /// Dedicates a chunk that is the caller's alone.
    pub(super) fn dedicate(&self, used_for: Use) {
        self.state.store(used_for.to_word());
        if let Use::Objects { order } = used_for {
            self.place.store(place::HOME);
            // ORDERING: who sees a free object sees what it is. Words without objects are zero by now;
            // once all others are there the chunk may be another CPU's.
            for (i, w) in self.free.iter().enumerate() {
                if full(order, i) != 0 {
                    w.swap(full(order, i));
                }
            }
        }
    }

    /// Ends a use; only if it still is this one. `true`: this call has ended it.
    pub(super) fn end(&self, used_for: Use) -> bool {
        self.state
            .cas(used_for.to_word(), Use::None.to_word())
            .is_ok()
    }

    /// Makes a chunk that was found in a list a CPU's own.
    pub(super) fn enter(&self) {
        self.place.store(place::HOME);
    }

    /// A CPU leaves the chunk. `true`: the caller is to list it.
    pub(super) fn leave(&self) -> bool {
        // ORDERING: full; who gives an object back after it sees that nobody is here, who did before
        // is seen now.
        self.place.swap(place::NOWHERE);
        self.has_free() && self.claim_listing()
    }

    /// Is the chunk to be listed now, by the caller?
    #[inline]
    pub(super) fn claim_listing(&self) -> bool {
        self.place.load() == place::NOWHERE && self.place.cas(place::NOWHERE, place::LISTED).is_ok()
    }
}

const _: () = assert!(PAGES == 512 && ORDERS == 9);
