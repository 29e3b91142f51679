// SPDX-License-Identifier: GPL-2.0

//! The radix tree of chunks, with a bitmap a class in each of its parts: which chunks have free
//! objects of a size, which are unused. A set bit of an upper part says that the lower part may
//! have one; so a search reads three words where it succeeds.
//!
//! # How bits stay true
//!
//! A bit is set bottom-up and cleared bottom-up. Who clears the last bit of a word clears the bit
//! above, then looks at the word again and sets the bit above if someone has set one meanwhile.
//! Who sets the first bit of a word sets the bit above. So a bit above may be set for nothing,
//! which the next search repairs, and is missing only while someone is about to set it.

use super::{
    chunk::Chunk,
    env::{
        Env,
        Link,
        Word, //
    }, //
};

/// Links of a part, and bits of its words.
pub(super) const FAN: usize = 64;
pub(super) const FAN_LG2: u32 = 6;
/// The last index of a link.
const LAST_BELOW: u32 = 63;
/// Chunks of the whole space.
pub(super) const CHUNKS: u32 = 1 << 18;

/// What a chunk can be listed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class(usize);

impl Class {
    /// Has free objects of `1 << order` pages.
    pub(super) const fn partial(order: u32) -> Self {
        // CAST: 8 at most.
        Self(if order < 9 { order as usize } else { 8 })
    }
    /// Is unused.
    pub(super) const FRESH: Self = Self(9);
    /// All its objects are free.
    pub(super) const EMPTY: Self = Self(10);
    /// A hint on parts only: they may hold an aligned run of `1 << lg2` unused chunks, 1 to 6.
    pub(super) const fn runs(lg2: u32) -> Self {
        // CAST: 6 at most.
        Self(10usize.saturating_add(if lg2 < 6 { lg2 as usize } else { 6 }))
    }
    const ALL: usize = 17;
}

/// A part of the tree.
pub(super) struct Part<E: Env, T: Send + Sync + 'static> {
    below: [E::Link<T>; FAN],
    words: [E::Word; Class::ALL],
}

/// 64 chunks, 128 MiB.
pub(super) type Node<E> = Part<E, Chunk<E>>;
/// 64 nodes, 8 GiB.
pub(super) type Region<E> = Part<E, Node<E>>;
/// The tree.
pub(super) type Root<E> = Part<E, Region<E>>;

impl<E: Env, T: Send + Sync + 'static> Part<E, T> {
    /// A part where the chunks under the bits `fresh` are unused.
    pub(super) fn new(fresh: u64) -> Self {
        Self {
            below: core::array::from_fn(|_| E::Link::empty()),
            words: core::array::from_fn(|class| {
                // The runs are hints, so too many are fine.
                let unused = class == Class::FRESH.0 || class > Class::EMPTY.0;
                E::Word::new(if unused { fresh } else { 0 })
            }),
        }
    }

    #[inline]
    pub(super) fn word(&self, class: Class) -> &E::Word {
        item!(&self.words, class.0)
    }

    #[inline]
    pub(super) fn below(&self, index: u32) -> &E::Link<T> {
        // CAST: u32 fits usize.
        item!(&self.below, (index & 63) as usize)
    }
}

/// The place of a chunk in the three parts.
#[inline]
pub(super) const fn path(chunk: u32) -> (u32, u32, u32) {
    let low = LAST_BELOW;
    (
        chunk >> (2 * FAN_LG2) & low,
        chunk >> FAN_LG2 & low,
        chunk & low,
    )
}

/// The bit of an index below 64.
#[inline]
pub(super) const fn bit(index: u32) -> u64 {
    1u64.wrapping_shl(index)
}

/// The bits from `first` to `last`, both below 64.
#[inline]
pub(super) const fn bits(first: u32, last: u32) -> u64 {
    if first > last {
        return 0;
    }
    (u64::MAX << (first & 63)) & (u64::MAX >> (63u32.saturating_sub(last) & 63))
}

/// The bits of what lies in `first..=last`, for the children of a part that starts at `base` and
/// whose children have `1 << lg2` chunks each.
pub(super) const fn window(base: u32, lg2: u32, first: u32, last: u32) -> u64 {
    let top = LAST_BELOW;
    let from = first.saturating_sub(base) >> lg2;
    if last < base || from > top {
        return 0;
    }
    let to = last.wrapping_sub(base) >> lg2;
    bits(from, if to < top { to } else { top })
}

/// The tree with its size.
pub(super) struct Tree<E: Env> {
    pub(super) root: Root<E>,
    last: u32,
}

impl<E: Env> Tree<E> {
    /// A tree of unused chunks up to `last`.
    pub(super) fn new(last: u32) -> Self {
        let last = last.min(CHUNKS.saturating_sub(1));
        Self {
            root: Root::<E>::new(window(0, 2 * FAN_LG2, 0, last)),
            last,
        }
    }

    /// The last chunk.
    pub(super) fn last(&self) -> u32 {
        self.last
    }

    /// A chunk that has been used.
    #[inline]
    pub(super) fn chunk(&self, chunk: u32) -> Option<&Chunk<E>> {
        let (a, b, c) = path(chunk);
        let node = self.root.below(a).get()?.below(b).get()?;
        node.below(c).get()
    }

    /// The node that a chunk is in, if it has been used.
    pub(super) fn node(&self, chunk: u32) -> Option<(&Region<E>, &Node<E>)> {
        let (a, b, _) = path(chunk);
        let region = self.root.below(a).get()?;
        Some((region, region.below(b).get()?))
    }

    pub(super) fn make_region(&self, index: u32) -> Option<&Region<E>> {
        let unused = self.root.word(Class::FRESH).load() & bit(index) != 0;
        let base = index << (2 * FAN_LG2);
        let fresh = window(base, FAN_LG2, base, self.last);
        self.root
            .below(index)
            .get_or_make(|| Region::<E>::new(if unused { fresh } else { 0 }))
    }

    /// The node that a chunk is in. [`None`]: no memory.
    pub(super) fn make_node(&self, chunk: u32) -> Option<(&Region<E>, &Node<E>)> {
        let (a, b, _) = path(chunk);
        let region = self.make_region(a)?;
        let node = region.below(b);
        if let Some(node) = node.get() {
            return Some((region, node));
        }
        // A node that is not there and not listed was reserved as a whole.
        let unused = region.word(Class::FRESH).load() & bit(b) != 0;
        let base = chunk & !bits(0, FAN_LG2.wrapping_sub(1)) as u32; // CAST: 63.
        let fresh = window(base, 0, base, self.last);
        let node = node.get_or_make(|| Node::<E>::new(if unused { fresh } else { 0 }))?;
        Some((region, node))
    }

    /// The descriptor of a chunk. [`None`]: no memory.
    pub(super) fn make_chunk(&self, chunk: u32) -> Option<&Chunk<E>> {
        let (_, node) = self.make_node(chunk)?;
        node.below(path(chunk).2).get_or_make(Chunk::new)
    }

    /// Makes the descriptors of the next `count` unused chunks from `first` on, as far as there is memory.
    pub(super) fn make_unused(&self, mut first: u32, count: u32) {
        for _ in 0..count {
            let Some(chunk) = self.find(Class::FRESH, first, self.last) else {
                return;
            };
            if self.make_chunk(chunk).is_none() {
                return;
            }
            first = chunk.saturating_add(1);
        }
    }

    /// Lists chunks of one node; those that were listed before.
    pub(super) fn list_bits(&self, class: Class, chunk: u32, mask: u64) -> u64 {
        let (a, b, _) = path(chunk);
        let Some((region, node)) = self.node(chunk) else {
            return mask;
        };
        let before = node.word(class).or(mask);
        if before == 0 && region.word(class).or(bit(b)) == 0 {
            self.root.word(class).or(bit(a));
        }
        before
    }

    /// Lists a chunk. `true`: it was not, and this call has done it.
    pub(super) fn list(&self, class: Class, chunk: u32) -> bool {
        let (_, _, c) = path(chunk);
        let listed = self
            .node(chunk)
            .is_none_or(|(_, node)| node.word(class).load() & bit(c) != 0);
        !listed && self.list_bits(class, chunk, bit(c)) & bit(c) == 0
    }

    /// Clears the bits above a node's word that has become zero.
    fn settle(&self, class: Class, chunk: u32) {
        let (a, b, _) = path(chunk);
        let Some((region, node)) = self.node(chunk) else {
            return;
        };
        let above = region.word(class).and(!bit(b)) & !bit(b);
        if node.word(class).load() != 0 {
            if region.word(class).or(bit(b)) == 0 {
                self.root.word(class).or(bit(a));
            }
        } else if above == 0 {
            self.settle_region(class, a, region);
        }
    }

    /// Clears the bit above a region's word that has become zero.
    pub(super) fn settle_region(&self, class: Class, index: u32, region: &Region<E>) {
        self.root.word(class).and(!bit(index));
        if region.word(class).load() != 0 {
            self.root.word(class).or(bit(index));
        }
    }

    /// Takes a chunk off a list. `true`: it was there, and this call has taken it.
    pub(super) fn unlist(&self, class: Class, chunk: u32) -> bool {
        self.unlist_bits(class, chunk, bit(path(chunk).2))
    }

    /// Takes chunks of one node off a list: all of them, or none.
    pub(super) fn unlist_bits(&self, class: Class, chunk: u32, mask: u64) -> bool {
        let Some((_, node)) = self.node(chunk) else {
            return false;
        };
        let old = node.word(class).and(!mask);
        if old & mask != mask {
            // Some were not there: the others go back.
            if old & mask != 0 {
                self.list_bits(class, chunk, old & mask);
            }
            return false;
        }
        if old & !mask == 0 {
            self.settle(class, chunk);
        }
        true
    }

    /// The lowest listed chunk of `first..=last`. Makes nodes of unused chunks on the way.
    ///
    /// At most [`FAN`] steps a level: parts that are listed for nothing are taken off.
    pub(super) fn find(&self, class: Class, first: u32, last: u32) -> Option<u32> {
        let mut regions = self.root.word(class).load() & window(0, 2 * FAN_LG2, first, last);
        while regions != 0 {
            let a = regions.trailing_zeros();
            regions &= regions.wrapping_sub(1);
            let base = a << (2 * FAN_LG2);
            let Some(region) = self.part_for(class, a) else {
                continue;
            };
            let mut nodes = region.word(class).load();
            if nodes == 0 {
                self.settle_region(class, a, region);
            }
            nodes &= window(base, FAN_LG2, first, last);
            while nodes != 0 {
                let b = nodes.trailing_zeros();
                nodes &= nodes.wrapping_sub(1);
                let base = base | b << FAN_LG2;
                let node = if class == Class::FRESH {
                    self.make_node(base)
                } else {
                    self.node(base)
                };
                let Some((_, node)) = node else { continue };
                let word = node.word(class).load();
                if word == 0 {
                    self.settle(class, base);
                }
                let found = word & window(base, 0, first, last);
                if found != 0 {
                    return Some(base | found.trailing_zeros());
                }
            }
        }
        None
    }

    fn part_for(&self, class: Class, region: u32) -> Option<&Region<E>> {
        if class == Class::FRESH {
            self.make_region(region)
        } else {
            self.root.below(region).get()
        }
    }

    /// All descriptors with their chunk's number.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (u32, &Chunk<E>)> {
        let regions = (0..64).filter_map(|a| Some((a, self.root.below(a).get()?)));
        regions.flat_map(|(a, region)| {
            let nodes = (0..64).filter_map(move |b| Some((b, region.below(b).get()?)));
            nodes.flat_map(move |(b, node)| {
                let base = a << (2 * FAN_LG2) | b << FAN_LG2;
                (0..64).filter_map(move |c| Some((base | c, node.below(c).get()?)))
            })
        })
    }

    /// Unused chunks: those of parts that have been made, then of the rest.
    pub(super) fn count_unused(&self) -> u64 {
        let class = Class::FRESH;
        let mut total = 0u64;
        for a in 0..64 {
            let listed = self.root.word(class).load() & bit(a) != 0;
            let base = a << (2 * FAN_LG2);
            let Some(region) = self.root.below(a).get() else {
                let end = base.saturating_add(4096).min(self.last.saturating_add(1));
                total = total.saturating_add(if listed {
                    end.saturating_sub(base).into()
                } else {
                    0
                });
                continue;
            };
            for b in 0..64 {
                let listed = region.word(class).load() & bit(b) != 0;
                let base = base | b << FAN_LG2;
                let word = match region.below(b).get() {
                    Some(node) => node.word(class).load(),
                    None if listed => window(base, 0, base, self.last),
                    None => 0,
                };
                total = total.saturating_add(word.count_ones().into());
            }
        }
        total
    }

    /// Takes all chunks of a node that nobody has used out of use, without making it.
    pub(super) fn withdraw_node(&self, base: u32) -> bool {
        let (a, b, _) = path(base);
        let Some(region) = self.make_region(a) else {
            return false;
        };
        if region.below(b).get().is_some() {
            return self.unlist_bits(Class::FRESH, base, u64::MAX);
        }
        for class in core::iter::once(Class::FRESH).chain((1..=6).map(Class::runs)) {
            if region.word(class).and(!bit(b)) & !bit(b) == 0 {
                self.settle_region(class, a, region);
            }
        }
        true
    }
}
