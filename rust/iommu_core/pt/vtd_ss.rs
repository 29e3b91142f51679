// SPDX-License-Identifier: GPL-2.0

//! The second-stage page table of Intel VT-d.
//!
//! Source: Intel Virtualization Technology for Directed I/O, D51397-016 (revision 4.1), 3.7
//! "Second-Stage Translation" and 9.8 "Second-Stage Paging Entries".

use super::{
    item_lg2,
    Format,
    Item, //
};
use crate::addr::{
    Oa,
    Perm, //
};

/// The format; see [`Format`].
pub struct VtdSs;

const R: u64 = 1 << 0;
const W: u64 = 1 << 1;
/// Page size: a leaf above the lowest level.
const PS: u64 = 1 << 7;
const ADDR: u64 = 0x000f_ffff_ffff_f000;

impl Format for VtdSs {
    const PAGE_SIZES: u64 = 1 << 12 | 1 << 21 | 1 << 30;

    #[inline]
    fn leaf(oa: Oa, perm: Perm, lg2: u32) -> u64 {
        let mut word = oa.0 & ADDR;
        if perm.read {
            word |= R;
        }
        if perm.write {
            word |= W;
        }
        if lg2 > 12 {
            word |= PS;
        }
        word
    }

    #[inline]
    fn table(oa: Oa, _child_level: u8) -> u64 {
        // Permissions are those of the leaf.
        (oa.0 & ADDR) | R | W
    }

    #[inline]
    fn decode(word: u64, level: u8) -> Item {
        // An entry that allows nothing is not present.
        if word & (R | W) == 0 {
            return Item::Empty;
        }
        if level > 0 && word & PS == 0 {
            return Item::Table(Oa(word & ADDR));
        }
        Item::Leaf {
            oa: Oa(word & ADDR),
            lg2: item_lg2(level),
            perm: Perm {
                read: word & R != 0,
                write: word & W != 0,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_words() {
        assert_eq!(VtdSs::leaf(Oa(0x1234_5000), Perm::RW, 12), 0x1234_5003);
        assert_eq!(VtdSs::leaf(Oa(0x4020_0000), Perm::RO, 21), 0x4020_0081);
        assert_eq!(VtdSs::leaf(Oa(0x4000_0000), Perm::WO, 30), 0x4000_0082);
        assert_eq!(VtdSs::table(Oa(0x7000), 0), 0x7003);
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for (level, lg2) in [(0, 12), (1, 21), (2, 30)] {
            for perm in [Perm::RW, Perm::RO, Perm::WO] {
                let oa = Oa(5 << lg2);
                let leaf = VtdSs::leaf(oa, perm, lg2);
                assert_eq!(VtdSs::decode(leaf, level), Item::Leaf { oa, lg2, perm });
            }
        }
        let table = VtdSs::table(Oa(0xabc_d000), 0);
        assert_eq!(VtdSs::decode(table, 1), Item::Table(Oa(0xabc_d000)));
        assert_eq!(VtdSs::decode(0, 0), Item::Empty);
        assert_eq!(VtdSs::decode(0x1000, 2), Item::Empty);
    }
}
