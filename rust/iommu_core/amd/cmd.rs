// SPDX-License-Identifier: GPL-2.0

//! Commands of the AMD IOMMU, 128 bits each.
//!
//! A constructor leaves every reserved bit zero: hardware stops the command buffer at a reserved bit
//! that is set.
//!
//! Source: AMD IOMMU 48882 Rev 3.10, 2.4.
//! C source: [`drivers/iommu/amd/iommu.c`](srctree/drivers/iommu/amd/iommu.c).

use super::{bit, mask, put};
use crate::addr::{Oa, Range, PAGE_SHIFT};
use crate::id::{DomainId, Rid};

/// Opcodes, bits 63:60 of the first word.
mod op {
    pub(super) const COMPLETION_WAIT: u64 = 1;
    pub(super) const INVALIDATE_DEVTAB_ENTRY: u64 = 2;
    pub(super) const INVALIDATE_IOMMU_PAGES: u64 = 3;
    pub(super) const INVALIDATE_IOTLB_PAGES: u64 = 4;
    pub(super) const INVALIDATE_INTERRUPT_TABLE: u64 = 5;
    pub(super) const INVALIDATE_IOMMU_ALL: u64 = 8;
}

/// S bit of the second word: the address encodes a size.
const SIZE: u64 = bit(0);
/// PDE bit of the second word: page directory entries are dropped too.
const PDE: u64 = bit(1);

/// One command as it lies in the command buffer, low word first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Command(pub [u64; 2]);

impl Command {
    #[inline]
    const fn new(opcode: u64, low: u64, high: u64) -> Self {
        Self([put(opcode, 63, 60) | low, high])
    }

    /// Stores `data` at `addr` once every earlier command is done; with `interrupt` the unit also
    /// raises its completion interrupt.
    ///
    /// [`None`] if `addr` is not 8-byte aligned below 2^52.
    ///
    /// Source: 2.4.1.
    #[inline]
    pub const fn completion_wait_store(addr: Oa, data: u64, interrupt: bool) -> Option<Self> {
        if addr.0 & !mask(51, 3) != 0 {
            return None;
        }
        let int = if interrupt { bit(1) } else { 0 };
        Some(Self::new(op::COMPLETION_WAIT, addr.0 | bit(0) | int, data))
    }

    /// Drops the cached device table entry of `rid`.
    ///
    /// Source: 2.4.2.
    #[inline]
    pub const fn invalidate_devtab_entry(rid: Rid) -> Self {
        // CAST: u16 to u64 never loses a bit.
        Self::new(op::INVALIDATE_DEVTAB_ENTRY, rid.0 as u64, 0)
    }

    /// Drops cached translations of a domain in `pages`; with `pde` also the page directory entries
    /// on the way, needed when a table page is to be freed.
    ///
    /// Source: 2.4.3.
    #[inline]
    pub const fn invalidate_iommu_pages(did: DomainId, pages: Pages, pde: bool) -> Self {
        let pde = if pde { PDE } else { 0 };
        // CAST: u16 to u64 never loses a bit.
        Self::new(
            op::INVALIDATE_IOMMU_PAGES,
            put(did.0 as u64, 47, 32),
            pages.0 | pde,
        )
    }

    /// Asks the device `rid` to drop translations in `pages` from its own cache.
    ///
    /// `max_pend` bounds how many such requests the device has in flight: its invalidate queue
    /// depth. The queue is named by the requester ID, so that a device has one queue.
    ///
    /// Source: 2.4.4.
    #[inline]
    pub const fn invalidate_iotlb_pages(rid: Rid, max_pend: u8, pages: Pages) -> Self {
        // CAST (three): u16 and u8 to u64 never lose a bit.
        Self::new(
            op::INVALIDATE_IOTLB_PAGES,
            rid.0 as u64 | put(max_pend as u64, 31, 24) | put(rid.0 as u64, 47, 32),
            pages.0,
        )
    }

    /// Drops cached interrupt remapping entries of `rid`.
    ///
    /// Source: 2.4.5.
    #[inline]
    pub const fn invalidate_interrupt_table(rid: Rid) -> Self {
        // CAST: u16 to u64 never loses a bit.
        Self::new(op::INVALIDATE_INTERRUPT_TABLE, rid.0 as u64, 0)
    }

    /// Drops everything the unit caches; only where [`super::efr::Features::invalidate_all`] is set.
    ///
    /// Source: 2.4.8.
    #[inline]
    pub const fn invalidate_all() -> Self {
        Self::new(op::INVALIDATE_IOMMU_ALL, 0, 0)
    }
}

/// Pages to invalidate, as encoded in the second word of a command.
///
/// Without S the address names one 4 KiB page. With S the lowest zero among address bits 12 and up
/// says the size: at bit `n` it is 2^(n + 1) bytes, naturally aligned.
///
/// # Invariants
///
/// Only bits 63:12 and S are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pages(u64);

/// log2 of the largest size that is encoded as such; anything larger means all pages.
const SIZE_LG2_MAX: u32 = 52;

impl Pages {
    /// Every page of the domain.
    // INVARIANT: bits 62:12 and S.
    pub const ALL: Self = Self(mask(62, 12) | SIZE);

    /// `1 << lg2` pages from `first` on, a multiple of their size.
    #[inline]
    pub const fn block(first: u64, lg2: u32) -> Self {
        let first = first & mask(63, PAGE_SHIFT);
        if lg2 == 0 {
            // INVARIANT: masked above.
            return Self(first);
        }
        if lg2.saturating_add(PAGE_SHIFT) > SIZE_LG2_MAX {
            return Self::ALL;
        }
        // Ones from bit 12 to two below the size, and a zero right above them.
        let top = bit(lg2.wrapping_add(PAGE_SHIFT).wrapping_sub(1));
        // INVARIANT: no bit below 12 but S.
        Self((first & !top) | (top.wrapping_sub(1) & mask(63, PAGE_SHIFT)) | SIZE)
    }

    /// The smallest encodable block of pages that covers `range`.
    #[inline]
    pub const fn covering(range: Range) -> Self {
        let first = range.first() & mask(63, PAGE_SHIFT);
        let differ = first ^ (range.last() | mask(11, 0));
        // log2 of the smallest aligned block that holds both ends: at least the 12 low bits differ.
        let lg2 = 64u32.wrapping_sub(differ.leading_zeros());
        if lg2 <= PAGE_SHIFT {
            // INVARIANT: masked above.
            return Self(first);
        }
        if lg2 > SIZE_LG2_MAX {
            return Self::ALL;
        }
        // Ones from bit 12 to two below the size, and a zero right above them.
        let block = first & mask(63, 0).wrapping_shl(lg2);
        let top = bit(lg2.wrapping_sub(1));
        let ones = top.wrapping_sub(1) & mask(63, PAGE_SHIFT);
        // INVARIANT: `block` and `ones` have no bit below 12.
        Self(block | ones | SIZE)
    }

    /// The range of bytes this encoding invalidates, read back as hardware reads it.
    #[inline]
    pub const fn range(self) -> Range {
        let addr = self.0 & mask(63, PAGE_SHIFT);
        let len = if self.0 & SIZE == 0 {
            bit(PAGE_SHIFT)
        } else {
            let zero = (self.0 | mask(11, 0)).trailing_ones();
            if zero >= SIZE_LG2_MAX {
                0
            } else {
                bit(zero.wrapping_add(1))
            }
        };
        match Range::with_len(addr & len.wrapping_neg(), len) {
            Some(range) => range,
            // Length 0: all pages.
            None => Range::ALL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn r(first: u64, last: u64) -> Range {
        Range::new(first, last).unwrap()
    }

    #[test]
    fn commands_have_the_words_of_the_figures() {
        let rid = Rid::new(1, 2, 3);
        let page = Pages::covering(r(0x5000, 0x5fff));
        let vectors = [
            (
                Command::completion_wait_store(Oa(0x12_3456_7000), 0xdead, false).unwrap(),
                [0x1000_0012_3456_7001, 0xdead],
            ),
            (
                Command::completion_wait_store(Oa(0x7008), 1, true).unwrap(),
                [0x1000_0000_0000_700b, 1],
            ),
            (
                Command::invalidate_devtab_entry(rid),
                [0x2000_0000_0000_0113, 0],
            ),
            (
                Command::invalidate_iommu_pages(DomainId(5), page, false),
                [0x3000_0005_0000_0000, 0x5000],
            ),
            (
                Command::invalidate_iommu_pages(DomainId(0xffff), Pages::ALL, true),
                [0x3000_ffff_0000_0000, 0x7fff_ffff_ffff_f003],
            ),
            (
                Command::invalidate_iotlb_pages(rid, 32, page),
                [0x4000_0113_2000_0113, 0x5000],
            ),
            (
                Command::invalidate_interrupt_table(rid),
                [0x5000_0000_0000_0113, 0],
            ),
            (Command::invalidate_all(), [0x8000_0000_0000_0000, 0]),
        ];
        for (command, words) in vectors {
            assert_eq!(command.0, words);
        }
    }

    #[test]
    fn a_semaphore_out_of_place_is_refused() {
        for addr in [4, 1, 1 << 52, !7] {
            assert_eq!(Command::completion_wait_store(Oa(addr), 0, false), None);
        }
    }

    #[test]
    fn sizes_have_the_encodings_of_the_table() {
        for (first, last, word) in [
            (0x1000, 0x1fff, 0x1000),
            (0x1234, 0x1235, 0x1000),
            (0x2000, 0x3fff, 0x2001),
            (0x3000, 0x4fff, 0x3001),
            (0x4000, 0x7fff, 0x5001),
            (0x20_0000, 0x3f_ffff, 0x2f_f001),
            (0x4000_0000, 0x7fff_ffff, 0x5fff_f001),
            (0, bit(52) - 1, bit(51) - 0x1000 + 1),
            (0, bit(52), 0x7fff_ffff_ffff_f001),
            (0, u64::MAX, 0x7fff_ffff_ffff_f001),
            (u64::MAX, u64::MAX, 0xffff_ffff_ffff_f000),
        ] {
            assert_eq!(
                Pages::covering(r(first, last)).0,
                word,
                "{first:#x} {last:#x}"
            );
        }
    }

    /// The smallest block by trying every size, none of the bit tricks of the code under test.
    fn brute_force(range: Range) -> Range {
        for lg2 in 12..=52 {
            let size = 1u64 << lg2;
            let base = range.first() / size * size;
            if range.last() - base < size {
                return r(base, base + (size - 1));
            }
        }
        r(0, u64::MAX)
    }

    #[test]
    fn blocks_are_encoded_like_the_ranges_they_are() {
        for lg2 in 0..40 {
            let (first, len) = (3u64 << (lg2 + 12), 1u64 << (lg2 + 12));
            assert_eq!(
                Pages::block(first, lg2),
                Pages::covering(r(first, first + len - 1))
            );
        }
    }

    #[test]
    fn every_small_range_has_its_smallest_cover() {
        for first in 0..64u64 {
            for last in first..64 {
                let asked = r(first << 12, (last << 12) | 0xfff);
                let got = Pages::covering(asked).range();
                assert!(got.contains(&asked));
                assert_eq!(got, brute_force(asked));
            }
        }
    }

    proptest! {
        #[test]
        fn any_range_has_its_smallest_cover(a: u64, b: u64, shift in 0u32..64) {
            let first = a;
            let last = a.saturating_add(b >> shift);
            let asked = r(first, last);
            let got = Pages::covering(asked).range();
            prop_assert!(got.contains(&asked));
            prop_assert_eq!(got, brute_force(asked));
        }
    }
}
