// SPDX-License-Identifier: GPL-2.0

//! The walk over the device entries of an IVHD block, and their decoding.
//!
//! Source: AMD I/O Virtualization Technology (IOMMU) Specification, 48882, Rev 3.10, 5.2.2
//! (IVHD device entries); srctree/drivers/iommu/amd/init.c (`ivhd_entry_length`), which has no
//! length for types from 80h on other than F0h and so never gets past one.

use crate::acpi::{array_at, u16_at, u32_at, u8_at};
use crate::id::Rid;

use super::entry::{DteSettings, Entry, Uid, Variety};
use super::ivhd::Kind;
use super::Error;

/// Offset of the length field in an entry of type F0h, which is also that of its last fixed byte.
const HID_UID_LEN: usize = 21;

/// Length in bytes of the entry that `bytes` starts with, [`None`] if its type does not tell.
///
/// The two upper bits of the type give 4, 8, 16 or 32 bytes. Types from F0h on are of variable
/// length, and only that of F0h itself is defined; if its length field is cut off, the fixed part
/// is the answer.
fn entry_len_bytes(bytes: &[u8], kind: u8) -> Option<usize> {
    match kind {
        0x00..=0x3f => Some(4),
        0x40..=0x7f => Some(8),
        0x80..=0xbf => Some(16),
        0xc0..=0xef => Some(32),
        0xf0 => {
            let uid_len = usize::from(u8_at(bytes, HID_UID_LEN).unwrap_or(0));
            Some(uid_len.saturating_add(HID_UID_LEN).saturating_add(1))
        }
        0xf1..=0xff => None,
    }
}

/// Decodes the unique ID of an ACPI device.
fn parse_uid(format: u8, data: &[u8], offset: usize) -> Result<Uid<'_>, Error> {
    match format {
        // A length without a format is wrong, but nothing hangs on it.
        0 => Ok(Uid::None),
        1 => {
            if data.is_empty() || data.len() > 8 {
                // A u8 by construction: the length field is one byte.
                let len = u8::try_from(data.len()).unwrap_or(u8::MAX);
                return Err(Error::UidLength { offset, len });
            }
            let value = data
                .iter()
                .rev()
                .fold(0u64, |value, &byte| value << 8 | u64::from(byte));
            Ok(Uid::Int(value))
        }
        2 => Ok(Uid::Str(data)),
        format => Ok(Uid::Unknown { format, data }),
    }
}

/// Decodes the entry that `bytes` is, [`None`] if it is too short for its type.
fn parse_entry(
    bytes: &[u8],
    kind: u8,
    block: Kind,
    offset: usize,
) -> Option<Result<Entry<'_>, Error>> {
    let rid = Rid(u16_at(bytes, 1)?);
    let settings = DteSettings(u8_at(bytes, 3)?);
    let entry = match kind {
        0x00 => Entry::Pad4,
        0x01 => Entry::All { settings },
        0x02 => Entry::Select { rid, settings },
        0x03 => Entry::RangeStart { rid, settings },
        0x04 => Entry::RangeEnd { rid },
        0x40 => Entry::Pad8,
        0x42 => Entry::AliasSelect {
            rid,
            settings,
            source: Rid(u16_at(bytes, 5)?),
        },
        0x43 => Entry::AliasRangeStart {
            rid,
            settings,
            source: Rid(u16_at(bytes, 5)?),
        },
        0x46 => Entry::ExtSelect {
            rid,
            settings,
            ext: u32_at(bytes, 4)?,
        },
        0x47 => Entry::ExtRangeStart {
            rid,
            settings,
            ext: u32_at(bytes, 4)?,
        },
        0x48 => Entry::Special {
            source: Rid(u16_at(bytes, 5)?),
            settings,
            handle: u8_at(bytes, 4)?,
            variety: match u8_at(bytes, 7)? {
                1 => Variety::IoApic,
                2 => Variety::Hpet,
                other => Variety::Unknown(other),
            },
        },
        0xf0 => {
            let block = block.as_u8();
            if block != Kind::V40.as_u8() {
                return Some(Err(Error::EntryNotAllowed {
                    offset,
                    kind,
                    block,
                }));
            }
            let hid: [u8; 8] = array_at(bytes, 4)?;
            let cid = array_at(bytes, 12)?;
            let format = u8_at(bytes, 20)?;
            let data = bytes.get(HID_UID_LEN..)?.get(1..)?;
            if let [0, ..] = hid {
                return Some(Err(Error::EmptyHid { offset }));
            }
            match parse_uid(format, data, offset) {
                Ok(uid) => Entry::AcpiHid {
                    rid,
                    settings,
                    hid,
                    cid,
                    uid,
                },
                Err(error) => return Some(Err(error)),
            }
        }
        kind => Entry::Unknown {
            kind,
            len: bytes.len(),
        },
    };
    Some(Ok(entry))
}

/// The device entries of one block, in table order.
///
/// Each step takes at least four bytes, so there are at most a quarter as many items as bytes,
/// and one. An entry whose end cannot be told ends the iteration after its error; other errors
/// do not.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    /// What is not read yet; empty after the error that ends the iteration.
    rest: &'a [u8],
    /// Offset of `rest` in the table.
    offset: usize,
    block: Kind,
}

impl<'a> Entries<'a> {
    pub(super) const fn new(rest: &'a [u8], offset: usize, block: Kind) -> Self {
        Self {
            rest,
            offset,
            block,
        }
    }

    /// Offset in the table of the entry that comes next.
    pub const fn offset(&self) -> usize {
        self.offset
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.rest;
        let kind = u8_at(bytes, 0)?;
        let offset = self.offset;
        // Whatever goes wrong below ends the iteration.
        self.rest = &[];

        let Some(len) = entry_len_bytes(bytes, kind) else {
            return Some(Err(Error::EntryLengthUnknown { offset, kind }));
        };
        let overrun = Error::EntryOverrun {
            offset,
            kind,
            len,
            left: bytes.len(),
        };
        let Some((entry, rest)) = bytes.split_at_checked(len) else {
            return Some(Err(overrun));
        };
        self.rest = rest;
        self.offset = offset.saturating_add(len);
        Some(parse_entry(entry, kind, self.block, offset).unwrap_or(Err(overrun)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acpi::ivrs::EXT_ATS_DISABLED;
    use std::vec::Vec;

    fn entries(bytes: &[u8], block: Kind) -> Vec<Result<Entry<'_>, Error>> {
        Entries::new(bytes, 0x100, block).collect()
    }

    fn one(bytes: &[u8]) -> Entry<'_> {
        let all = entries(bytes, Kind::V40);
        assert_eq!(all.len(), 1);
        all[0].unwrap()
    }

    #[test]
    fn four_byte_entries_are_decoded() {
        let settings = DteSettings(0xd7);
        let rid = Rid(0x1234);
        assert_eq!(one(&[0x00, 0, 0, 0]), Entry::Pad4);
        assert_eq!(one(&[0x01, 0x34, 0x12, 0xd7]), Entry::All { settings });
        assert_eq!(
            one(&[0x02, 0x34, 0x12, 0xd7]),
            Entry::Select { rid, settings }
        );
        assert_eq!(
            one(&[0x03, 0x34, 0x12, 0xd7]),
            Entry::RangeStart { rid, settings }
        );
        assert_eq!(one(&[0x04, 0x34, 0x12, 0xd7]), Entry::RangeEnd { rid });
    }

    #[test]
    fn eight_byte_entries_are_decoded() {
        let settings = DteSettings(0x10);
        let rid = Rid(0xff00);
        let source = Rid(0x00a5);
        assert_eq!(one(&[0x40, 0, 0, 0, 0, 0, 0, 0]), Entry::Pad8);
        // The alias entries of a ThinkBook's table, corpus ivrs-005f1a61406e.
        assert_eq!(
            one(&[0x43, 0x00, 0xff, 0x10, 0x00, 0xa5, 0x00, 0x00]),
            Entry::AliasRangeStart {
                rid,
                settings,
                source
            }
        );
        assert_eq!(
            one(&[0x42, 0x00, 0xff, 0x10, 0x00, 0xa5, 0x00, 0x00]),
            Entry::AliasSelect {
                rid,
                settings,
                source
            }
        );
        let ext = EXT_ATS_DISABLED | 1;
        assert_eq!(
            one(&[0x46, 0x00, 0xff, 0x10, 1, 0, 0, 0x80]),
            Entry::ExtSelect { rid, settings, ext }
        );
        assert_eq!(
            one(&[0x47, 0x00, 0xff, 0x10, 1, 0, 0, 0x80]),
            Entry::ExtRangeStart { rid, settings, ext }
        );
    }

    #[test]
    fn special_devices_are_decoded() {
        // The entries of the same table: HPET 0 and I/O APIC 33.
        for (bytes, settings, handle, source, variety) in [
            ([0x48, 0, 0, 0, 0, 0xa0, 0, 2], 0, 0, 0xa0, Variety::Hpet),
            (
                [0x48, 0, 0, 0xd7, 0x21, 0xa0, 0, 1],
                0xd7,
                0x21,
                0xa0,
                Variety::IoApic,
            ),
            (
                [0x48, 0, 0, 0, 1, 2, 3, 9],
                0,
                1,
                0x302,
                Variety::Unknown(9),
            ),
        ] {
            assert_eq!(
                one(&bytes),
                Entry::Special {
                    source: Rid(source),
                    settings: DteSettings(settings),
                    handle,
                    variety,
                }
            );
        }
    }

    /// An ACPI device entry with the given unique ID.
    fn hid(format: u8, len: u8, uid: &[u8]) -> Vec<u8> {
        let mut e = std::vec![0xf0, 0xa5, 0x00, 0x40];
        e.extend_from_slice(b"AMDI0020");
        e.extend_from_slice(&[0; 8]);
        e.extend_from_slice(&[format, len]);
        e.extend_from_slice(uid);
        e
    }

    #[test]
    fn acpi_devices_are_decoded() {
        let uid_of = |bytes: &[u8]| match entries(bytes, Kind::V40)[..] {
            [Ok(Entry::AcpiHid {
                rid: Rid(0xa5),
                settings: DteSettings(0x40),
                hid: [b'A', b'M', b'D', b'I', b'0', b'0', b'2', b'0'],
                cid: [0, 0, 0, 0, 0, 0, 0, 0],
                uid,
            })] => std::format!("{uid:?}"),
            ref other => panic!("{other:?}"),
        };
        assert_eq!(uid_of(&hid(0, 0, &[])), "None");
        assert_eq!(uid_of(&hid(0, 1, &[7])), "None");
        assert_eq!(uid_of(&hid(1, 1, &[7])), "Int(7)");
        assert_eq!(uid_of(&hid(1, 8, &[1, 2, 0, 0, 0, 0, 0, 0])), "Int(513)");
        assert_eq!(
            uid_of(&hid(2, 2, br"\_")),
            std::format!("{:?}", Uid::Str(br"\_"))
        );
        assert_eq!(uid_of(&hid(9, 1, &[3])), "Unknown { format: 9, data: [3] }");
    }

    #[test]
    fn a_bad_acpi_device_costs_only_itself() {
        let mut bytes = hid(1, 9, &[0; 9]);
        let mut empty = hid(0, 0, &[]);
        empty[4] = 0;
        bytes.extend_from_slice(&empty);
        bytes.extend_from_slice(&[0; 4]);
        assert_eq!(
            entries(&bytes, Kind::V40),
            [
                Err(Error::UidLength {
                    offset: 0x100,
                    len: 9
                }),
                Err(Error::EmptyHid { offset: 0x11f }),
                Ok(Entry::Pad4)
            ]
        );
        assert!(matches!(
            entries(&hid(1, 0, &[]), Kind::V40)[..],
            [Err(Error::UidLength { len: 0, .. })]
        ));
        assert_eq!(
            entries(&hid(0, 0, &[]), Kind::V11),
            [Err(Error::EntryNotAllowed {
                offset: 0x100,
                kind: 0xf0,
                block: 0x11
            })]
        );
    }

    #[test]
    fn unknown_types_are_skipped_by_their_length() {
        for (kind, len) in [(0x05u8, 4usize), (0x3f, 4), (0x41, 8), (0x7f, 8)]
            .into_iter()
            .chain([(0x80, 16), (0xbf, 16), (0xc0, 32), (0xef, 32)])
        {
            let mut bytes = std::vec![0u8; len];
            bytes[0] = kind;
            bytes.extend_from_slice(&[1, 0, 0, 5]);
            let settings = DteSettings(5);
            assert_eq!(
                entries(&bytes, Kind::V10),
                [
                    Ok(Entry::Unknown { kind, len }),
                    Ok(Entry::All { settings })
                ]
            );
        }
    }

    #[test]
    fn an_entry_without_an_end_ends_the_iteration() {
        let mut bytes = [0u8; 64];
        for kind in 0xf1..=0xff {
            bytes[0] = kind;
            assert_eq!(
                entries(&bytes, Kind::V40),
                [Err(Error::EntryLengthUnknown {
                    offset: 0x100,
                    kind
                })]
            );
        }
        let full = hid(2, 4, b"ABCD");
        for cut in 1..full.len() {
            let len = if cut < 22 { 22 } else { 26 };
            assert_eq!(
                entries(&full[..cut], Kind::V40),
                [Err(Error::EntryOverrun {
                    offset: 0x100,
                    kind: 0xf0,
                    len,
                    left: cut
                })]
            );
        }
        for kind in [0x00, 0x02, 0x43, 0x48, 0x90, 0xd0] {
            assert!(matches!(
                entries(&[kind, 0, 0], Kind::V40)[..],
                [Err(Error::EntryOverrun { left: 3, .. })]
            ));
        }
    }
}
