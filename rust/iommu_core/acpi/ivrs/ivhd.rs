// SPDX-License-Identifier: GPL-2.0

//! Hardware definition blocks: one describes one unit, as far as its type can.
//!
//! Source: AMD I/O Virtualization Technology (IOMMU) Specification, 48882, Rev 3.10, 5.2.2
//! (I/O Virtualization Hardware Definition Block, types 10h, 11h, 40h).

use crate::acpi::{u16_at, u32_at, u64_at, u8_at};
use crate::addr::Range;
use crate::id::{Rid, Sbdf};

use super::entries::Entries;
use super::range::DeviceRanges;
use super::Error;

/// Type of a hardware definition block. A greater one says more about the same unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// 10h: 24-byte header, no image of the extended feature register.
    V10,
    /// 11h: 40-byte header with that image.
    V11,
    /// 40h: as 11h, and with devices of the ACPI namespace.
    V40,
}

impl Kind {
    /// The kind of a block of type `kind`, [`None`] if it is no hardware definition.
    pub const fn from_u8(kind: u8) -> Option<Self> {
        match kind {
            0x10 => Some(Self::V10),
            0x11 => Some(Self::V11),
            0x40 => Some(Self::V40),
            _ => None,
        }
    }

    /// The type as the table has it.
    pub const fn as_u8(self) -> u8 {
        match self {
            Self::V10 => 0x10,
            Self::V11 => 0x11,
            Self::V40 => 0x40,
        }
    }

    /// Length of the header in bytes, up to the first device entry.
    pub const fn header_len_bytes(self) -> u16 {
        match self {
            Self::V10 => 24,
            Self::V11 | Self::V40 => 40,
        }
    }
}

/// Feature bits that the firmware recommends, from the flags byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// HyperTransport tunnel translation is to be enabled (bit 0).
    pub const fn ht_tun_en(self) -> bool {
        self.0 & 1 << 0 != 0
    }

    /// Posted writes of the unit pass others (bit 1).
    pub const fn pass_pw(self) -> bool {
        self.0 & 1 << 1 != 0
    }

    /// Responses of the unit pass posted writes (bit 2).
    pub const fn res_pass_pw(self) -> bool {
        self.0 & 1 << 2 != 0
    }

    /// The unit's own requests are isochronous (bit 3).
    pub const fn isoc(self) -> bool {
        self.0 & 1 << 3 != 0
    }

    /// Remote IOTLBs are supported (bit 4).
    pub const fn iotlb_sup(self) -> bool {
        self.0 & 1 << 4 != 0
    }

    /// The unit's own requests are to be coherent (bit 5).
    pub const fn coherent(self) -> bool {
        self.0 & 1 << 5 != 0
    }

    /// PREFETCH_IOMMU_PAGES is supported (bit 6; reserved in types 11h and 40h).
    pub const fn prefetch_sup(self) -> bool {
        self.0 & 1 << 6 != 0
    }

    /// Peripheral page requests are supported (bit 7; reserved in types 11h and 40h).
    pub const fn ppr_sup(self) -> bool {
        self.0 & 1 << 7 != 0
    }
}

/// The fourth word of the header: features in type 10h, attributes in types 11h and 40h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The word as it is.
    pub word: u32,
    /// Type of the block it is from.
    pub kind: Kind,
}

impl Attributes {
    const fn is(self, kind: Kind, bit: u32) -> bool {
        self.kind.as_u8() == kind.as_u8() && self.word.wrapping_shr(bit) & 1 != 0
    }

    /// x2APIC interrupts are supported, by type 10h (bit 0).
    pub const fn xt_sup(self) -> bool {
        self.is(Kind::V10, 0)
    }

    /// Guest (v2) translation is supported, by type 10h (bit 2).
    pub const fn gt_sup(self) -> bool {
        self.is(Kind::V10, 2)
    }

    /// INVALIDATE_IOMMU_ALL is supported, by type 10h (bit 5).
    pub const fn ia_sup(self) -> bool {
        self.is(Kind::V10, 5)
    }

    /// Guest virtual APIC mode is supported, by type 10h (bit 6).
    pub const fn ga_sup(self) -> bool {
        self.is(Kind::V10, 6)
    }

    /// Host (v1) translation must not be used, by types 11h and 40h (bit 0).
    pub const fn hat_disabled(self) -> bool {
        self.is(Kind::V11, 0) || self.is(Kind::V40, 0)
    }

    /// Counters in each bank (bits 16:13).
    pub const fn pn_counters(self) -> u32 {
        self.word >> 13 & 0xf
    }

    /// Banks of counters (bits 22:17).
    pub const fn pn_banks(self) -> u32 {
        self.word >> 17 & 0x3f
    }

    /// Number of the MSI that signals peripheral page requests (bits 27:23).
    pub const fn msi_num_ppr(self) -> u32 {
        self.word >> 23 & 0x1f
    }
}

/// Registers of a unit without performance counters end here.
const MMIO_LEN_BYTES: u64 = 0x4000;
/// Registers of a unit with performance counters end here.
const MMIO_COUNTERS_LEN_BYTES: u64 = 0x8_0000;
/// Alignment of the registers in bytes, with and without counters.
const MMIO_ALIGN_BYTES: u64 = 0x4000;
/// PCSup in the image of the extended feature register: there are performance counters.
const EFR_PC_SUP: u64 = 1 << 9;

/// One hardware definition block.
#[derive(Clone, Copy, Debug)]
pub struct Ivhd<'a> {
    /// Where the block starts, in bytes from the start of the table.
    pub offset: usize,
    /// Type of the block.
    pub kind: Kind,
    /// Recommended features.
    pub flags: Flags,
    /// Requester ID of the unit's own PCI function, with the segment the block is about.
    pub unit: Sbdf,
    /// Offset of the unit's capability block in that function's configuration space.
    pub capability: u16,
    /// Base address of the unit's registers as it is in the table, see [`Ivhd::registers`].
    pub base: u64,
    /// Number of the MSI that signals events, and HyperTransport unit ID, undecoded.
    pub info: u16,
    /// Features or attributes, by type.
    pub attributes: Attributes,
    /// Image of the extended feature register; types 11h and 40h only.
    pub efr: Option<u64>,
    /// Image of the extended feature 2 register; types 11h and 40h only.
    pub efr2: Option<u64>,
    entries: &'a [u8],
    entries_offset: usize,
}

impl<'a> Ivhd<'a> {
    /// Decodes the header of `block`, [`None`] if it is too short.
    pub(super) fn parse(block: &'a [u8], offset: usize, kind: Kind) -> Option<Self> {
        let header_len = usize::from(kind.header_len_bytes());
        let has_image = kind >= Kind::V11;
        Some(Self {
            offset,
            kind,
            flags: Flags(u8_at(block, 1)?),
            unit: Sbdf {
                segment: u16_at(block, 16)?,
                rid: Rid(u16_at(block, 4)?),
            },
            capability: u16_at(block, 6)?,
            base: u64_at(block, 8)?,
            info: u16_at(block, 18)?,
            attributes: Attributes {
                word: u32_at(block, 20)?,
                kind,
            },
            efr: if has_image {
                Some(u64_at(block, 24)?)
            } else {
                None
            },
            efr2: if has_image {
                Some(u64_at(block, 32)?)
            } else {
                None
            },
            entries: block.get(header_len..)?,
            entries_offset: offset.checked_add(header_len)?,
        })
    }

    /// Number of the MSI that signals events (bits 4:0 of the information word).
    pub const fn msi_num(&self) -> u16 {
        self.info & 0x1f
    }

    /// HyperTransport unit ID (bits 12:8 of the information word).
    pub const fn unit_id(&self) -> u16 {
        self.info >> 8 & 0x1f
    }

    /// Returns `true` if the table says that there are performance counters.
    pub const fn has_counters(&self) -> bool {
        match self.efr {
            Some(efr) => efr & EFR_PC_SUP != 0,
            None => self.attributes.pn_counters() != 0 && self.attributes.pn_banks() != 0,
        }
    }

    /// The unit's registers: 16 KiB, or 512 KiB if it has performance counters.
    ///
    /// That something answers there is not known.
    ///
    /// # Errors
    ///
    /// [`Error::Base`] if the base address is zero, not aligned to 16 KiB, or too near to the
    /// end of the 64-bit space.
    ///
    /// Source: the lengths are those of srctree/drivers/iommu/amd/init.c (`init_iommu_one`).
    pub const fn registers(&self) -> Result<Range, Error> {
        let len = if self.has_counters() {
            MMIO_COUNTERS_LEN_BYTES
        } else {
            MMIO_LEN_BYTES
        };
        match Range::with_len(self.base, len) {
            Some(range) if self.base != 0 && self.base & (MMIO_ALIGN_BYTES - 1) == 0 => Ok(range),
            _ => Err(Error::Base {
                offset: self.offset,
                base: self.base,
            }),
        }
    }

    /// The device entries, in table order.
    pub const fn entries(&self) -> Entries<'a> {
        Entries::new(self.entries, self.entries_offset, self.kind)
    }

    /// The requester IDs the block says are served, with range ends paired.
    pub const fn device_ranges(&self) -> DeviceRanges<'a> {
        DeviceRanges::new(self.entries())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acpi::ivrs::vectors;
    use crate::acpi::ivrs::{Block, Ivrs};

    fn block<const N: usize>(kind: Kind, bytes: &[(usize, [u8; N])]) -> std::vec::Vec<u8> {
        let mut b = std::vec![0u8; usize::from(kind.header_len_bytes())];
        b[0] = kind.as_u8();
        for (at, value) in bytes {
            b[*at..*at + N].copy_from_slice(value);
        }
        b
    }

    #[test]
    fn the_header_that_qemu_writes_is_decoded() {
        let bytes = vectors::qemu();
        let table = Ivrs::parse(&bytes).unwrap();
        let mut blocks = table.blocks();

        let Some(Ok(Block::Ivhd(v10))) = blocks.next() else {
            panic!("no type 10h");
        };
        assert_eq!((v10.kind, v10.offset), (Kind::V10, 48));
        assert_eq!(v10.flags, Flags(0xd1));
        assert!(v10.flags.ht_tun_en() && v10.flags.iotlb_sup());
        assert!(v10.flags.prefetch_sup() && v10.flags.ppr_sup());
        assert!(!v10.flags.coherent() && !v10.flags.isoc());
        assert!(!v10.flags.pass_pw() && !v10.flags.res_pass_pw());
        assert_eq!(v10.unit.rid, Rid::new(0, 2, 0));
        assert_eq!((v10.capability, v10.base), (0x40, 0xfed8_0000));
        assert!(v10.attributes.ga_sup() && v10.attributes.gt_sup());
        assert!(!v10.attributes.xt_sup() && !v10.attributes.hat_disabled());
        assert_eq!((v10.efr, v10.efr2), (None, None));
        assert_eq!(
            v10.registers(),
            Ok(Range::with_len(0xfed8_0000, 0x4000).unwrap())
        );

        let Some(Ok(Block::Ivhd(v11))) = blocks.next() else {
            panic!("no type 11h");
        };
        assert_eq!((v11.kind, v11.flags), (Kind::V11, Flags(0x11)));
        assert_eq!((v11.efr, v11.efr2), (Some(0x29d3), Some(0)));
        assert_eq!(v11.unit, v10.unit);
        assert!(blocks.next().is_none());
    }

    #[test]
    fn every_header_field_has_its_own_bytes() {
        let mut bytes: std::vec::Vec<u8> = (0..40).collect();
        bytes[0] = 0x40;
        let h = Ivhd::parse(&bytes, 0x200, Kind::V40).unwrap();
        assert_eq!(h.flags, Flags(1));
        assert_eq!(h.unit.rid, Rid(0x0504));
        assert_eq!(h.capability, 0x0706);
        assert_eq!(h.base, 0x0f0e_0d0c_0b0a_0908);
        assert_eq!(h.unit.segment, 0x1110);
        assert_eq!(h.info, 0x1312);
        assert_eq!((h.msi_num(), h.unit_id()), (0x12, 0x13));
        assert_eq!(h.attributes.word, 0x1716_1514);
        assert_eq!(h.efr, Some(0x1f1e_1d1c_1b1a_1918));
        assert_eq!(h.efr2, Some(0x2726_2524_2322_2120));
        assert_eq!(h.entries().offset(), 0x228);
        for cut in 0..40 {
            assert!(Ivhd::parse(&bytes[..cut], 0, Kind::V40).is_none());
        }
    }

    #[test]
    fn counters_are_told_by_the_image_or_else_by_the_features() {
        // 0x80048f6e is the feature word of most tables of the corpus: 4 counters, 2 banks.
        let b = block(Kind::V10, &[(20, 0x8004_8f6eu32.to_le_bytes())]);
        let h = Ivhd::parse(&b, 0, Kind::V10).unwrap();
        assert_eq!(
            (h.attributes.pn_counters(), h.attributes.pn_banks()),
            (4, 2)
        );
        assert!(h.has_counters() && h.attributes.ia_sup());
        assert_eq!(h.attributes.msi_num_ppr(), 0);

        let b = block(Kind::V11, &[(20, 0x0004_0201u32.to_le_bytes())]);
        let h = Ivhd::parse(&b, 0, Kind::V11).unwrap();
        assert!(!h.has_counters() && h.attributes.hat_disabled());
        assert!(!h.attributes.xt_sup());

        let b = block(Kind::V40, &[(24, (1u64 << 9).to_le_bytes())]);
        assert!(Ivhd::parse(&b, 0, Kind::V40).unwrap().has_counters());
    }

    #[test]
    fn registers_that_cannot_be_are_refused() {
        let at = |base: u64| {
            let b = block(Kind::V10, &[(8, base.to_le_bytes())]);
            Ivhd::parse(&b, 7, Kind::V10).unwrap().registers()
        };
        for base in [0, 1, 0x1000, 0xfed8_0001, 0xfed8_2000, u64::MAX] {
            assert_eq!(at(base), Err(Error::Base { offset: 7, base }));
        }
        let last = 0u64.wrapping_sub(0x4000);
        assert_eq!(at(last), Ok(Range::new(last, u64::MAX).unwrap()));
        assert!(at(0x4000).is_ok());
    }
}
