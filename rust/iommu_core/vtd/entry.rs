// SPDX-License-Identifier: GPL-2.0

//! Table entries that lead a request to its page table, and how to change a live one.
//!
//! Legacy mode: a context entry of 128 bits. Scalable mode: a context entry that never changes, and a
//! PASID-table entry of which only the first 256 bits are used here. Both are an [`Entry`].
//!
//! Source: Intel Virtualization Technology for Directed I/O, D51397-016 (revision 4.1), 9.1 to 9.6.

use core::fmt;

use crate::{
    addr::Oa,
    bits::{
        bit,
        get,
        mask,
        put, //
    },
    id::DomainId,
    plan::{
        Half,
        Plan, //
    },
};

/// P: the entry is present. In all kinds of entries.
const P: u64 = bit(0);
/// Pointers to tables.
const POINTER: u64 = mask(63, 12);

/// A root entry that points to a context table, or half a one of scalable mode.
pub const fn root_entry(table: Oa) -> u64 {
    (table.0 & POINTER) | P
}

/// The first word of a context entry of scalable mode, and of a PASID-directory entry: a pointer. The
/// directory has 128 entries, the least there is; requests without a PASID use PASID 0.
pub const fn pointer(table: Oa) -> u64 {
    (table.0 & POINTER) | P
}

/// A context entry of legacy mode in the first two words, or a PASID-table entry.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Entry(pub [u64; 4]);

/// PASID granular translation types. Source: 9.6, PGTT.
mod pgtt {
    pub(super) const FIRST: u64 = 1;
    pub(super) const SECOND: u64 = 2;
    pub(super) const PASS_THROUGH: u64 = 4;
}

/// The code of a number of levels, in context entries and PASID-table entries (AW).
const fn width(levels: u8) -> Option<u64> {
    match levels {
        // CAST: 1 to 3.
        3..=5 => Some(levels.saturating_sub(2) as u64),
        _ => None,
    }
}

impl Entry {
    /// Refuses every request, which is logged.
    pub const ABSENT: Self = Self([0; 4]);

    /// Legacy mode: translates by the second-stage tables at `root`. [`None`] if there are not 3 to 5
    /// levels.
    pub const fn legacy(root: Oa, levels: u8, did: DomainId) -> Option<Self> {
        match width(levels) {
            // CAST: u16 to u64 never loses a bit.
            Some(aw) => Some(Self([
                (root.0 & POINTER) | P,
                aw | put(did.0 as u64, 23, 8),
                0,
                0,
            ])),
            None => None,
        }
    }

    /// Legacy mode: passes through. `levels` are the most the unit has.
    pub const fn legacy_pass_through(levels: u8, did: DomainId) -> Option<Self> {
        match Self::legacy(Oa(0), levels, did) {
            Some(Self([a, b, c, d])) => Some(Self([a | put(2, 3, 2), b, c, d])),
            None => None,
        }
    }

    const fn pasid(kind: u64, did: DomainId, snoop: bool) -> Self {
        // Page walks snoop the processor's caches where the unit can.
        let snoop = if snoop { bit(23) } else { 0 };
        // CAST: u16 to u64 never loses a bit.
        Self([P | put(kind, 8, 6), did.0 as u64 | snoop, 0, 0])
    }

    /// Scalable mode: translates by second-stage tables. `snoop`: page walks can be coherent.
    pub const fn second_stage(root: Oa, levels: u8, did: DomainId, snoop: bool) -> Option<Self> {
        let Self([a, b, c, d]) = Self::pasid(pgtt::SECOND, did, snoop);
        match width(levels) {
            Some(aw) => Some(Self([a | (root.0 & POINTER) | put(aw, 4, 2), b, c, d])),
            None => None,
        }
    }

    /// Scalable mode: translates by first-stage tables of four levels. `levels` are the most
    /// second-stage ones the unit has: addresses are checked against them.
    pub const fn first_stage(root: Oa, levels: u8, did: DomainId, snoop: bool) -> Option<Self> {
        let Self([a, b, c, d]) = Self::pasid(pgtt::FIRST, did, snoop);
        match width(levels) {
            Some(aw) => Some(Self([a | put(aw, 4, 2), b, c | (root.0 & POINTER), d])),
            None => None,
        }
    }

    /// Scalable mode: passes through. `levels` are the most the unit has.
    pub const fn pass_through(levels: u8, did: DomainId, snoop: bool) -> Option<Self> {
        let Self([a, b, c, d]) = Self::pasid(pgtt::PASS_THROUGH, did, snoop);
        match width(levels) {
            Some(aw) => Some(Self([a | put(aw, 4, 2), b, c, d])),
            None => None,
        }
    }

    /// Does it let requests through, translated or not?
    pub const fn is_present(&self) -> bool {
        let Self([a, ..]) = *self;
        a & P != 0
    }

    /// The domain ID its cached copies are tagged with, 0 if it is absent. `scalable`: it is a
    /// PASID-table entry.
    pub const fn domain_id(&self, scalable: bool) -> DomainId {
        let Self([_, b, ..]) = *self;
        // CAST (two): 16 bits.
        match (self.is_present(), scalable) {
            (false, _) => DomainId(0),
            (true, true) => DomainId(get(b, 15, 0) as u16),
            (true, false) => DomainId(get(b, 23, 8) as u16),
        }
    }

    const fn half(&self, half: Half) -> [u64; 2] {
        let Self([a, b, c, d]) = *self;
        match half {
            Half::Low => [a, b],
            Half::High => [c, d],
        }
    }

    /// The same PASID-table entry with another domain ID.
    const fn with_id(&self, did: DomainId) -> Self {
        let Self([a, b, c, d]) = *self;
        // CAST: u16 to u64 never loses a bit.
        Self([a, b & !mask(15, 0) | did.0 as u64, c, d])
    }

    /// Does hardware read the upper half?
    const fn reads_high(&self) -> bool {
        let Self([a, ..]) = *self;
        self.is_present() && get(a, 8, 6) == pgtt::FIRST
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([a, b, c, d]) = self;
        write!(f, "{d:016x}_{c:016x}_{b:016x}_{a:016x}")
    }
}

/// Plans how to turn the live entry `current` into `target`, with both in the same mode.
///
/// At every moment hardware translates as `current` says or as `target` does, although an entry of
/// scalable mode is two atomic stores long. Everything a context entry says, and everything about
/// second-stage tables and pass-through, is in the lower half. A change between two first-stage
/// tables has the table in the upper half and the domain ID in the lower: meanwhile the entry has
/// the ID `spare`, which no other entry has, so that neither domain gets to use what the other's
/// table has said.
///
/// Flushing the old domain ID is the caller's; each invalidation is to drop what the entry before
/// the last store is tagged with.
pub fn plan_update(current: &Entry, target: &Entry, spare: DomainId) -> Plan {
    let (low, high) = (target.half(Half::Low), target.half(Half::High));
    let plan = Plan::empty();
    match (
        current.half(Half::Low) == low,
        current.half(Half::High) == high,
    ) {
        (true, true) => plan,
        (false, true) => plan.write(Half::Low, low),
        (true, false) => plan.write(Half::High, high),
        // What is not read may change first, or last.
        (false, false) if !current.reads_high() => {
            plan.write(Half::High, high).write(Half::Low, low)
        }
        (false, false) if !target.reads_high() => {
            plan.write(Half::Low, low).write(Half::High, high)
        }
        (false, false) => plan
            .write(Half::Low, current.with_id(spare).half(Half::Low))
            .write(Half::High, high)
            .write(Half::Low, low),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Step;
    use std::vec::Vec;

    const ROOT: Oa = Oa(0x1234_5000);
    const OTHER: Oa = Oa(0xabc_d000);
    const DID: DomainId = DomainId(0x4567);
    const SPARE: DomainId = DomainId(3);

    #[test]
    fn known_words() {
        let e = Entry::legacy(ROOT, 4, DID).unwrap();
        assert_eq!(e.0, [0x1234_5001, 0x45_6702, 0, 0]);
        assert_eq!(
            Entry::legacy_pass_through(3, DomainId(1)).unwrap().0,
            [0x9, 0x101, 0, 0]
        );
        let e = Entry::second_stage(ROOT, 4, DID, false).unwrap();
        assert_eq!(e.0, [0x1234_5089, 0x4567, 0, 0]);
        let e = Entry::second_stage(ROOT, 3, DID, true).unwrap();
        assert_eq!(e.0, [0x1234_5085, 0x80_4567, 0, 0]);
        assert_eq!(
            Entry::first_stage(ROOT, 4, DID, false).unwrap().0,
            [0x49, 0x4567, 0x1234_5000, 0]
        );
        assert_eq!(
            Entry::pass_through(4, DomainId(1), false).unwrap().0,
            [0x109, 1, 0, 0]
        );
        assert_eq!(root_entry(ROOT), 0x1234_5001);
        assert_eq!(Entry::legacy(ROOT, 2, DID), None);
        assert_eq!(Entry::legacy(ROOT, 6, DID), None);
    }

    #[test]
    fn the_tag_of_cached_copies() {
        assert_eq!(Entry::ABSENT.domain_id(false), DomainId(0));
        assert_eq!(Entry::legacy(ROOT, 4, DID).unwrap().domain_id(false), DID);
        assert_eq!(
            Entry::first_stage(ROOT, 4, DID, true)
                .unwrap()
                .domain_id(true),
            DID
        );
    }

    /// What hardware does with an entry: nothing it does not read counts.
    fn meaning(e: &Entry) -> [u64; 4] {
        let [a, b, c, d] = e.0;
        match (e.is_present(), e.reads_high()) {
            (false, _) => [0; 4],
            (true, false) => [a, b, 0, 0],
            (true, true) => [a, b, c, d],
        }
    }

    #[test]
    fn hardware_never_sees_a_torn_entry() {
        let entries = [
            Entry::ABSENT,
            Entry::pass_through(4, DomainId(1), true).unwrap(),
            Entry::second_stage(ROOT, 4, DID, true).unwrap(),
            Entry::second_stage(OTHER, 4, DomainId(9), true).unwrap(),
            Entry::first_stage(ROOT, 4, DID, true).unwrap(),
            Entry::first_stage(OTHER, 4, DomainId(9), true).unwrap(),
            Entry::first_stage(OTHER, 4, DID, true).unwrap(),
        ];
        for from in &entries {
            for to in &entries {
                let plan = plan_update(from, to, SPARE);
                let mut now = *from;
                for step in plan.steps() {
                    if let Step::Write { half, value } = step {
                        let [a, b, c, d] = now.0;
                        now = match half {
                            Half::Low => Entry([value[0], value[1], c, d]),
                            Half::High => Entry([a, b, value[0], value[1]]),
                        };
                        let seen = meaning(&now);
                        // With the spare ID, either table; with its own ID, each its own.
                        let spare = |e: &Entry| meaning(&e.with_id(SPARE));
                        let known = [meaning(from), meaning(to), spare(from), spare(to)];
                        assert!(known.contains(&seen), "{from:?} to {to:?}: {now:?}");
                        assert!(now.is_present() || !from.is_present() || !to.is_present());
                    }
                }
                assert_eq!(now, *to);
                let wrote: Vec<_> = plan.steps().to_vec();
                assert!(wrote.is_empty() || wrote.last() == Some(&Step::Invalidate));
            }
        }
    }
}
