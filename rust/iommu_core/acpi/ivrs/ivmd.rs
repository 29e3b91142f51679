// SPDX-License-Identifier: GPL-2.0

//! Memory definition blocks: memory that devices use before and beside the driver.
//!
//! Source: AMD I/O Virtualization Technology (IOMMU) Specification, 48882, Rev 3.10, 5.2.3
//! (I/O Virtualization Memory Definition Block, types 20h, 21h, 22h).

use crate::acpi::{u16_at, u64_at, u8_at};
use crate::addr::{Perm, Range};
use crate::id::Rid;

use super::Error;

/// Length of the block in bytes, all types.
pub(super) const LEN_BYTES: u16 = 32;

/// Flags of a memory definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemFlags(pub u8);

impl MemFlags {
    /// The memory is to be mapped to itself (bit 0).
    pub const fn unity(self) -> bool {
        self.0 & 1 << 0 != 0
    }

    /// The devices read it (bit 1, IR).
    pub const fn read(self) -> bool {
        self.0 & 1 << 1 != 0
    }

    /// The devices write it (bit 2, IW).
    pub const fn write(self) -> bool {
        self.0 & 1 << 2 != 0
    }

    /// The memory is to go into the unit's exclusion range (bit 3); the other bits then mean
    /// nothing.
    pub const fn exclusion(self) -> bool {
        self.0 & 1 << 3 != 0
    }

    /// What a mapping of the memory to itself has to allow: reading and writing for an exclusion
    /// range, else what the flags say.
    ///
    /// Source: srctree/drivers/iommu/amd/init.c (`init_unity_map_range`), which has no use for
    /// exclusion ranges either, since a unit has only one and tables may list several.
    pub const fn perm(self) -> Perm {
        if self.exclusion() {
            Perm::RW
        } else {
            Perm {
                read: self.read(),
                write: self.write(),
            }
        }
    }
}

/// Which requester IDs of the segment a memory definition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All (type 20h).
    All,
    /// One (type 21h).
    One(Rid),
    /// A range, both ends inclusive, the first not above the last (type 22h).
    Range(Rid, Rid),
}

impl Target {
    /// Returns `true` if `rid` is meant.
    pub fn contains(self, rid: Rid) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => one == rid,
            Self::Range(first, last) => first <= rid && rid <= last,
        }
    }
}

/// One memory definition block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ivmd {
    /// Where the block starts, in bytes from the start of the table.
    pub offset: usize,
    /// What kind of memory it is.
    pub flags: MemFlags,
    /// Who uses it.
    pub target: Target,
    /// PCI segment of the target. Zero in tables that predate it, where it was reserved.
    pub segment: u16,
    /// The memory, byte-exact: see [`Range::page_cover`].
    pub memory: Range,
}

impl Ivmd {
    /// Returns `true` if blocks of type `kind` are memory definitions.
    pub const fn is_kind(kind: u8) -> bool {
        matches!(kind, 0x20..=0x22)
    }

    /// Decodes `block` of type `kind`, [`None`] if it is too short or of another type.
    pub(super) fn parse(block: &[u8], offset: usize, kind: u8) -> Option<Result<Self, Error>> {
        let first = Rid(u16_at(block, 4)?);
        let last = Rid(u16_at(block, 6)?);
        let start = u64_at(block, 16)?;
        let len = u64_at(block, 24)?;

        let target = match kind {
            0x20 => Target::All,
            0x21 => Target::One(first),
            0x22 if first <= last => Target::Range(first, last),
            0x22 => {
                return Some(Err(Error::ReversedRange {
                    offset,
                    first,
                    last,
                }))
            }
            _ => return None,
        };
        let Some(memory) = Range::with_len(start, len) else {
            return Some(Err(Error::Memory { offset, start, len }));
        };
        Some(Ok(Self {
            offset,
            flags: MemFlags(u8_at(block, 1)?),
            target,
            segment: u16_at(block, 8)?,
            memory,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ivmd(kind: u8, flags: u8, first: u16, last: u16, start: u64, len: u64) -> [u8; 32] {
        let mut b = [0u8; 32];
        b[0] = kind;
        b[1] = flags;
        b[2] = 32;
        b[4..6].copy_from_slice(&first.to_le_bytes());
        b[6..8].copy_from_slice(&last.to_le_bytes());
        b[8..10].copy_from_slice(&5u16.to_le_bytes());
        b[16..24].copy_from_slice(&start.to_le_bytes());
        b[24..32].copy_from_slice(&len.to_le_bytes());
        b
    }

    fn parse(b: &[u8; 32]) -> Result<Ivmd, Error> {
        Ivmd::parse(b, 9, b[0]).unwrap()
    }

    #[test]
    fn each_type_has_its_target() {
        for (kind, target) in [
            (0x20, Target::All),
            (0x21, Target::One(Rid(0x28))),
            (0x22, Target::Range(Rid(0x28), Rid(0x30))),
        ] {
            let m = parse(&ivmd(kind, 7, 0x28, 0x30, 0x300_0000, 0x10_0000)).unwrap();
            assert_eq!(m.target, target);
            assert_eq!((m.offset, m.segment), (9, 5));
            assert_eq!(m.memory, Range::new(0x300_0000, 0x30f_ffff).unwrap());
            assert!(m.flags.unity() && m.flags.read() && m.flags.write());
        }
        assert!(Target::Range(Rid(1), Rid(3)).contains(Rid(3)));
        assert!(!Target::Range(Rid(1), Rid(3)).contains(Rid(4)));
        assert!(Target::All.contains(Rid(0xffff)));
        assert!(!Target::One(Rid(1)).contains(Rid(2)));
    }

    #[test]
    fn permission_follows_the_flags_unless_it_is_an_exclusion_range() {
        assert_eq!(MemFlags(3).perm(), Perm::RO);
        assert_eq!(MemFlags(5).perm(), Perm::WO);
        assert_eq!(MemFlags(7).perm(), Perm::RW);
        assert_eq!(MemFlags(8).perm(), Perm::RW);
        assert!(MemFlags(8).exclusion() && !MemFlags(8).unity());
    }

    #[test]
    fn memory_that_is_no_range_is_refused() {
        for (start, len) in [(0x1000, 0), (u64::MAX, 2), (0x1000, u64::MAX)] {
            assert_eq!(
                parse(&ivmd(0x20, 1, 0, 0, start, len)),
                Err(Error::Memory {
                    offset: 9,
                    start,
                    len
                })
            );
        }
        let last_byte = parse(&ivmd(0x20, 1, 0, 0, u64::MAX, 1)).unwrap();
        assert_eq!(last_byte.memory.len_bytes(), 1);
    }

    #[test]
    fn a_reversed_target_is_refused_only_where_there_is_a_range() {
        assert_eq!(
            parse(&ivmd(0x22, 1, 2, 1, 0, 1)),
            Err(Error::ReversedRange {
                offset: 9,
                first: Rid(2),
                last: Rid(1)
            })
        );
        assert!(parse(&ivmd(0x22, 1, 2, 2, 0, 1)).is_ok());
        assert!(parse(&ivmd(0x21, 1, 2, 1, 0, 1)).is_ok());
    }
}
