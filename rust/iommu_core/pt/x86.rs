// SPDX-License-Identifier: GPL-2.0

//! The first-stage page table of Intel VT-d: that of the x86-64 processor.
//!
//! Source: Intel Virtualization Technology for Directed I/O, D51397-016 (revision 4.1), 3.6
//! "First-Stage Translation" and 9.7 "First-Stage Paging Entries".

use super::{
    item_lg2,
    Format,
    Item, //
};
use crate::addr::{
    Oa,
    Perm, //
};

/// The format; see [`Format`]. It cannot say "write only": what may be written may be read.
pub struct X86;

const P: u64 = 1 << 0;
const RW: u64 = 1 << 1;
/// Requests of devices are user requests.
const US: u64 = 1 << 2;
/// Accessed and dirty, set in advance: a unit need not write them then.
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
/// Page size: a leaf above the lowest level.
const PS: u64 = 1 << 7;
const ADDR: u64 = 0x000f_ffff_ffff_f000;

impl Format for X86 {
    const PAGE_SIZES: u64 = 1 << 12 | 1 << 21 | 1 << 30;

    #[inline]
    fn leaf(oa: Oa, perm: Perm, lg2: u32) -> u64 {
        let mut word = oa.0 & ADDR;
        if perm.read || perm.write {
            word |= P | US | A;
        }
        if perm.write {
            word |= RW | D;
        }
        if lg2 > 12 {
            word |= PS;
        }
        word
    }

    #[inline]
    fn table(oa: Oa, _child_level: u8) -> u64 {
        // Permissions are those of the leaf.
        (oa.0 & ADDR) | P | RW | US | A
    }

    #[inline]
    fn decode(word: u64, level: u8) -> Item {
        if word & P == 0 {
            return Item::Empty;
        }
        if level > 0 && word & PS == 0 {
            return Item::Table(Oa(word & ADDR));
        }
        Item::Leaf {
            oa: Oa(word & ADDR),
            lg2: item_lg2(level),
            perm: Perm {
                read: true,
                write: word & RW != 0,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_words() {
        assert_eq!(X86::leaf(Oa(0x1234_5000), Perm::RW, 12), 0x1234_5067);
        assert_eq!(X86::leaf(Oa(0x4020_0000), Perm::RO, 21), 0x4020_00a5);
        assert_eq!(X86::leaf(Oa(0x4000_0000), Perm::WO, 30), 0x4000_00e7);
        assert_eq!(X86::table(Oa(0x7000), 0), 0x7027);
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for (level, lg2) in [(0, 12), (1, 21), (2, 30)] {
            for perm in [Perm::RW, Perm::RO] {
                let oa = Oa(5 << lg2);
                let leaf = X86::leaf(oa, perm, lg2);
                assert_eq!(X86::decode(leaf, level), Item::Leaf { oa, lg2, perm });
            }
        }
        let table = X86::table(Oa(0xabc_d000), 0);
        assert_eq!(X86::decode(table, 1), Item::Table(Oa(0xabc_d000)));
        assert_eq!(X86::decode(0, 0), Item::Empty);
    }
}
