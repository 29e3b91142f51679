// SPDX-License-Identifier: GPL-2.0

//! Which block to take for each unit, where a table describes a unit more than once.
//!
//! Firmware lists a unit in a block of each type, so that old software finds one it knows. The
//! greatest known type says most. Linux 7.3 picks one type for the whole machine, the last known
//! one of the first unit (srctree/drivers/iommu/amd/init.c, `get_highest_supported_ivhd_type`),
//! and loses a unit that lacks it; here each unit has its own.

use super::ivhd::Ivhd;
use super::{Block, Blocks, Error, Ivrs};

/// The chosen block of each unit, in table order.
///
/// A block that describes its unit a second time in the same type, and one at the base address
/// that another unit's block named first, cost one error each and are left out. The error that
/// ends [`Blocks`] ends the units, too; other errors of blocks are none of units. There are at
/// most as many items as [`Blocks`] yields, and the choice looks at each block once.
#[derive(Clone, Debug)]
pub struct Units<'a> {
    table: Ivrs<'a>,
    blocks: Blocks<'a>,
}

impl<'a> Units<'a> {
    pub(super) const fn new(table: Ivrs<'a>) -> Self {
        Self {
            table,
            blocks: table.blocks(),
        }
    }

    /// Decides whether `block` is the one to take for its unit, [`None`] if a better one is.
    fn judge(&self, block: Ivhd<'a>) -> Option<Result<Ivhd<'a>, Error>> {
        let Ivhd {
            offset, unit, kind, ..
        } = block;
        let mut is_best = true;
        let mut owner = None;
        for other in self.table.ivhds() {
            if other.unit == unit {
                if other.offset < offset && other.kind == kind {
                    let kind = kind.as_u8();
                    return Some(Err(Error::DuplicateUnit { offset, kind, unit }));
                }
                is_best &= other.kind <= kind;
            }
            if other.base == block.base {
                // The first block with this base decides, be it this one.
                owner = owner.or(Some(other.unit));
            }
        }
        match owner {
            _ if !is_best => None,
            Some(owner) if owner != unit => Some(Err(Error::SharedRegisters {
                offset,
                unit,
                owner,
                base: block.base,
            })),
            _ => Some(Ok(block)),
        }
    }
}

impl<'a> Iterator for Units<'a> {
    type Item = Result<Ivhd<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        // Each turn takes a block, of which there are a bounded number.
        loop {
            match self.blocks.next()? {
                Ok(Block::Ivhd(block)) => match self.judge(block) {
                    Some(item) => return Some(item),
                    None => continue,
                },
                Ok(Block::Ivmd(_) | Block::Unknown { .. }) => continue,
                Err(error) if error.ends_blocks() => return Some(Err(error)),
                Err(_) => continue,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acpi::ivrs::ivhd::Kind;
    use crate::acpi::ivrs::vectors;
    use crate::id::{Rid, Sbdf};
    use std::vec::Vec;

    fn units(blocks: &[Vec<u8>]) -> Vec<Result<(u16, u16, Kind, usize), Error>> {
        let bytes = vectors::table(&blocks.concat());
        let table = Ivrs::parse(&bytes).unwrap();
        let units: Vec<_> = table.units().collect();
        units
            .into_iter()
            .map(|u| u.map(|h| (h.unit.segment, h.unit.rid.0, h.kind, h.offset)))
            .collect()
    }

    fn ivhd(kind: u8, rid: u16, segment: u16) -> Vec<u8> {
        let base = 0xfd00_0000 | u64::from(segment) << 48 | u64::from(rid) << 32;
        vectors::ivhd(kind, 0, rid, segment, base, &[])
    }

    #[test]
    fn the_greatest_type_of_each_unit_is_taken() {
        for kinds in [[0x10, 0x11, 0x40], [0x40, 0x11, 0x10], [0x11, 0x40, 0x10]] {
            let blocks: Vec<_> = kinds.iter().map(|&k| ivhd(k, 2, 0)).collect();
            let got = units(&blocks);
            assert_eq!(got.len(), 1);
            assert_eq!(got[0].unwrap().2, Kind::V40);
        }
        let got = units(&[ivhd(0x10, 2, 0), ivhd(0x11, 2, 0)]);
        assert_eq!(got, [Ok((0, 2, Kind::V11, 72))]);
        let got = units(&[ivhd(0x10, 2, 0)]);
        assert_eq!(got, [Ok((0, 2, Kind::V10, 48))]);
    }

    #[test]
    fn a_unit_that_lacks_the_type_of_the_first_is_not_lost() {
        let got = units(&[
            ivhd(0x10, 2, 0),
            ivhd(0x40, 2, 0),
            ivhd(0x10, 2, 1),
            ivhd(0x11, 0x4002, 0),
        ]);
        assert_eq!(
            got,
            [
                Ok((0, 2, Kind::V40, 72)),
                Ok((1, 2, Kind::V10, 112)),
                Ok((0, 0x4002, Kind::V11, 136)),
            ]
        );
    }

    #[test]
    fn a_second_block_of_a_type_is_a_duplicate() {
        let unit = Sbdf {
            segment: 0,
            rid: Rid(2),
        };
        let got = units(&[ivhd(0x11, 2, 0), ivhd(0x10, 2, 0), ivhd(0x11, 2, 0)]);
        assert_eq!(
            got,
            [
                Ok((0, 2, Kind::V11, 48)),
                Err(Error::DuplicateUnit {
                    offset: 112,
                    kind: 0x11,
                    unit
                })
            ]
        );
        // Also of a type that is not taken.
        let got = units(&[ivhd(0x10, 2, 0), ivhd(0x10, 2, 0), ivhd(0x40, 2, 0)]);
        assert!(matches!(
            got[..],
            [
                Err(Error::DuplicateUnit {
                    offset: 72,
                    kind: 0x10,
                    ..
                }),
                Ok((0, 2, Kind::V40, 96))
            ]
        ));
    }

    #[test]
    fn registers_belong_to_the_unit_that_claimed_them_first() {
        let base = 0xfed8_0000;
        let got = units(&[
            vectors::ivhd(0x40, 0, 2, 0, base, &[]),
            vectors::ivhd(0x40, 0, 3, 0, base, &[]),
        ]);
        assert!(matches!(
            got[..],
            [Ok((0, 2, ..)), Err(Error::SharedRegisters { .. })]
        ));

        let got = units(&[
            vectors::ivhd(0x10, 0, 2, 0, base, &[]),
            vectors::ivhd(0x10, 0, 3, 0, base, &[]),
            vectors::ivhd(0x11, 0, 2, 0, base, &[]),
        ]);
        let unit = |rid| Sbdf {
            segment: 0,
            rid: Rid(rid),
        };
        assert_eq!(
            got,
            [
                Err(Error::SharedRegisters {
                    offset: 72,
                    unit: unit(3),
                    owner: unit(2),
                    base
                }),
                Ok((0, 2, Kind::V11, 96)),
            ]
        );
    }

    #[test]
    fn a_broken_block_ends_the_units_with_its_error() {
        let mut broken = ivhd(0x11, 3, 0);
        broken[2] = 39;
        let got = units(&[ivhd(0x10, 2, 0), broken, ivhd(0x40, 2, 0)]);
        assert_eq!(
            got,
            [
                Ok((0, 2, Kind::V10, 48)),
                Err(Error::BlockLength {
                    offset: 72,
                    kind: 0x11,
                    len: 39,
                    min: 40
                })
            ]
        );
    }

    #[test]
    fn an_empty_table_has_no_units() {
        assert_eq!(units(&[]), []);
    }
}
