// SPDX-License-Identifier: GPL-2.0

//! Descriptors of the invalidation queue.
//!
//! A constructor leaves every reserved bit zero: hardware stops the queue at one that is set.
//!
//! Source: Intel Virtualization Technology for Directed I/O, D51397-016 (revision 4.1), 6.5.2.

use crate::{
    addr::{
        Oa,
        PAGE_SHIFT, //
    },
    bits::{
        bit,
        mask,
        put, //
    },
    id::{
        DomainId,
        Rid, //
    },
};

/// Types, bits 3:0 of the first word.
mod op {
    pub(super) const CONTEXT: u64 = 1;
    pub(super) const IOTLB: u64 = 2;
    pub(super) const WAIT: u64 = 5;
    pub(super) const PASID_IOTLB: u64 = 6;
    pub(super) const PASID: u64 = 7;
}

/// Granularities of the context cache and the IOTLB, bits 5:4.
mod by {
    pub(super) const GLOBAL: u64 = 1;
    pub(super) const DOMAIN: u64 = 2;
    /// One device, or some pages.
    pub(super) const SINGLE: u64 = 3;
}

/// Reads and writes that are under way are completed first (DR, DW).
const DRAIN: u64 = bit(6) | bit(7);
/// Only leaves changed (IH), in the second word.
const LEAF_ONLY: u64 = bit(6);

/// The first half of a descriptor, low word first. The second half, where descriptors are wide, is
/// zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Descriptor(pub [u64; 2]);

/// A field for a domain ID, bits 31:16 of the first word.
const fn tag(did: DomainId) -> u64 {
    // CAST: u16 to u64 never loses a bit.
    put(did.0 as u64, 31, 16)
}

impl Descriptor {
    #[inline]
    const fn new(kind: u64, granularity: u64, low: u64, high: u64) -> Self {
        Self([kind | put(granularity, 5, 4) | low, high])
    }

    /// Drops all cached context entries.
    #[inline]
    pub const fn all_contexts() -> Self {
        Self::new(op::CONTEXT, by::GLOBAL, 0, 0)
    }

    /// Drops the cached context entry of `rid`, which was tagged with `did`; 0 if it was absent.
    #[inline]
    pub const fn context(rid: Rid, did: DomainId) -> Self {
        // CAST: u16 to u64 never loses a bit.
        let source = put(rid.0 as u64, 47, 32);
        Self::new(op::CONTEXT, by::SINGLE, tag(did) | source, 0)
    }

    /// Drops all cached PASID-table entries.
    #[inline]
    pub const fn all_pasids() -> Self {
        Self::new(op::PASID, 3, 0, 0)
    }

    /// Drops the cached entries of PASID 0 that are tagged with `did`.
    #[inline]
    pub const fn pasid(did: DomainId) -> Self {
        Self::new(op::PASID, 1, tag(did), 0)
    }

    /// Drops all cached translations.
    #[inline]
    pub const fn all_translations() -> Self {
        Self::new(op::IOTLB, by::GLOBAL, DRAIN, 0)
    }

    /// Drops the cached translations of a domain.
    #[inline]
    pub const fn domain(did: DomainId) -> Self {
        Self::new(op::IOTLB, by::DOMAIN, tag(did) | DRAIN, 0)
    }

    /// Drops the cached translations of a block of pages, and with `!leaf_only` what leads to them.
    #[inline]
    pub const fn pages(did: DomainId, block: Block, leaf_only: bool) -> Self {
        let hint = if leaf_only { LEAF_ONLY } else { 0 };
        Self::new(op::IOTLB, by::SINGLE, tag(did) | DRAIN, block.0 | hint)
    }

    /// First stage: drops the cached translations of a domain, for PASID 0.
    #[inline]
    pub const fn first_domain(did: DomainId) -> Self {
        Self::new(op::PASID_IOTLB, 2, tag(did), 0)
    }

    /// First stage: drops the cached translations of a block of pages, for PASID 0.
    #[inline]
    pub const fn first_pages(did: DomainId, block: Block, leaf_only: bool) -> Self {
        let hint = if leaf_only { LEAF_ONLY } else { 0 };
        Self::new(op::PASID_IOTLB, 3, tag(did), block.0 | hint)
    }

    /// Stores `data` at `addr` once all earlier descriptors are done. [`None`] if `addr` is not
    /// 4-byte aligned.
    #[inline]
    pub const fn wait_store(addr: Oa, data: u32) -> Option<Self> {
        if addr.0 & 3 != 0 {
            return None;
        }
        // CAST: u32 to u64 never loses a bit.
        let low = op::WAIT | bit(5) | put(data as u64, 63, 32);
        Some(Self([low, addr.0]))
    }
}

/// A naturally aligned block of a power of two of pages.
///
/// # Invariants
///
/// The address in bits 63:12, log2 of the number of pages in bits 5:0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block(u64);

impl Block {
    /// `1 << lg2` pages from `first` on, a multiple of their size.
    #[inline]
    pub const fn new(first: u64, lg2: u32) -> Self {
        // INVARIANT: callers pass an aligned address; masked to be sure. CAST: fits.
        Self(first & mask(63, PAGE_SHIFT) | (lg2 as u64 & mask(5, 0)))
    }

    /// First byte.
    #[inline]
    pub const fn first(&self) -> u64 {
        self.0 & mask(63, PAGE_SHIFT)
    }

    /// Number of pages.
    #[inline]
    pub const fn nr_pages(&self) -> u64 {
        1 << (self.0 & mask(5, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DID: DomainId = DomainId(0x4567);

    #[test]
    fn known_words() {
        let block = Block(0x1234_5000 | 3);
        for (d, words) in [
            (Descriptor::all_contexts(), [0x11, 0]),
            (Descriptor::context(Rid(0x0108), DID), [0x0108_4567_0031, 0]),
            (Descriptor::all_pasids(), [0x37, 0]),
            (Descriptor::pasid(DID), [0x4567_0017, 0]),
            (Descriptor::all_translations(), [0xd2, 0]),
            (Descriptor::domain(DID), [0x4567_00e2, 0]),
            (
                Descriptor::pages(DID, block, false),
                [0x4567_00f2, 0x1234_5003],
            ),
            (
                Descriptor::pages(DID, block, true),
                [0x4567_00f2, 0x1234_5043],
            ),
            (Descriptor::first_domain(DID), [0x4567_0026, 0]),
            (
                Descriptor::first_pages(DID, block, true),
                [0x4567_0036, 0x1234_5043],
            ),
        ] {
            assert_eq!(d.0, words);
        }
        assert_eq!(
            Descriptor::wait_store(Oa(0x7000), 0x89).unwrap().0,
            [0x89_0000_0025, 0x7000]
        );
        assert_eq!(Descriptor::wait_store(Oa(0x7002), 0), None);
    }
}
