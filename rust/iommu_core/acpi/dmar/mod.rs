// SPDX-License-Identifier: GPL-2.0

//! The DMA Remapping Reporting table: Intel VT-d units, who is behind them, and memory that firmware
//! lets devices use.
//!
//! Source: Intel Virtualization Technology for Directed I/O, D51397-016 (revision 4.1), chapter 8.

mod dump;
mod err;
mod scope;

pub use dump::dump;
pub use err::Error;
pub use scope::{
    Claim,
    Scope,
    ScopeKind,
    Scopes, //
};

use super::{
    u16_at,
    u32_at,
    u64_at,
    u8_at,
    Table,
    HEADER_LEN_BYTES, //
};
use crate::addr::Range;

/// The fixed part: header, host address width, flags, ten reserved bytes.
const FIXED_LEN_BYTES: usize = 48;
/// Structures that are read of one table. The largest real one known has 62.
pub const MAX_STRUCTURES: usize = 1024;
const STRUCTURE_HEADER_LEN: u16 = 4;
/// log2 of the pages of registers a unit can have. Source: 8.4, "Size".
const MAX_SIZE_LG2: u8 = 15;
/// Addresses have at most 52 bits.
const MAX_ADDRESS: u64 = (1 << 52) - 1;

/// A remapping hardware unit (DRHD).
#[derive(Clone, Copy, Debug)]
pub struct Drhd<'a> {
    /// Where the structure starts.
    pub offset: usize,
    /// All devices of the segment that no other unit has are behind it.
    pub takes_rest: bool,
    /// log2 of the pages of its registers.
    pub size_lg2: u8,
    /// PCI segment.
    pub segment: u16,
    /// Address of its registers.
    pub base: u64,
    scopes: &'a [u8],
}

impl<'a> Drhd<'a> {
    const LEN: u16 = 16;

    /// The devices behind it.
    pub fn scopes(&self) -> Scopes<'a> {
        Scopes::new(self.scopes, self.offset.saturating_add(Self::LEN.into()))
    }

    /// Who is behind it.
    pub fn claim(&self) -> Claim<'a> {
        Claim {
            segment: self.segment,
            takes_rest: self.takes_rest,
            scopes: self.scopes(),
        }
    }

    /// Its registers.
    ///
    /// # Errors
    ///
    /// [`Error::Registers`].
    pub fn registers(&self) -> Result<Range, Error> {
        let wrong = Error::Registers {
            offset: self.offset,
            base: self.base,
            size_lg2: self.size_lg2,
        };
        if self.base == 0 || self.base & 0xfff != 0 || self.size_lg2 > MAX_SIZE_LG2 {
            return Err(wrong);
        }
        Range::with_len(self.base, 0x1000u64 << self.size_lg2.min(MAX_SIZE_LG2))
            .filter(|r| r.last() <= MAX_ADDRESS)
            .ok_or(wrong)
    }
}

/// Memory that devices use on firmware's behalf (RMRR).
#[derive(Clone, Copy, Debug)]
pub struct Rmrr<'a> {
    /// Where the structure starts.
    pub offset: usize,
    /// PCI segment.
    pub segment: u16,
    /// The memory, as firmware has it: not necessarily whole pages.
    pub memory: Range,
    scopes: &'a [u8],
}

impl<'a> Rmrr<'a> {
    const LEN: u16 = 24;

    /// The devices that use it.
    pub fn scopes(&self) -> Scopes<'a> {
        Scopes::new(self.scopes, self.offset.saturating_add(Self::LEN.into()))
    }
}

/// Devices that share a property: root ports that take address translation requests (ATSR),
/// integrated devices with translation caches (SATC), integrated devices with properties (SIDP).
#[derive(Clone, Copy, Debug)]
pub struct Devices<'a> {
    /// Where the structure starts.
    pub offset: usize,
    /// Flags; bit 0 of an ATSR: all root ports of the segment. Bit 0 of a SATC: the caches must be
    /// invalidated for the devices to work at all.
    pub flags: u8,
    /// PCI segment.
    pub segment: u16,
    scopes: &'a [u8],
}

impl<'a> Devices<'a> {
    const LEN: u16 = 8;

    /// The devices.
    pub fn scopes(&self) -> Scopes<'a> {
        Scopes::new(self.scopes, self.offset.saturating_add(Self::LEN.into()))
    }
}

/// One structure of the table.
#[derive(Clone, Copy, Debug)]
pub enum Structure<'a> {
    /// A unit.
    Drhd(Drhd<'a>),
    /// Memory of devices.
    Rmrr(Rmrr<'a>),
    /// Root ports that take address translation requests.
    Atsr(Devices<'a>),
    /// The memory node of a unit.
    Rhsa {
        /// Address of the unit's registers.
        base: u64,
        /// The proximity domain of the SRAT.
        node: u32,
    },
    /// A device of the ACPI namespace.
    Andd {
        /// The number that scopes name it by.
        number: u8,
        /// Its path in the namespace, without the zero at the end.
        name: &'a [u8],
    },
    /// Integrated devices with translation caches.
    Satc(Devices<'a>),
    /// Integrated devices with properties.
    Sidp(Devices<'a>),
    /// A type this parser does not know, skipped by its length.
    Unknown {
        /// Where the structure starts.
        offset: usize,
        /// Its type.
        kind: u16,
        /// Its length in bytes.
        len: u16,
    },
}

impl<'a> Structure<'a> {
    /// The least length of a type.
    const fn min_len(kind: u16) -> u16 {
        match kind {
            0 => Drhd::LEN,
            1 => Rmrr::LEN,
            2 | 5 | 6 => Devices::LEN,
            3 => 20,
            4 => 8,
            _ => STRUCTURE_HEADER_LEN,
        }
    }

    /// Decodes a structure of at least [`Structure::min_len`] bytes.
    fn decode(bytes: &'a [u8], offset: usize, kind: u16, len: u16) -> Result<Self, Error> {
        let too_short = Error::Length {
            offset,
            kind,
            len,
            min: Self::min_len(kind),
        };
        let u8_in = |at| u8_at(bytes, at).ok_or(too_short);
        let u16_in = |at| u16_at(bytes, at).ok_or(too_short);
        let u64_in = |at| u64_at(bytes, at).ok_or(too_short);
        let scopes = bytes.get(Self::min_len(kind).into()..).unwrap_or(&[]);
        let devices = || {
            Ok::<_, Error>(Devices {
                offset,
                flags: u8_in(4)?,
                segment: u16_in(6)?,
                scopes,
            })
        };
        Ok(match kind {
            0 => Self::Drhd(Drhd {
                offset,
                takes_rest: u8_in(4)? & 1 != 0,
                size_lg2: u8_in(5)? & 0xf,
                segment: u16_in(6)?,
                base: u64_in(8)?,
                scopes,
            }),
            1 => {
                let (first, last) = (u64_in(8)?, u64_in(16)?);
                let wrong = Error::Memory {
                    offset,
                    first,
                    last,
                };
                Self::Rmrr(Rmrr {
                    offset,
                    segment: u16_in(6)?,
                    memory: Range::new(first, last)
                        .filter(|r| r.last() <= MAX_ADDRESS)
                        .ok_or(wrong)?,
                    scopes,
                })
            }
            2 => Self::Atsr(devices()?),
            3 => Self::Rhsa {
                base: u64_in(8)?,
                node: u32_at(bytes, 16).ok_or(too_short)?,
            },
            4 => {
                let text = bytes.get(8..).unwrap_or(&[]);
                let end = text.iter().position(|b| *b == 0);
                let name = end.and_then(|end| text.get(..end)).unwrap_or(&[]);
                if name.is_empty() {
                    return Err(Error::Name { offset });
                }
                Self::Andd {
                    number: u8_in(7)?,
                    name,
                }
            }
            5 => Self::Satc(devices()?),
            6 => Self::Sidp(devices()?),
            _ => Self::Unknown { offset, kind, len },
        })
    }
}

/// A DMAR table whose header, length and checksum are right. Its structures may not be.
#[derive(Clone, Copy, Debug)]
pub struct Dmar<'a> {
    table: Table<'a>,
}

impl<'a> Dmar<'a> {
    /// Checks that `bytes` start with a DMAR table. Bytes beyond its length are left out.
    ///
    /// # Errors
    ///
    /// [`Error::Table`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        Ok(Self {
            table: Table::parse(bytes, *b"DMAR", FIXED_LEN_BYTES)?,
        })
    }

    /// The table with its header.
    pub const fn table(&self) -> &Table<'a> {
        &self.table
    }

    /// Bits of a host physical address that DMA can have, as firmware says.
    pub fn host_address_bits(&self) -> u16 {
        // Inside the fixed part, which is there. The field holds one less.
        u16::from(u8_at(self.table.bytes(), HEADER_LEN_BYTES).unwrap_or(0)).saturating_add(1)
    }

    /// Flags: bit 0 interrupt remapping, bit 1 no x2APIC, bit 2 the platform asks for DMA protection.
    pub fn flags(&self) -> u8 {
        u8_at(self.table.bytes(), HEADER_LEN_BYTES.saturating_add(1)).unwrap_or(0)
    }

    /// The structures, in table order.
    pub const fn structures(&self) -> Structures<'a> {
        Structures {
            bytes: self.table.bytes(),
            offset: FIXED_LEN_BYTES,
            nr_left: MAX_STRUCTURES,
        }
    }

    /// The units that can be: those with registers of their own and with devices.
    pub fn units(&self) -> impl Iterator<Item = Result<Drhd<'a>, Error>> + use<'a> {
        let table = *self;
        table.structures().filter_map(move |s| match s {
            Ok(Structure::Drhd(unit)) => Some(table.check(unit)),
            _ => None,
        })
    }

    /// The units in the order in which to ask for the one of a device: the first that
    /// [covers](Claim::covers) it. Those with the rest of their segment come last, wherever the table
    /// has them.
    pub fn units_in_order(&self) -> impl Iterator<Item = Result<Drhd<'a>, Error>> + use<'a> {
        let takes_rest = |unit: &Result<Drhd<'a>, Error>| unit.as_ref().is_ok_and(|u| u.takes_rest);
        let named = self.units().filter(move |u| !takes_rest(u));
        Iterator::chain(named, self.units().filter(takes_rest))
    }

    /// The number by which the kernel calls a unit: its place among all that the table describes, driven or
    /// not. A unit that is described again counts once.
    ///
    /// Source: srctree/drivers/iommu/intel/dmar.c, `dmar_parse_one_drhd`, `alloc_iommu`.
    pub fn number_of(&self, unit: &Drhd<'a>) -> usize {
        let drhds = |before: usize| {
            let table = *self;
            table.structures().filter_map(move |s| match s {
                Ok(Structure::Drhd(d)) if d.offset < before => Some(d),
                _ => None,
            })
        };
        let is_new = |d: &Drhd<'a>| {
            !drhds(d.offset).any(|other| other.segment == d.segment && other.base == d.base)
        };
        drhds(unit.offset).filter(is_new).count()
    }

    /// Compares a unit with those before it.
    fn check(&self, unit: Drhd<'a>) -> Result<Drhd<'a>, Error> {
        let (offset, base) = (unit.offset, unit.base);
        let registers = unit.registers()?;
        if !unit.takes_rest && !unit.scopes().any(|s| s.is_ok()) {
            return Err(Error::NoScope { offset, base });
        }
        for other in self.structures().flatten() {
            let Structure::Drhd(other) = other else {
                continue;
            };
            if other.offset >= unit.offset {
                break;
            }
            if other.registers().is_ok_and(|r| r.overlaps(&registers)) {
                return Err(Error::SharedRegisters { offset, base });
            }
            if unit.takes_rest && other.takes_rest && unit.segment == other.segment {
                return Err(Error::SecondRest {
                    offset,
                    segment: unit.segment,
                });
            }
        }
        Ok(unit)
    }
}

/// The structures of a table, in table order.
///
/// Each step takes at least four bytes, and there are at most [`MAX_STRUCTURES`] and one items. A
/// structure whose length is wrong ends the iteration after its error; other errors do not.
#[derive(Clone, Debug)]
pub struct Structures<'a> {
    bytes: &'a [u8],
    /// Where the next one starts; the length of `bytes` after the error that ends the iteration.
    offset: usize,
    nr_left: usize,
}

impl<'a> Structures<'a> {
    /// Takes the next structure, at `offset`; `rest` starts there and is not empty.
    fn take(&mut self, rest: &'a [u8], offset: usize) -> Result<Structure<'a>, Error> {
        let left = rest.len();
        // Whatever goes wrong before the length is known to be right ends the iteration.
        self.offset = self.bytes.len();
        let (Some(kind), Some(len)) = (u16_at(rest, 0), u16_at(rest, 2)) else {
            return Err(Error::Truncated { offset, left });
        };
        self.nr_left = self
            .nr_left
            .checked_sub(1)
            .ok_or(Error::TooMany { offset })?;
        let min = Structure::min_len(kind);
        if len < min {
            return Err(Error::Length {
                offset,
                kind,
                len,
                min,
            });
        }
        let bytes = rest.get(..usize::from(len)).ok_or(Error::Overrun {
            offset,
            kind,
            len,
            left,
        })?;
        self.offset = offset.saturating_add(usize::from(len));
        Structure::decode(bytes, offset, kind, len)
    }
}

impl<'a> Iterator for Structures<'a> {
    type Item = Result<Structure<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        match self.bytes.get(offset..) {
            None | Some([]) => None,
            Some(rest) => Some(self.take(rest, offset)),
        }
    }
}

#[cfg(test)]
mod tests;
