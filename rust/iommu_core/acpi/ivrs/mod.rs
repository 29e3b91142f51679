// SPDX-License-Identifier: GPL-2.0

//! IVRS: the table that describes the AMD units of a machine.
//!
//! [`Ivrs`] is a table with blocks; a block describes a unit ([`Ivhd`]) or memory ([`Ivmd`]);
//! [`Ivrs::units`] picks one block for each unit; [`Ivhd::entries`] says which requester IDs the
//! unit serves, [`Ivhd::device_ranges`] says it in ranges. [`dump`] prints it all.
//!
//! Source: AMD I/O Virtualization Technology (IOMMU) Specification, 48882, Rev 3.10, chapter 5
//! (I/O Virtualization ACPI Table); srctree/include/acpi/actbl2.h.

use super::{u16_at, u32_at, u8_at, Table};

mod dump;
mod entries;
mod entry;
mod err;
#[cfg(test)]
mod hostile;
mod ivhd;
mod ivmd;
mod range;
mod unit;
#[cfg(test)]
pub(crate) mod vectors;

pub use dump::dump;
pub use entries::Entries;
pub use entry::{DteSettings, Entry, Uid, Variety, EXT_ATS_DISABLED};
pub use err::Error;
pub use ivhd::{Attributes, Flags, Ivhd, Kind};
pub use ivmd::{Ivmd, MemFlags, Target};
pub use range::{DeviceRange, DeviceRanges};
pub use unit::Units;

/// Length in bytes of the table's fixed part; the first block follows.
pub const FIXED_LEN_BYTES: usize = 48;
/// Blocks of one table that are read. Linux knows 32 units, each described up to three times, so
/// this is far beyond any machine; it bounds the work on a hostile table.
pub const MAX_BLOCKS: usize = 1024;
/// Length in bytes of what all blocks start with: type, flags, length.
const BLOCK_HEADER_LEN_BYTES: u16 = 4;

/// What the table says about all units (IVinfo).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IvInfo(pub u32);

impl IvInfo {
    /// The units' extended feature register is there (bit 0, EFRSup).
    pub const fn efr_sup(self) -> bool {
        self.0 & 1 << 0 != 0
    }

    /// The firmware asks for DMA remapping from the start of the system (bit 1, DMA remap
    /// support).
    pub const fn dma_remap(self) -> bool {
        self.0 & 1 << 1 != 0
    }

    /// Size of guest virtual addresses, undecoded (bits 7:5; 2 is 48 bits).
    pub const fn gva_size(self) -> u32 {
        self.0 >> 5 & 0x7
    }

    /// Bits of a physical address (bits 14:8).
    pub const fn pa_bits(self) -> u32 {
        self.0 >> 8 & 0x7f
    }

    /// Bits of a virtual address (bits 21:15). Zero in QEMU's tables.
    pub const fn va_bits(self) -> u32 {
        self.0 >> 15 & 0x7f
    }

    /// The HyperTransport address-translation range is reserved (bit 22).
    pub const fn ht_ats_resv(self) -> bool {
        self.0 & 1 << 22 != 0
    }
}

/// One block of the table.
#[derive(Clone, Copy, Debug)]
pub enum Block<'a> {
    /// A description of a unit.
    Ivhd(Ivhd<'a>),
    /// Memory that devices use on their own.
    Ivmd(Ivmd),
    /// A type this parser does not know, skipped by its length.
    Unknown {
        /// Where the block starts.
        offset: usize,
        /// Type of the block.
        kind: u8,
        /// Its length in bytes.
        len: u16,
    },
}

/// An IVRS table whose header, length and checksum are right. Its blocks may not be.
#[derive(Clone, Copy, Debug)]
pub struct Ivrs<'a> {
    table: Table<'a>,
    info: IvInfo,
}

impl<'a> Ivrs<'a> {
    /// Checks that `bytes` start with an IVRS table. Bytes beyond its length are left out.
    ///
    /// # Errors
    ///
    /// [`Error::Table`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let table = Table::parse(bytes, *b"IVRS", FIXED_LEN_BYTES)?;
        // Inside the fixed part, which is there.
        let info = IvInfo(u32_at(table.bytes(), super::HEADER_LEN_BYTES).unwrap_or(0));
        Ok(Self { table, info })
    }

    /// The table with its header.
    pub const fn table(&self) -> &Table<'a> {
        &self.table
    }

    /// What the table says about all units.
    pub const fn ivinfo(&self) -> IvInfo {
        self.info
    }

    /// The blocks, in table order.
    pub const fn blocks(&self) -> Blocks<'a> {
        Blocks {
            bytes: self.table.bytes(),
            offset: FIXED_LEN_BYTES,
            nr_left: MAX_BLOCKS,
        }
    }

    /// The hardware definitions among the blocks, without the errors.
    pub fn ivhds(&self) -> impl Iterator<Item = Ivhd<'a>> {
        self.blocks().filter_map(|block| match block {
            Ok(Block::Ivhd(ivhd)) => Some(ivhd),
            _ => None,
        })
    }

    /// The memory definitions among the blocks, without the errors.
    pub fn ivmds(&self) -> impl Iterator<Item = Ivmd> + 'a {
        self.blocks().filter_map(|block| match block {
            Ok(Block::Ivmd(ivmd)) => Some(ivmd),
            _ => None,
        })
    }

    /// The block to take for each unit.
    pub const fn units(&self) -> Units<'a> {
        Units::new(*self)
    }
}

/// The blocks of a table, in table order.
///
/// Each step takes at least four bytes, and there are at most [`MAX_BLOCKS`] and one items. A
/// block whose length is wrong ends the iteration after its error, since nothing tells where the
/// next one starts; other errors do not.
#[derive(Clone, Debug)]
pub struct Blocks<'a> {
    bytes: &'a [u8],
    /// Where the next block starts; the length of `bytes` after the error that ends the iteration.
    offset: usize,
    nr_left: usize,
}

impl<'a> Blocks<'a> {
    /// Takes the next block, at `offset`; `rest` starts there and is not empty.
    fn take(&mut self, rest: &'a [u8], offset: usize) -> Result<Block<'a>, Error> {
        let left = rest.len();
        // Whatever goes wrong before the length is known to be right ends the iteration.
        self.offset = self.bytes.len();

        let (Some(kind), Some(len)) = (u8_at(rest, 0), u16_at(rest, 2)) else {
            return Err(Error::BlockTruncated { offset, left });
        };
        let Some(nr_left) = self.nr_left.checked_sub(1) else {
            return Err(Error::TooManyBlocks { offset });
        };
        self.nr_left = nr_left;

        let hardware = Kind::from_u8(kind);
        let min = match hardware {
            Some(kind) => kind.header_len_bytes(),
            None if Ivmd::is_kind(kind) => ivmd::LEN_BYTES,
            None => BLOCK_HEADER_LEN_BYTES,
        };
        let too_short = Error::BlockLength {
            offset,
            kind,
            len,
            min,
        };
        if len < min {
            return Err(too_short);
        }
        let Some(block) = rest.get(..usize::from(len)) else {
            return Err(Error::BlockOverrun {
                offset,
                kind,
                len,
                left,
            });
        };
        self.offset = offset.saturating_add(usize::from(len));

        // The decoders find too short only what `min` let through, which is nothing.
        match hardware {
            Some(kind) => Ivhd::parse(block, offset, kind)
                .map(Block::Ivhd)
                .ok_or(too_short),
            None if Ivmd::is_kind(kind) => Ivmd::parse(block, offset, kind)
                .ok_or(too_short)?
                .map(Block::Ivmd),
            None => Ok(Block::Unknown { offset, kind, len }),
        }
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<Block<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        match self.bytes.get(offset..) {
            None | Some([]) => None,
            Some(rest) => Some(self.take(rest, offset)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acpi::TableError;
    use std::string::{String, ToString};
    use std::vec::Vec;

    /// Blocks by type, or their errors, of a table with the given blocks.
    fn blocks(bytes: &[u8]) -> Vec<Result<u8, Error>> {
        let bytes = vectors::table(bytes);
        let table = Ivrs::parse(&bytes).unwrap();
        table
            .blocks()
            .map(|block| {
                block.map(|block| match block {
                    Block::Ivhd(ivhd) => ivhd.kind.as_u8(),
                    Block::Ivmd(_) => 0x20,
                    Block::Unknown { kind, .. } => kind,
                })
            })
            .collect()
    }

    #[test]
    fn ivinfo_is_decoded() {
        // The word of most tables of the corpus.
        let info = IvInfo(0x0020_3043);
        assert!(info.efr_sup() && info.dma_remap() && !info.ht_ats_resv());
        assert_eq!(
            (info.pa_bits(), info.va_bits(), info.gva_size()),
            (48, 64, 2)
        );
        assert!(IvInfo(1 << 22).ht_ats_resv());
    }

    #[test]
    fn the_header_of_the_table_is_checked() {
        let good = vectors::qemu();
        assert_eq!(Ivrs::parse(&good).unwrap().ivinfo(), IvInfo(0x2801));
        assert_eq!(Ivrs::parse(&good).unwrap().table().oem_id, *b"BOCHS ");
        for cut in 0..good.len() {
            assert!(matches!(Ivrs::parse(&good[..cut]), Err(Error::Table(_))));
        }
        let mut short = good[..47].to_vec();
        vectors::fix(&mut short);
        assert_eq!(
            Ivrs::parse(&short).unwrap_err(),
            Error::Table(TableError::Short { have: 47, need: 48 })
        );
    }

    #[test]
    fn a_block_of_wrong_length_costs_one_error_and_ends_the_iteration() {
        let next = [0x99, 0, 4, 0];
        for len in [0u8, 1, 3] {
            assert_eq!(
                blocks(&[&[0x77, 0, len, 0][..], &next].concat()),
                [Err(Error::BlockLength {
                    offset: 48,
                    kind: 0x77,
                    len: len.into(),
                    min: 4
                })]
            );
        }
        for (kind, min) in [
            (0x10u8, 24u16),
            (0x11, 40),
            (0x40, 40),
            (0x20, 32),
            (0x22, 32),
        ] {
            let len = min - 1;
            let mut block = std::vec![0u8; usize::from(len)];
            block[0] = kind;
            block[2] = len as u8;
            block.extend_from_slice(&next);
            let offset = 48;
            assert_eq!(
                blocks(&block),
                [Err(Error::BlockLength {
                    offset,
                    kind,
                    len,
                    min
                })]
            );
        }
        assert_eq!(
            blocks(&[&next[..], &[0x10, 0, 0xff, 0xff]].concat()),
            [
                Ok(0x99),
                Err(Error::BlockOverrun {
                    offset: 52,
                    kind: 0x10,
                    len: 0xffff,
                    left: 4
                })
            ]
        );
        assert_eq!(
            blocks(&[0x99, 0, 4]),
            [Err(Error::BlockTruncated {
                offset: 48,
                left: 3
            })]
        );
    }

    #[test]
    fn bad_memory_costs_only_its_block() {
        let mut memory = [0u8; 32];
        memory[..4].copy_from_slice(&[0x20, 7, 32, 0]);
        let got = blocks(&[&memory[..], &[0x99, 0, 4, 0]].concat());
        assert!(matches!(got[..], [Err(Error::Memory { .. }), Ok(0x99)]));
    }

    #[test]
    fn a_flood_of_blocks_is_cut_off() {
        let flood = [0x99, 0, 4, 0].repeat(MAX_BLOCKS);
        assert_eq!(blocks(&flood).len(), MAX_BLOCKS);
        let got = blocks(&[&flood[..], &[0x99, 0, 4, 0].repeat(9)].concat());
        assert_eq!(got.len(), MAX_BLOCKS + 1);
        let offset = 48 + 4 * MAX_BLOCKS;
        assert_eq!(got[MAX_BLOCKS], Err(Error::TooManyBlocks { offset }));
    }

    #[test]
    fn every_block_of_a_rich_table_is_told_in_words() {
        let bytes = vectors::rich();
        let table = Ivrs::parse(&bytes).unwrap();
        assert_eq!((table.ivhds().count(), table.ivmds().count()), (3, 3));
        let mut out = String::new();
        assert_eq!(dump(&table, &mut out), Ok(0), "{out}");
        for line in [
            "IVRS revision 1, 504 bytes, OEM \"BOCHS \" \"BXPC    \" revision 1",
            "0x0030 IVHD 10h unit 0000:00:02.0 cap 0x40 base 0xfed80000 msi 0 id 0 \
             flags 0xd1 [httun iotlb prefetch ppr] features 0x44",
            "         serves 02:00.0-02:1f.7 [] as 02:00.0",
            "special ioapic 0 [] as 00:14.0",
            "all [init extint nmi sysmgt=1 lint0 lint1]",
            "alias 03:00.0 [] as 03:00.1",
            "select 03:00.2 [] ext 0x80000000 [atsdis]",
            "acpi hid \"AMDI0020\" cid \"AMDI0010\" uid \"FUR\" [lint0] as 00:14.5",
            "acpi hid \"AMDI0020\" cid \"\" uid 7 [lint0] as 00:14.6",
            "unknown type 80h, 16 bytes",
            "IVMD segment 0000 00:05.0-00:05.7 memory [0x3000000-0x30fffff] [unity read write]",
            "unknown block type 51h, 8 bytes",
            "unit 0000:00:02.0: IVHD 40h at 0xc8, registers [0xfed80000-0xfed83fff]",
        ] {
            assert!(out.contains(line), "no \"{line}\" in\n{out}");
        }
    }

    #[test]
    fn errors_are_told_once_and_say_where() {
        let mut bytes = vectors::qemu();
        // The type of the last entry of the last block.
        let at = bytes.len() - 8;
        bytes[at] = 0xff;
        // The length of a block after it.
        bytes.extend_from_slice(&[0x40, 0, 39, 0]);
        vectors::fix(&mut bytes);
        let mut out = String::new();
        assert_eq!(dump(&Ivrs::parse(&bytes).unwrap(), &mut out), Ok(2));
        let errors: Vec<_> = out.lines().filter(|l| l.starts_with("error: ")).collect();
        assert_eq!(
            errors,
            [
                "error: IVRS: entry at 0xc0: type ffh has no known length",
                "error: IVRS: block at 0xc8: length 39 is below the 40 of type 40h"
            ]
        );
        assert_eq!(
            Ivrs::parse(b"IVRS").unwrap_err().to_string(),
            "IVRS: table of 4 bytes is shorter than its fixed 48"
        );
    }
}
