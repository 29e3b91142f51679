// SPDX-License-Identifier: GPL-2.0

//! ACPI tables that describe IOMMUs and memory, and the readers their parsers share.
//!
//! Everything here takes `&[u8]` that firmware wrote and nobody checked: each reader is total, no
//! parser panics, allocates or loops without progress, and each iterator is bounded by the
//! length of its slice.
//!
//! Source: ACPI Specification 6.5, 5.2.6 (System Description Table Header).

use core::{
    fmt,
    iter::from_fn, //
};

pub mod dmar;
pub mod ivrs;
pub mod madt;
pub mod srat;

/// Bytes of the header that every system description table starts with.
pub const HEADER_LEN_BYTES: usize = 36;

/// Reads `N` bytes at offset `at`, [`None`] if they are not all inside `bytes`.
#[inline]
pub fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Reads the byte at offset `at`.
#[inline]
pub fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// Reads the little-endian 16-bit word at offset `at`, of any alignment.
#[inline]
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_le_bytes)
}

/// Reads the little-endian 32-bit word at offset `at`, of any alignment.
#[inline]
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

/// Reads the little-endian 64-bit word at offset `at`, of any alignment.
#[inline]
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}

/// Why bytes are not the table they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// There are fewer bytes than the fixed part of the table takes.
    Short {
        /// Bytes there are.
        have: usize,
        /// Bytes the fixed part takes.
        need: usize,
    },
    /// The signature is another table's.
    Signature {
        /// The signature found.
        found: [u8; 4],
        /// The signature asked for.
        want: [u8; 4],
    },
    /// The length field is shorter than the fixed part or longer than the bytes there are.
    Length {
        /// The length field.
        length: u32,
        /// Bytes there are.
        have: usize,
    },
    /// The bytes do not sum up to zero.
    Checksum {
        /// What they sum up to, modulo 256.
        sum: u8,
    },
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Short { have, need } => {
                write!(f, "table of {have} bytes is shorter than its fixed {need}")
            }
            Self::Signature { found, want } => write!(
                f,
                "signature at offset 0x0 is \"{}\", not \"{}\"",
                Ascii(&found),
                Ascii(&want)
            ),
            Self::Length { length, have } => write!(
                f,
                "table length {length} at offset 0x4 is wrong for {have} bytes"
            ),
            Self::Checksum { sum } => {
                write!(f, "checksum is wrong: bytes sum up to {sum:#04x}, not 0")
            }
        }
    }
}

/// Prints bytes that should be ASCII: printable ones as they are, others as `.`, without the
/// zero bytes at the end.
pub struct Ascii<'a>(pub &'a [u8]);

impl fmt::Display for Ascii<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;

        let mut rest = self.0;
        while let [head @ .., 0] = rest {
            rest = head;
        }
        for &byte in rest {
            f.write_char(match byte {
                b' '..=b'~' => char::from(byte),
                _ => '.',
            })?;
        }
        Ok(())
    }
}

/// A table whose header, length and checksum were found right.
///
/// # Invariants
///
/// `bytes` has exactly the length the header says, and at least the fixed length that
/// [`Table::parse`] was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    bytes: &'a [u8],
    /// Revision of the table's layout.
    pub revision: u8,
    /// Name of the firmware's maker.
    pub oem_id: [u8; 6],
    /// The maker's name of this table.
    pub oem_table_id: [u8; 8],
    /// The maker's revision of this table.
    pub oem_revision: u32,
}

impl<'a> Table<'a> {
    /// Checks signature, length and checksum, in this order. Bytes beyond the table's length are
    /// left out.
    ///
    /// `fixed_len_bytes` is the length of the table's fixed part, header included; below
    /// [`HEADER_LEN_BYTES`] it is taken as that.
    ///
    /// # Errors
    ///
    /// The [`TableError`] that names what is wrong first.
    pub fn parse(
        bytes: &'a [u8],
        signature: [u8; 4],
        fixed_len_bytes: usize,
    ) -> Result<Self, TableError> {
        let need = fixed_len_bytes.max(HEADER_LEN_BYTES);
        let have = bytes.len();
        let short = TableError::Short { have, need };

        let found = array_at(bytes, 0).ok_or(short)?;
        if found != signature {
            return Err(TableError::Signature {
                found,
                want: signature,
            });
        }
        let length = u32_at(bytes, 4).ok_or(short)?;
        if have < need {
            return Err(short);
        }
        let wrong = TableError::Length { length, have };
        let table_len = usize::try_from(length).map_err(|_| wrong)?;
        if table_len < need {
            return Err(wrong);
        }
        let bytes = bytes.get(..table_len).ok_or(wrong)?;

        let sum = bytes.iter().fold(0u8, |sum, &b| sum.wrapping_add(b));
        if sum != 0 {
            return Err(TableError::Checksum { sum });
        }

        // INVARIANT: cut to `table_len`, which is at least `need`.
        Ok(Self {
            bytes,
            revision: u8_at(bytes, 8).ok_or(short)?,
            oem_id: array_at(bytes, 10).ok_or(short)?,
            oem_table_id: array_at(bytes, 16).ok_or(short)?,
            oem_revision: u32_at(bytes, 24).ok_or(short)?,
        })
    }

    /// The whole table, header included.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The structures from offset `at` on, each with its type, for tables whose structures begin with
    /// a byte for the type and one for the length (MADT, SRAT). One whose length is wrong ends them.
    pub fn short_structures(&self, at: usize) -> impl Iterator<Item = (u8, &'a [u8])> {
        let mut rest = self.bytes.get(at..).unwrap_or(&[]);
        from_fn(move || {
            let (kind, len) = (u8_at(rest, 0)?, u8_at(rest, 1)?);
            let (one, behind) = rest.split_at_checked(len.into())?;
            rest = behind;
            (len >= 2).then_some((kind, one))
        })
    }
}

/// A table of `fixed_len_bytes` zeros with these structures behind them, its length and checksum right.
#[cfg(test)]
pub(crate) fn table_of(
    signature: &[u8; 4],
    fixed_len_bytes: usize,
    parts: &[std::vec::Vec<u8>],
) -> std::vec::Vec<u8> {
    let mut t = signature.to_vec();
    t.resize(fixed_len_bytes, 0);
    t.extend(parts.iter().flatten());
    let len = u32::try_from(t.len()).unwrap_or(0);
    t.splice(4..8, len.to_le_bytes());
    let sum = t.iter().fold(0u8, |a, b| a.wrapping_add(*b));
    t.splice(9..10, [0u8.wrapping_sub(sum)]);
    t
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    fn table() -> Vec<u8> {
        let mut t = std::vec![0u8; 40];
        t[..4].copy_from_slice(b"TEST");
        t[4] = 40;
        t[8] = 3;
        t[10..16].copy_from_slice(b"OEM\0\0\0");
        t[24] = 7;
        t[9] = t.iter().fold(0u8, |s, &b| s.wrapping_sub(b));
        t
    }

    #[test]
    fn readers_are_little_endian_and_stop_at_the_end() {
        let b = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(u16_at(&b, 1), Some(0x0302));
        assert_eq!(u32_at(&b, 1), Some(0x0504_0302));
        assert_eq!(u64_at(&b, 1), Some(0x0908_0706_0504_0302));
        assert_eq!(u8_at(&b, 8), Some(9));
        assert_eq!(u8_at(&b, 9), None);
        assert_eq!(u64_at(&b, 2), None);
        assert_eq!(u16_at(&b, usize::MAX), None);
    }

    #[test]
    fn a_right_table_is_taken_without_its_trailing_bytes() {
        let mut bytes = table();
        bytes.push(0xff);
        let t = Table::parse(&bytes, *b"TEST", 40).unwrap();
        assert_eq!(t.bytes().len(), 40);
        assert_eq!((t.revision, t.oem_revision), (3, 7));
        assert_eq!(Ascii(&t.oem_id).to_string(), "OEM");
    }

    #[test]
    fn each_wrong_field_is_named() {
        let good = table();
        let err = |b: &[u8], fixed| Table::parse(b, *b"TEST", fixed).unwrap_err();

        assert_eq!(err(&[], 0), TableError::Short { have: 0, need: 36 });
        assert_eq!(
            err(&good, 41),
            TableError::Short { have: 40, need: 41 },
            "the fixed part is longer than the bytes"
        );
        let mut t = good.clone();
        t[0] = 0;
        assert_eq!(
            err(&t, 40).to_string(),
            "signature at offset 0x0 is \".EST\", not \"TEST\""
        );
        for length in [0u32, 39, 41, u32::MAX] {
            let mut t = good.clone();
            t[4..8].copy_from_slice(&length.to_le_bytes());
            assert_eq!(err(&t, 40), TableError::Length { length, have: 40 });
        }
        let mut t = good.clone();
        t[9] = t[9].wrapping_add(2);
        assert_eq!(err(&t, 40), TableError::Checksum { sum: 2 });
    }
}
