// SPDX-License-Identifier: GPL-2.0

//! What a CPU takes objects from, and how it gets new ones.

use core::num::NonZero;

use super::{
    chunk::{
        Chunk,
        Taken,
        Use,
        GROUP, //
    },
    env::{
        Env,
        Word, //
    },
    number_of,
    tree::{
        Class, //
    },
    Space,
    LAST_LOW,
    ORDERS,
    REFILL_TRIES, //
};

/// Up to 32 objects of one order: which of a group in the lower half of a word, the group's number in
/// the upper half. One word, so that a compare-and-exchange takes an object of the right group.
pub(super) struct Slot<E: Env> {
    objects: E::Word,
    /// The chunk they come from, plus 1, shifted by 4, and the word of its bitmap to go on at.
    home: E::Word,
}

/// All slots of a CPU: for addresses below and above 4 GiB, one an order.
pub struct CpuSlots<E: Env> {
    slots: [[Slot<E>; ORDERS]; 2],
}

impl<E: Env> CpuSlots<E> {
    /// Slots without objects.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            slots: core::array::from_fn(|_| core::array::from_fn(|_| Slot::new())),
        }
    }

    #[inline]
    pub(super) fn slot(&self, high: bool, order: u32) -> &Slot<E> {
        let zone = item!(&self.slots, usize::from(high));
        // CAST: u32 fits usize.
        item!(zone, order as usize)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (u32, &Slot<E>)> {
        self.slots.iter().flat_map(|zone| (0..).zip(zone.iter()))
    }
}

impl<E: Env> Slot<E> {
    fn new() -> Self {
        Self {
            objects: E::Word::new(0),
            home: E::Word::new(0),
        }
    }

    /// The lowest object's number, without taking it, and what [`Self::take_seen`] wants to know.
    #[inline]
    pub(super) fn peek(&self) -> Option<(u64, u64)> {
        let now = self.objects.load();
        Some((Self::number(now)?, now))
    }

    /// Takes the object that was seen, if nothing has changed since.
    #[inline]
    pub(super) fn take_seen(&self, seen: u64) -> bool {
        self.objects.cas(seen, seen & seen.wrapping_sub(1)).is_ok()
    }

    /// Takes the lowest object: its number among all of its order.
    #[inline]
    pub(super) fn take(&self) -> Option<u64> {
        let mut now = self.objects.load();
        loop {
            let number = Self::number(now)?;
            match self.objects.cas(now, now & now.wrapping_sub(1)) {
                Ok(()) => return Some(number),
                Err(other) => now = other,
            }
        }
    }

    /// The number of a word's lowest object.
    #[inline]
    fn number(word: u64) -> Option<u64> {
        // CAST: the lower half.
        let objects = NonZero::new(word as u32)?;
        Some((word >> 32).wrapping_mul(u64::from(GROUP)) | u64::from(objects.trailing_zeros()))
    }

    /// Puts a group into an empty slot.
    fn put(&self, group: u64, objects: u32) -> bool {
        let now = self.objects.load();
        // CAST: the lower half.
        now as u32 == 0
            && self
                .objects
                .cas(now, group << 32 | u64::from(objects))
                .is_ok()
    }

    /// Takes everything: the group and its objects.
    pub(super) fn empty(&self) -> Option<(u64, u32)> {
        let mut now = self.objects.load();
        loop {
            // CAST (both): the lower half.
            if now as u32 == 0 {
                return None;
            }
            match self.objects.cas(now, now & !u64::from(u32::MAX)) {
                Ok(()) => return Some((now >> 32, now as u32)),
                Err(other) => now = other,
            }
        }
    }

    /// Has it neither objects nor a home?
    #[inline]
    fn is_bare(&self) -> bool {
        // CAST: the lower half.
        self.objects.load() as u32 == 0 && self.home.load() == 0
    }

    fn home(&self) -> Option<(u32, usize)> {
        let home = self.home.load();
        // CAST (both): 19 bits and 3.
        let chunk = ((home >> 4) as u32).checked_sub(1)?;
        Some((chunk, (home & 7) as usize))
    }

    fn set_home(&self, chunk: u32, word: usize) {
        // CAST: usize is not wider than u64.
        self.home
            .store((u64::from(chunk).wrapping_add(1)) << 4 | word as u64 & 7);
    }

    pub(super) fn take_home(&self) -> Option<u32> {
        // CAST: 19 bits.
        ((self.home.swap(0) >> 4) as u32).checked_sub(1)
    }

    pub(super) fn objects(&self) -> u32 {
        // CAST: the lower half.
        (self.objects.load() as u32).count_ones()
    }
}

/// The number among all groups of an order of one in a chunk; and back: its chunk, its first object.
///
/// A chunk has `PAGES >> order` objects, so fewer than 16 groups, and part of one, where they are
/// large.
fn group_of(c: u32, order: u32, group: u32) -> (u64, u32) {
    let first = number_of(c, order, group.wrapping_mul(GROUP));
    // CAST: 5 bits.
    let lg2 = GROUP.trailing_zeros();
    (first >> lg2, (first as u32) & GROUP.wrapping_sub(1))
}

impl<E: Env, S: AsRef<[CpuSlots<E>]>> Space<E, S> {
    #[inline]
    pub(super) fn slot(&self, cpu: usize, high: bool, order: u32) -> Option<&Slot<E>> {
        Some(self.slots.as_ref().get(cpu)?.slot(high, order))
    }

    /// Gives a slot new objects and takes one of them.
    #[cold]
    pub(super) fn refill(&self, slot: &Slot<E>, high: bool, order: u32) -> Option<u64> {
        let (first, last) = if high {
            (LAST_LOW.wrapping_add(1), self.tree.last())
        } else {
            (0, self.tree.last().min(LAST_LOW))
        };
        if let Some((c, word)) = slot.home() {
            if let Some(chunk) = self.tree.chunk(c) {
                if let Some(number) = self.take_from(slot, c, chunk, order, word) {
                    return Some(number);
                }
                self.leave_home(slot);
            }
        }
        for _ in 0..REFILL_TRIES {
            let (c, chunk) = self.take_home(order, first, last)?;
            if let Some(number) = self.take_from(slot, c, chunk, order, 0) {
                return Some(number);
            }
            if chunk.leave() {
                self.list(c, chunk);
            }
        }
        None
    }

    /// Leaves the chunk that a slot's objects come from. `true`: it is listed, as it has free ones.
    pub(super) fn leave_home(&self, slot: &Slot<E>) -> bool {
        let Some((c, chunk)) = slot
            .take_home()
            .and_then(|c| Some((c, self.tree.chunk(c)?)))
        else {
            return false;
        };
        let listed = chunk.leave();
        if listed {
            self.list(c, chunk);
        }
        listed
    }

    /// Takes a group of a chunk: one object for the caller, the others into the slot.
    fn take_from(
        &self,
        slot: &Slot<E>,
        c: u32,
        chunk: &Chunk<E>,
        order: u32,
        from: usize,
    ) -> Option<u64> {
        let taken = chunk.take_group(order, from);
        let (group, objects) = taken.map_err(|t| self.put_back(c, chunk, t)).ok()?;
        let (global, shift) = group_of(c, order, group);
        let first = objects.trailing_zeros();
        let rest = objects & objects.wrapping_sub(1);
        if rest != 0 && !slot.put(global, rest.wrapping_shl(shift)) {
            // Someone else on this CPU has refilled it.
            self.give_group(c, chunk, order, group, rest);
        }
        // CAST: 7 at most.
        slot.set_home(c, (group >> 1) as usize);
        // ORDERING: after the objects are there; who drains clears this first.
        if self.stocked.load() == 0 {
            self.stocked.store(1);
        }
        Some(global.wrapping_mul(u64::from(GROUP)) | u64::from(shift.wrapping_add(first)))
    }

    /// Gives back what was taken from a chunk that has changed its use.
    pub(super) fn put_back(&self, c: u32, chunk: &Chunk<E>, taken: Option<Taken>) {
        let Some(t) = taken else { return };
        // Its order does not change while its bits are here.
        if let Use::Objects { order } = chunk.used_for() {
            let _ = self.give(c, chunk, order, t.word, t.bits);
        }
    }

    fn give_group(&self, c: u32, chunk: &Chunk<E>, order: u32, group: u32, objects: u32) {
        let shift = group.wrapping_mul(GROUP) & 63;
        // CAST: 7 at most.
        let word = (group >> 1) as usize;
        // They were ours.
        let _ = self.give(c, chunk, order, word, u64::from(objects) << shift);
    }

    /// A chunk with free objects that nobody else takes from: a listed one, an empty one of another
    /// order, or an unused one.
    pub(super) fn take_home(&self, order: u32, first: u32, last: u32) -> Option<(u32, &Chunk<E>)> {
        self.take_listed(order, first, last)
            .or_else(|| self.take_other(order, first, last))
    }

    /// [`Space::take_home`] of a listed one.
    pub(super) fn take_listed(
        &self,
        order: u32,
        first: u32,
        last: u32,
    ) -> Option<(u32, &Chunk<E>)> {
        let class = Class::partial(order);
        for _ in 0..REFILL_TRIES {
            let Some(c) = self.tree.find(class, first, last) else {
                break;
            };
            let chunk = self.tree.chunk(c)?;
            if self.tree.unlist(class, c) {
                chunk.enter();
                return Some((c, chunk));
            }
        }
        None
    }

    /// [`Space::take_home`] of one that has another order, or none.
    fn take_other(&self, order: u32, first: u32, last: u32) -> Option<(u32, &Chunk<E>)> {
        for _ in 0..REFILL_TRIES {
            let Some(c) = self.tree.find(Class::EMPTY, first, last) else {
                break;
            };
            if let Some(chunk) = self.take_empty(c) {
                chunk.dedicate(Use::Objects { order });
                return Some((c, chunk));
            }
        }
        for _ in 0..REFILL_TRIES {
            let c = self.tree.find(Class::FRESH, first, last)?;
            if self.tree.unlist(Class::FRESH, c) {
                let Some(chunk) = self.tree.make_chunk(c) else {
                    self.tree.give_unused(c, 1u64.wrapping_shl(c & 63));
                    return None;
                };
                chunk.dedicate(Use::Objects { order });
                return Some((c, chunk));
            }
        }
        None
    }

    /// Takes a chunk whose objects are all free, with its leaf table.
    pub(super) fn take_empty(&self, c: u32) -> Option<&Chunk<E>> {
        let chunk = self.tree.chunk(c)?;
        self.unlist_empty(c);
        let Use::Objects { order } = chunk.used_for() else {
            return None;
        };
        if !chunk.take_all(order) {
            // Someone may have freed the last object before it was taken off the list.
            if chunk.is_empty(order) {
                self.list_empty(c);
            }
            return None;
        }
        self.tree.unlist(Class::partial(order), c);
        Some(chunk)
    }

    /// Gives objects of a slot back to their chunk.
    fn give_reserve(&self, global: u64, order: u32, objects: u32) {
        let first = global.wrapping_mul(u64::from(GROUP));
        let per_chunk = super::PAGES >> (order & 15);
        // A group is of one chunk, but for large objects, of which several chunks' share a number.
        let together = u32::MAX.wrapping_shr(GROUP.saturating_sub(per_chunk));
        let mut left = objects;
        while left != 0 {
            // The first place of the lowest object's chunk, and what is of that chunk.
            let place = left.trailing_zeros() & !per_chunk.wrapping_sub(1);
            let bits = left.wrapping_shr(place) & together;
            left &= !together.wrapping_shl(place);
            let number = first | u64::from(place);
            // CAST (both): 18 bits; 9 bits.
            let c = (number >> per_chunk.trailing_zeros()) as u32;
            let object = (number as u32) & per_chunk.wrapping_sub(1);
            if let Some(chunk) = self.tree.chunk(c) {
                // CAST: 7 at most.
                let word = (object >> 6) as usize;
                let bits = u64::from(bits).wrapping_shl(object & 63);
                let _ = self.give(c, chunk, order, word, bits);
            }
        }
    }

    /// Gives back what all CPUs hold in reserve, and leaves their homes.
    pub fn drain(&self) {
        for order in 0..9 {
            self.drain_order(order);
        }
    }

    /// [`Space::drain`] of one order. `true`: there was something.
    pub(super) fn drain_order(&self, order: u32) -> bool {
        let mut any = false;
        for cpu in self.slots.as_ref() {
            for high in [false, true] {
                let slot = cpu.slot(high, order);
                if slot.is_bare() {
                    continue;
                }
                if let Some((global, objects)) = slot.empty() {
                    self.give_reserve(global, order, objects);
                    any = true;
                }
                any |= self.leave_home(slot);
            }
        }
        any
    }
}
