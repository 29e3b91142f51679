// SPDX-License-Identifier: GPL-2.0

//! Addresses and ranges, each with its own type so that one is never taken for the other.

use core::{
    fmt,
    num::NonZero, //
};

/// log2 of the base page size of every unit driven here.
pub const PAGE_SHIFT: u32 = 12;
/// The base page size in bytes.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;

/// An address as a device puts it on the bus, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Iova(pub u64);

/// An output (physical) address, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oa(pub u64);

impl fmt::Display for Iova {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Display for Oa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A non-empty range of byte addresses, both ends inclusive.
///
/// # Invariants
///
/// `first <= last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    first: u64,
    last: u64,
}

impl Range {
    /// The whole 64-bit space.
    // INVARIANT: 0 is the least address.
    pub const ALL: Self = Self {
        first: 0,
        last: u64::MAX,
    };

    /// Makes a range from its inclusive ends, [`None`] if they are in the wrong order.
    #[inline]
    pub const fn new(first: u64, last: u64) -> Option<Self> {
        if first <= last {
            // INVARIANT: just checked.
            Some(Self { first, last })
        } else {
            None
        }
    }

    /// Makes a range from a start and a length in bytes, [`None`] if it is empty or leaves the
    /// 64-bit space.
    #[inline]
    pub const fn with_len(first: u64, len: u64) -> Option<Self> {
        if len == 0 {
            return None;
        }
        match first.checked_add(len.wrapping_sub(1)) {
            Some(last) => Self::new(first, last),
            None => None,
        }
    }

    /// First byte.
    #[inline]
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// Last byte.
    #[inline]
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// Length in bytes, saturating at [`u64::MAX`] for the whole 64-bit space.
    #[inline]
    pub const fn len_bytes(&self) -> u64 {
        self.last.wrapping_sub(self.first).saturating_add(1)
    }

    /// The smallest page-aligned range that covers this one: the start is rounded down and the
    /// end up, so that no byte of a firmware region is lost.
    #[inline]
    pub const fn page_cover(&self) -> Self {
        // INVARIANT: `first` only shrinks and `last` only grows.
        Self {
            first: self.first & !(PAGE_SIZE - 1),
            last: self.last | (PAGE_SIZE - 1),
        }
    }

    /// Returns `true` if the two ranges share a byte.
    #[inline]
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Returns `true` if `other` lies wholly inside this range.
    #[inline]
    pub const fn contains(&self, other: &Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}

/// Whole pages: their first address, page aligned, and their number, not zero. Unlike a [`Range`] it
/// says at compile time that it is one page, where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageSpan {
    /// The first address.
    pub first: u64,
    /// The number of pages.
    pub pages: u64,
}

impl PageSpan {
    /// The pages of a range.
    #[inline]
    pub const fn of(range: &Range) -> Self {
        let r = range.page_cover();
        Self {
            first: r.first,
            pages: (r.last.wrapping_sub(r.first) >> PAGE_SHIFT).wrapping_add(1),
        }
    }

    /// log2 of the number of pages, if they are one block of [`PageSpan::blocks`] with at most `most` pages.
    #[inline]
    pub const fn one_block(self, most: u64) -> Option<u32> {
        let first = self.first >> PAGE_SHIFT;
        match NonZero::new(self.pages) {
            Some(pages)
                if self.pages <= most && (self.pages | first) & self.pages.wrapping_sub(1) == 0 =>
            {
                Some(pages.trailing_zeros())
            }
            _ => None,
        }
    }

    /// The smallest block that has all the pages: its first address, and log2 of its pages.
    #[inline]
    pub const fn cover(self) -> (u64, u32) {
        let first = self.first >> PAGE_SHIFT;
        let last = first.wrapping_add(self.pages.wrapping_sub(1));
        let lg2 = 64u32.wrapping_sub((first ^ last).leading_zeros());
        if lg2 > 51 {
            return (0, 52);
        }
        ((first >> lg2) << lg2 << PAGE_SHIFT, lg2)
    }

    /// Blocks of a power of two of pages, each at a multiple of its size, that cover the pages: three at
    /// most where the first address is a multiple of the size, and at most a quarter more than asked for.
    ///
    /// Why not one block: units drop what is cached of all its pages. Why not exact: each block is a
    /// command.
    #[inline]
    pub const fn blocks(self, most_lg2: u32) -> Blocks {
        let lg2 = 63u32.saturating_sub(self.pages.leading_zeros());
        let step = 1u64 << (lg2.saturating_sub(2) & 63);
        let pages = self.pages.wrapping_add(step.wrapping_sub(1)) & !step.wrapping_sub(1);
        let first = self.first >> PAGE_SHIFT;
        Blocks {
            next: first,
            left: if pages < self.pages || first.checked_add(pages).is_none() {
                self.pages
            } else {
                pages
            },
            most_lg2,
        }
    }
}

/// See [`PageSpan::blocks`]: the first address and log2 of the pages of each.
#[derive(Clone, Copy, Debug)]
pub struct Blocks {
    next: u64,
    left: u64,
    most_lg2: u32,
}

impl Iterator for Blocks {
    type Item = (u64, u32);

    #[inline]
    fn next(&mut self) -> Option<(u64, u32)> {
        if self.left == 0 {
            return None;
        }
        let fits = 63u32.saturating_sub(self.left.leading_zeros());
        let mut lg2 = if self.left == 1 {
            0
        } else {
            self.next.trailing_zeros().min(fits)
        };
        if lg2 > self.most_lg2 {
            lg2 = self.most_lg2;
        }
        let first = self.next << PAGE_SHIFT;
        self.next = self.next.wrapping_add(1u64 << (lg2 & 63));
        self.left = self.left.wrapping_sub(1u64 << (lg2 & 63));
        Some((first, lg2))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:#x}-{:#x}]", self.first, self.last)
    }
}

/// What a device may do with a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Perm {
    /// The device may read memory.
    pub read: bool,
    /// The device may write memory.
    pub write: bool,
}

impl Perm {
    /// Read and write.
    pub const RW: Self = Self {
        read: true,
        write: true,
    };
    /// Read only.
    pub const RO: Self = Self {
        read: true,
        write: false,
    };
    /// Write only.
    pub const WO: Self = Self {
        read: false,
        write: true,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_space_is_a_range() {
        let all = Range::new(0, u64::MAX).unwrap();
        assert_eq!(all.len_bytes(), u64::MAX);
        assert_eq!(Range::with_len(u64::MAX, 1), Range::new(u64::MAX, u64::MAX));
        assert_eq!(Range::with_len(u64::MAX, 2), None);
        assert_eq!(Range::with_len(5, 0), None);
    }

    #[test]
    fn blocks_cover_little_more_than_asked_for() {
        for lg2 in 0..12u32 {
            for pages in (1u64 << lg2)..(2 << lg2) {
                for first in [0, 1 << 20, 7] {
                    let span = PageSpan {
                        first: first << 12,
                        pages,
                    };
                    let mut blocks = span.blocks(10);
                    if let Some(n) = span.one_block(1 << 10) {
                        assert_eq!(
                            (blocks.next(), blocks.next()),
                            (Some((span.first, n)), None)
                        );
                    }
                    let (mut at, mut count, mut total) = (first, 0, 0);
                    for (a, n) in span.blocks(10) {
                        assert_eq!((a >> 12, a >> 12 & ((1 << n) - 1)), (at, 0), "{span:?}");
                        assert!(n <= 10);
                        at += 1 << n;
                        total += 1u64 << n;
                        count += 1;
                    }
                    assert!(total >= pages && total * 4 <= pages * 5, "{span:?}");
                    assert!(first == 7 || lg2 > 10 || count <= 3, "{span:?}");
                }
            }
        }
        let all = PageSpan::of(&Range::ALL);
        assert_eq!(all.pages, 1 << 52);
        assert_eq!(all.blocks(63).map(|(_, n)| 1u64 << n).sum::<u64>(), 1 << 52);
    }

    #[test]
    fn page_cover_rounds_outward() {
        let r = Range::new(0x1fff, 0x2000).unwrap().page_cover();
        assert_eq!((r.first(), r.last()), (0x1000, 0x2fff));
    }
}
