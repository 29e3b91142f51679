// SPDX-License-Identifier: GPL-2.0

//! The host page table of the AMD IOMMU.
//!
//! Source: AMD I/O Virtualization Technology (IOMMU) Specification, 48882, Rev 3.10, 2.2.3 "I/O
//! Page Tables for Host Translations".

use super::{
    item_lg2,
    mask,
    Format,
    Item, //
};
use crate::addr::{
    Oa,
    Perm, //
};

/// The format; see [`Format`].
pub struct AmdV1;

const PR: u64 = 1 << 0;
const NEXT_LEVEL_SHIFT: u32 = 9;
/// NextLevel of a leaf whose size is coded in its address.
const CODED_SIZE: u64 = 7;
const ADDR: u64 = 0x000f_ffff_ffff_f000;
/// Force coherent: the processor's caches are snooped whatever the device asks for.
const FC: u64 = 1 << 60;
const IR: u64 = 1 << 61;
const IW: u64 = 1 << 62;

impl Format for AmdV1 {
    // Every power of two from 4 KiB to 128 TiB but 512 GiB, which a leaf of the fourth level
    // cannot say in the first place: its NextLevel would be that of a table.
    const PAGE_SIZES: u64 = (mask(48) & !mask(12)) & !(1 << 39);

    #[inline]
    fn leaf(oa: Oa, perm: Perm, lg2: u32) -> u64 {
        let mut word = (oa.0 & ADDR) | PR | FC;
        if perm.read {
            word |= IR;
        }
        if perm.write {
            word |= IW;
        }
        // A size that is not that of one item of a level: ones up to two below its bit.
        let coded = lg2.wrapping_sub(12).wrapping_rem(9) != 0;
        if coded {
            word |= CODED_SIZE << NEXT_LEVEL_SHIFT;
            word |= mask(lg2.wrapping_sub(1)) & !mask(12) & ADDR;
        }
        word
    }

    #[inline]
    fn table(oa: Oa, child_level: u8) -> u64 {
        // NextLevel counts from 1 for the table of leaves. Permissions are those of the leaf.
        let next = u64::from(child_level).wrapping_add(1);
        (oa.0 & ADDR) | PR | (next << NEXT_LEVEL_SHIFT) | IR | IW
    }

    #[inline]
    fn decode(word: u64, level: u8) -> Item {
        if word & PR == 0 {
            return Item::Empty;
        }
        let perm = Perm {
            read: word & IR != 0,
            write: word & IW != 0,
        };
        match (word >> NEXT_LEVEL_SHIFT) & 7 {
            0 => Item::Leaf {
                oa: Oa(word & ADDR),
                lg2: item_lg2(level),
                perm,
            },
            CODED_SIZE => {
                // The lowest zero at or above bit 12 is one below the size's bit.
                let lg2 = (word >> 12).trailing_ones().saturating_add(13).min(52);
                Item::Leaf {
                    oa: Oa(word & ADDR & !mask(lg2)),
                    lg2,
                    perm,
                }
            }
            next if next == u64::from(level) => Item::Table(Oa(word & ADDR)),
            // A level that the tables made here never have.
            _ => Item::Empty,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_words() {
        // 4 KiB, read and write.
        assert_eq!(
            AmdV1::leaf(Oa(0x1234_5000), Perm::RW, 12),
            0x7000_0000_1234_5001
        );
        // 2 MiB at level 1 has NextLevel 0.
        assert_eq!(
            AmdV1::leaf(Oa(0x4020_0000), Perm::RO, 21),
            0x3000_0000_4020_0001
        );
        // 8 KiB: coded, no ones. 64 KiB: ones in bits 12 to 14.
        assert_eq!(AmdV1::leaf(Oa(0x2000), Perm::RW, 13), 0x7000_0000_0000_2e01);
        assert_eq!(
            AmdV1::leaf(Oa(0x1_0000), Perm::WO, 16),
            0x5000_0000_0001_7e01
        );
        // A pointer to a table of leaves has NextLevel 1.
        assert_eq!(AmdV1::table(Oa(0x7000), 0), 0x6000_0000_0000_7201);
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for lg2 in 12..48u32 {
            if AmdV1::PAGE_SIZES & (1 << lg2) == 0 {
                continue;
            }
            let level = ((lg2 - 12) / 9) as u8;
            for perm in [Perm::RW, Perm::RO, Perm::WO] {
                let oa = Oa((5u64 << lg2) & ADDR);
                assert_eq!(
                    AmdV1::decode(AmdV1::leaf(oa, perm, lg2), level),
                    Item::Leaf { oa, lg2, perm },
                    "size 1 << {lg2}"
                );
            }
        }
        for level in 1..6u8 {
            let oa = Oa(0xabc_d000);
            assert_eq!(
                AmdV1::decode(AmdV1::table(oa, level - 1), level),
                Item::Table(oa)
            );
        }
        assert_eq!(AmdV1::decode(0, 0), Item::Empty);
    }
}
