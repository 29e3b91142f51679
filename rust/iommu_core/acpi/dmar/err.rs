// SPDX-License-Identifier: GPL-2.0

//! What can be wrong in a DMAR table, with the place and the offending values.

use core::fmt;

use crate::acpi::TableError;

/// What is wrong in a DMAR table. Offsets count from the first byte of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The bytes are no DMAR table at all.
    Table(TableError),
    /// Fewer bytes are left than a structure's header takes. Nothing after can be read.
    Truncated {
        /// Where the structure starts.
        offset: usize,
        /// Bytes left.
        left: usize,
    },
    /// A structure is shorter than the fixed part of its type. Nothing after can be read.
    Length {
        /// Where the structure starts.
        offset: usize,
        /// Its type.
        kind: u16,
        /// Its length field.
        len: u16,
        /// The least it can be.
        min: u16,
    },
    /// A structure reaches beyond the end of the table. Nothing after can be read.
    Overrun {
        /// Where the structure starts.
        offset: usize,
        /// Its type.
        kind: u16,
        /// Its length field.
        len: u16,
        /// Bytes left.
        left: usize,
    },
    /// There are more structures than [`super::MAX_STRUCTURES`]. The rest is not read.
    TooMany {
        /// Where the first one that is not read starts.
        offset: usize,
    },
    /// A device scope is shorter than six bytes, has half a path element, or reaches beyond the end
    /// of its structure. The structure's further scopes cannot be read.
    Scope {
        /// Where the scope starts.
        offset: usize,
        /// Its length field.
        len: u8,
        /// Bytes left in the structure.
        left: usize,
    },
    /// A device scope without a path, or of a type that is not known. It names nothing.
    EmptyScope {
        /// Where the scope starts.
        offset: usize,
        /// Its type.
        kind: u8,
    },
    /// A unit's registers are nowhere, unaligned, beyond 2^52, or larger than any.
    Registers {
        /// Where the structure starts.
        offset: usize,
        /// The register base address.
        base: u64,
        /// The size field: log2 of the number of pages.
        size_lg2: u8,
    },
    /// A unit's registers overlap those of an earlier one.
    SharedRegisters {
        /// Where the structure starts.
        offset: usize,
        /// The register base address.
        base: u64,
    },
    /// A second unit claims all devices of a segment that no other unit has.
    SecondRest {
        /// Where the structure starts.
        offset: usize,
        /// The segment.
        segment: u16,
    },
    /// A unit without scopes that does not take the rest of its segment either.
    NoScope {
        /// Where the structure starts.
        offset: usize,
        /// The register base address.
        base: u64,
    },
    /// The ends of a reserved memory region are no range.
    Memory {
        /// Where the structure starts.
        offset: usize,
        /// First byte.
        first: u64,
        /// Last byte.
        last: u64,
    },
    /// The name of a namespace device has no end, or no beginning.
    Name {
        /// Where the structure starts.
        offset: usize,
    },
}

impl Error {
    /// Returns `true` if no structure after the one with this error can be read.
    pub const fn ends_table(&self) -> bool {
        matches!(
            self,
            Self::Truncated { .. }
                | Self::Length { .. }
                | Self::Overrun { .. }
                | Self::TooMany { .. }
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
            Self::Table(error) => write!(f, "DMAR: {error}"),
            Self::Truncated { offset, left } => write!(
                f,
                "DMAR: structure at {offset:#x}: {left} bytes are left, a header takes 4"
            ),
            Self::Length {
                offset,
                kind,
                len,
                min,
            } => write!(
                f,
                "DMAR: structure at {offset:#x}: length {len} is below the {min} of type {kind}"
            ),
            Self::Overrun {
                offset,
                kind,
                len,
                left,
            } => write!(
                f,
                "DMAR: structure at {offset:#x}: type {kind} of {len} bytes, {left} are left"
            ),
            Self::TooMany { offset } => write!(
                f,
                "DMAR: structure at {offset:#x}: more than {} of them, the rest is not read",
                super::MAX_STRUCTURES
            ),
            Self::Scope { offset, len, left } => write!(
                f,
                "DMAR: scope at {offset:#x}: length {len} is wrong, {left} bytes are left"
            ),
            Self::EmptyScope { offset, kind } => write!(
                f,
                "DMAR: scope at {offset:#x}: type {kind} without a path names nothing"
            ),
            Self::Registers {
                offset,
                base,
                size_lg2,
            } => write!(
                f,
                "DMAR: unit at {offset:#x}: 2^{size_lg2} pages of registers at {base:#x} cannot be"
            ),
            Self::SharedRegisters { offset, base } => write!(
                f,
                "DMAR: unit at {offset:#x}: registers {base:#x} belong to an earlier unit"
            ),
            Self::SecondRest { offset, segment } => write!(
                f,
                "DMAR: unit at {offset:#x}: an earlier one has the rest of segment {segment:04x}"
            ),
            Self::NoScope { offset, base } => write!(
                f,
                "DMAR: unit at {offset:#x}: registers {base:#x}, but no device"
            ),
            Self::Memory {
                offset,
                first,
                last,
            } => write!(
                f,
                "DMAR: memory at {offset:#x}: {first:#x} to {last:#x} is no range"
            ),
            Self::Name { offset } => {
                write!(f, "DMAR: namespace device at {offset:#x}: no name")
            }
        }
    }
}
