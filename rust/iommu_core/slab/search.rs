// SPDX-License-Identifier: GPL-2.0

//! Runs of unused chunks in the tree: found by hints, taken whole, given back.

use super::{
    env::{
        Env,
        Word, //
    },
    tree::{
        bit,
        bits,
        path,
        window,
        Class,
        Tree,
        FAN_LG2, //
    }, //
};

impl<E: Env> Tree<E> {
    /// Gives unused chunks of one node back, and says that there may be runs of them.
    pub(super) fn give_unused(&self, chunk: u32, mask: u64) {
        self.list_bits(Class::FRESH, chunk, mask);
        let (a, b, _) = path(chunk);
        if let Some((region, _)) = self.node(chunk) {
            for lg2 in 1..=6 {
                let class = Class::runs(lg2);
                if region.word(class).or(bit(b)) & bit(b) == 0 {
                    self.root.word(class).or(bit(a));
                }
            }
        }
    }

    /// Takes a hint off for which a node has no run.
    fn drop_hint(&self, lg2: u32, chunk: u32) {
        let (a, b, _) = path(chunk);
        let (class, Some((region, node))) = (Class::runs(lg2), self.node(chunk)) else {
            return;
        };
        let above = region.word(class).and(!bit(b)) & !bit(b);
        if run_in(node.word(Class::FRESH).load(), lg2) != 0 {
            region.word(class).or(bit(b));
            self.root.word(class).or(bit(a));
        } else if above == 0 {
            self.settle_region(class, a, region);
        }
    }

    /// Takes `count` unused chunks of one node, at a multiple of their number rounded up to a power
    /// of two. Looks at [`Tree::MOST_NODES`] nodes at most.
    pub(super) fn take_run(&self, count: u32, first: u32, last: u32) -> Option<u32> {
        let lg2 = count.next_power_of_two().trailing_zeros();
        let class = if lg2 == 0 {
            Class::FRESH
        } else {
            Class::runs(lg2)
        };
        let mask = bits(0, count.clamp(1, 64).wrapping_sub(1));
        let mut from = first;
        for _ in 0..Self::MOST_NODES {
            let base = self.find_node(class, from, last)?;
            let (_, node) = self.make_node(base)?;
            let free = node.word(Class::FRESH).load() & window(base, 0, first, last);
            let run = run_in(free, lg2);
            if run != 0 {
                let c = run.trailing_zeros();
                if self.unlist_bits(Class::FRESH, base, mask << (c & 63)) {
                    return Some(base | c);
                }
                // Another CPU was faster: once more at the same node.
                continue;
            }
            if lg2 > 0 {
                self.drop_hint(lg2, base);
            }
            from = base.checked_add(64)?;
        }
        None
    }

    /// Nodes that one search for a run looks at.
    pub(super) const MOST_NODES: u32 = 64;

    /// The first node of `first..=last` that is listed; not looked into.
    fn find_node(&self, class: Class, first: u32, last: u32) -> Option<u32> {
        let mut regions = self.root.word(class).load() & window(0, 2 * FAN_LG2, first, last);
        while regions != 0 {
            let a = regions.trailing_zeros();
            regions &= regions.wrapping_sub(1);
            let base = a << (2 * FAN_LG2);
            let region = self.make_region(a)?;
            let nodes = region.word(class).load() & window(base, FAN_LG2, first, last);
            if nodes != 0 {
                return Some(base | nodes.trailing_zeros() << FAN_LG2);
            }
        }
        None
    }

    /// Takes `count` whole nodes of one region, at a multiple of their number rounded up to a power
    /// of two.
    pub(super) fn take_nodes(&self, count: u32, first: u32, last: u32) -> Option<u32> {
        let lg2 = count.next_power_of_two().trailing_zeros();
        let class = Class::runs(6);
        let mut regions = self.root.word(class).load() & window(0, 2 * FAN_LG2, first, last);
        while regions != 0 {
            let a = regions.trailing_zeros();
            regions &= regions.wrapping_sub(1);
            let base = a << (2 * FAN_LG2);
            let region = self.make_region(a)?;
            // The last node must lie wholly below the limit.
            let end = last.saturating_add(1) & !bits(0, 5) as u32; // CAST: 63.
            let inside = window(base, FAN_LG2, first, end.checked_sub(1)?);
            let run = run_in(region.word(class).load() & inside, lg2);
            if run == 0 {
                continue;
            }
            let b = run.trailing_zeros();
            let start = base | b << FAN_LG2;
            let mut taken = 0;
            while taken < count {
                let node = start.saturating_add(taken << FAN_LG2);
                self.make_node(node)?;
                if !self.unlist_bits(Class::FRESH, node, u64::MAX) {
                    self.drop_hint(6, node);
                    break;
                }
                taken = taken.saturating_add(1);
            }
            if taken == count {
                return Some(start);
            }
            for i in 0..taken {
                self.give_unused(start.saturating_add(i << FAN_LG2), u64::MAX);
            }
        }
        None
    }

    /// Gives `count` unused chunks from `chunk` on back.
    pub(super) fn give_run(&self, chunk: u32, count: u32) {
        let end = chunk.saturating_add(count);
        let mut next = chunk;
        while next < end {
            let (_, _, c) = path(next);
            let base = next.wrapping_sub(c);
            let last = base.saturating_add(63).min(end.wrapping_sub(1));
            self.give_unused(base, bits(c, last.wrapping_sub(base)));
            next = last.saturating_add(1);
        }
    }
}

/// The places in a word where an aligned run of `1 << lg2` set bits begins.
pub(super) const fn run_in(word: u64, lg2: u32) -> u64 {
    let (mut w, mut i) = (word, 0);
    while i < lg2 && i < FAN_LG2 {
        w &= w >> (1u32 << i);
        i = i.wrapping_add(1);
    }
    w & match lg2 {
        0 => u64::MAX,
        1 => 0x5555_5555_5555_5555,
        2 => 0x1111_1111_1111_1111,
        3 => 0x0101_0101_0101_0101,
        4 => 0x0001_0001_0001_0001,
        5 => 0x0000_0001_0000_0001,
        _ => 1,
    }
}
