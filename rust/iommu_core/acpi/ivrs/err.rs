// SPDX-License-Identifier: GPL-2.0

//! What can be wrong in an IVRS table, with the place and the offending values.

use core::fmt;

use crate::acpi::TableError;
use crate::id::{Rid, Sbdf};

/// What is wrong in an IVRS table. Offsets count from the first byte of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The bytes are no IVRS table at all.
    Table(TableError),
    /// Fewer bytes are left than a block header takes. Nothing after can be read.
    BlockTruncated {
        /// Where the block starts.
        offset: usize,
        /// Bytes left.
        left: usize,
    },
    /// A block is shorter than the header of its type. Nothing after can be read.
    BlockLength {
        /// Where the block starts.
        offset: usize,
        /// Type of the block.
        kind: u8,
        /// Its length field.
        len: u16,
        /// The least it can be.
        min: u16,
    },
    /// A block reaches beyond the end of the table. Nothing after can be read.
    BlockOverrun {
        /// Where the block starts.
        offset: usize,
        /// Type of the block.
        kind: u8,
        /// Its length field.
        len: u16,
        /// Bytes left.
        left: usize,
    },
    /// There are more blocks than [`super::MAX_BLOCKS`]. The rest is not read.
    TooManyBlocks {
        /// Where the first block that is not read starts.
        offset: usize,
    },
    /// A device entry reaches beyond the end of its block. The block's rest cannot be read.
    EntryOverrun {
        /// Where the entry starts.
        offset: usize,
        /// Type of the entry.
        kind: u8,
        /// Bytes it takes, as far as they are known.
        len: usize,
        /// Bytes left in the block.
        left: usize,
    },
    /// The length of a device entry of this type is not known. The block's rest cannot be read.
    EntryLengthUnknown {
        /// Where the entry starts.
        offset: usize,
        /// Type of the entry.
        kind: u8,
    },
    /// A device entry of this type does not belong in a block of this type.
    EntryNotAllowed {
        /// Where the entry starts.
        offset: usize,
        /// Type of the entry.
        kind: u8,
        /// Type of the block.
        block: u8,
    },
    /// An ACPI device entry has no hardware ID.
    EmptyHid {
        /// Where the entry starts.
        offset: usize,
    },
    /// The integer that is the unique ID of an ACPI device has no such length.
    UidLength {
        /// Where the entry starts.
        offset: usize,
        /// The length field.
        len: u8,
    },
    /// A range of requester IDs is opened and never closed.
    UnpairedStart {
        /// Where the entry starts.
        offset: usize,
        /// First requester ID.
        first: Rid,
    },
    /// A range of requester IDs is closed that was never opened.
    UnpairedEnd {
        /// Where the entry starts.
        offset: usize,
        /// Last requester ID.
        last: Rid,
    },
    /// A range of requester IDs ends before it starts.
    ReversedRange {
        /// Where the entry or block that ends it starts.
        offset: usize,
        /// First requester ID.
        first: Rid,
        /// Last requester ID.
        last: Rid,
    },
    /// A memory block is empty or leaves the 64-bit space.
    Memory {
        /// Where the block starts.
        offset: usize,
        /// First byte of the memory.
        start: u64,
        /// Its length in bytes.
        len: u64,
    },
    /// A unit is described twice by blocks of the same type; this one, the later, is left out.
    DuplicateUnit {
        /// Where the later block starts.
        offset: usize,
        /// Type of the block.
        kind: u8,
        /// The unit.
        unit: Sbdf,
    },
    /// Two units claim the same registers; this one, the later, is left out.
    SharedRegisters {
        /// Where the later block starts.
        offset: usize,
        /// The later unit.
        unit: Sbdf,
        /// The unit that claimed them first.
        owner: Sbdf,
        /// Base address of the registers.
        base: u64,
    },
    /// No registers can be at the base address of a unit.
    Base {
        /// Where the block starts.
        offset: usize,
        /// The base address.
        base: u64,
    },
}

impl Error {
    /// Returns `true` if no block after the one with this error can be read.
    pub const fn ends_blocks(&self) -> bool {
        matches!(
            self,
            Self::BlockTruncated { .. }
                | Self::BlockLength { .. }
                | Self::BlockOverrun { .. }
                | Self::TooManyBlocks { .. }
        )
    }
}

impl From<TableError> for Error {
    fn from(error: TableError) -> Self {
        Self::Table(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Table(error) => write!(f, "IVRS: {error}"),
            Self::BlockTruncated { offset, left } => write!(
                f,
                "IVRS: block at {offset:#x}: {left} bytes are left, a block header takes 4"
            ),
            Self::BlockLength {
                offset,
                kind,
                len,
                min,
            } => write!(
                f,
                "IVRS: block at {offset:#x}: length {len} is below the {min} of type {kind:02x}h"
            ),
            Self::BlockOverrun {
                offset,
                kind,
                len,
                left,
            } => write!(
                f,
                "IVRS: block at {offset:#x}: type {kind:02x}h of {len} bytes, {left} are left"
            ),
            Self::TooManyBlocks { offset } => write!(
                f,
                "IVRS: block at {offset:#x}: more than {} blocks, the rest is not read",
                super::MAX_BLOCKS
            ),
            Self::EntryOverrun {
                offset,
                kind,
                len,
                left,
            } => write!(
                f,
                "IVRS: entry at {offset:#x}: type {kind:02x}h of {len} bytes, {left} are left"
            ),
            Self::EntryLengthUnknown { offset, kind } => write!(
                f,
                "IVRS: entry at {offset:#x}: type {kind:02x}h has no known length"
            ),
            Self::EntryNotAllowed {
                offset,
                kind,
                block,
            } => write!(
                f,
                "IVRS: entry at {offset:#x}: type {kind:02x}h in a block of type {block:02x}h"
            ),
            Self::EmptyHid { offset } => {
                write!(f, "IVRS: entry at {offset:#x}: ACPI device without HID")
            }
            Self::UidLength { offset, len } => write!(
                f,
                "IVRS: entry at {offset:#x}: integer UID of {len} bytes instead of 1 to 8"
            ),
            Self::UnpairedStart { offset, first } => write!(
                f,
                "IVRS: entry at {offset:#x}: range from {first} has no end"
            ),
            Self::UnpairedEnd { offset, last } => write!(
                f,
                "IVRS: entry at {offset:#x}: range up to {last} has no start"
            ),
            Self::ReversedRange {
                offset,
                first,
                last,
            } => write!(
                f,
                "IVRS: range ended at {offset:#x}: last {last} is before first {first}"
            ),
            Self::Memory { offset, start, len } => write!(
                f,
                "IVRS: memory block at {offset:#x}: {len:#x} bytes from {start:#x} are no range"
            ),
            Self::DuplicateUnit { offset, kind, unit } => write!(
                f,
                "IVRS: block at {offset:#x}: unit {unit} has a block of type {kind:02x}h already"
            ),
            Self::SharedRegisters {
                offset,
                unit,
                owner,
                base,
            } => write!(
                f,
                "IVRS: block at {offset:#x}: registers {base:#x} of unit {unit} belong to {owner}"
            ),
            Self::Base { offset, base } => write!(
                f,
                "IVRS: block at {offset:#x}: no registers can be at {base:#x}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn every_error_says_what_and_where_in_one_line() {
        let (offset, kind, len, left, min) = (0x30, 0x10, 4, 7, 24);
        let (first, last) = (Rid::new(1, 2, 3), Rid::new(1, 2, 0));
        let unit = Sbdf {
            segment: 1,
            rid: Rid::new(0, 0, 2),
        };
        let owner = Sbdf { segment: 0, ..unit };
        let base = 0xfed8_0000;
        for (error, text) in [
            (
                Error::Table(TableError::Checksum { sum: 3 }),
                "checksum is wrong: bytes sum up to 0x03, not 0",
            ),
            (
                Error::BlockTruncated { offset, left },
                "block at 0x30: 7 bytes are left, a block header takes 4",
            ),
            (
                Error::BlockLength {
                    offset,
                    kind,
                    len,
                    min,
                },
                "block at 0x30: length 4 is below the 24 of type 10h",
            ),
            (
                Error::BlockOverrun {
                    offset,
                    kind,
                    len,
                    left,
                },
                "block at 0x30: type 10h of 4 bytes, 7 are left",
            ),
            (
                Error::TooManyBlocks { offset },
                "block at 0x30: more than 1024 blocks, the rest is not read",
            ),
            (
                Error::EntryOverrun {
                    offset,
                    kind,
                    len: 8,
                    left,
                },
                "entry at 0x30: type 10h of 8 bytes, 7 are left",
            ),
            (
                Error::EntryLengthUnknown { offset, kind },
                "entry at 0x30: type 10h has no known length",
            ),
            (
                Error::EntryNotAllowed {
                    offset,
                    kind: 0xf0,
                    block: 0x11,
                },
                "entry at 0x30: type f0h in a block of type 11h",
            ),
            (
                Error::EmptyHid { offset },
                "entry at 0x30: ACPI device without HID",
            ),
            (
                Error::UidLength { offset, len: 9 },
                "entry at 0x30: integer UID of 9 bytes instead of 1 to 8",
            ),
            (
                Error::UnpairedStart { offset, first },
                "entry at 0x30: range from 01:02.3 has no end",
            ),
            (
                Error::UnpairedEnd { offset, last },
                "entry at 0x30: range up to 01:02.0 has no start",
            ),
            (
                Error::ReversedRange {
                    offset,
                    first,
                    last,
                },
                "range ended at 0x30: last 01:02.0 is before first 01:02.3",
            ),
            (
                Error::Memory {
                    offset,
                    start: 0x1000,
                    len: 0,
                },
                "memory block at 0x30: 0x0 bytes from 0x1000 are no range",
            ),
            (
                Error::DuplicateUnit { offset, kind, unit },
                "block at 0x30: unit 0001:00:00.2 has a block of type 10h already",
            ),
            (
                Error::SharedRegisters {
                    offset,
                    unit,
                    owner,
                    base,
                },
                "block at 0x30: registers 0xfed80000 of unit 0001:00:00.2 belong to 0000:00:00.2",
            ),
            (
                Error::Base { offset, base: 4 },
                "block at 0x30: no registers can be at 0x4",
            ),
        ] {
            assert_eq!(error.to_string(), std::format!("IVRS: {text}"));
        }
    }
}
