// SPDX-License-Identifier: GPL-2.0

//! The System Resource Affinity Table, as far as it says where memory can be.
//!
//! Source: ACPI Specification 6.5, 5.2.16.

use super::{
    u32_at,
    u64_at,
    Table,
    TableError, //
};

/// The fixed part: header, twelve reserved bytes.
const FIXED_LEN_BYTES: usize = 48;
const MEMORY_AFFINITY: u8 = 1;
const ENABLED: u32 = 1;

/// The highest address of memory that the table names, plugged in or not yet; [`None`] if it names
/// none. A structure whose length is wrong ends the search.
///
/// # Errors
///
/// What is wrong with the table as such.
pub fn highest_address(bytes: &[u8]) -> Result<Option<u64>, TableError> {
    let table = Table::parse(bytes, *b"SRAT", FIXED_LEN_BYTES)?;
    Ok(table
        .short_structures(FIXED_LEN_BYTES)
        .filter_map(|(kind, one)| memory(kind, one))
        .max())
}

/// The last address of a memory affinity structure that is in use.
fn memory(kind: u8, one: &[u8]) -> Option<u64> {
    let (base, len, flags) = (u64_at(one, 8)?, u64_at(one, 16)?, u32_at(one, 28)?);
    if kind != MEMORY_AFFINITY || flags & ENABLED == 0 {
        return None;
    }
    base.checked_add(len.checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use super::{
        super::table_of,
        *, //
    };
    use std::vec::Vec;

    fn structure(kind: u8, base: u64, len: u64, flags: u32) -> Vec<u8> {
        let mut s = Vec::from([kind, 40, 0, 0, 0, 0, 0, 0]);
        s.extend_from_slice(&base.to_le_bytes());
        s.extend_from_slice(&len.to_le_bytes());
        s.extend_from_slice(&[0; 4]);
        s.extend_from_slice(&flags.to_le_bytes());
        s.extend_from_slice(&[0; 8]);
        s
    }

    fn table(parts: &[Vec<u8>]) -> Vec<u8> {
        table_of(b"SRAT", FIXED_LEN_BYTES, parts)
    }

    #[test]
    fn memory_that_is_not_there_yet_counts() {
        let t = table(&[
            structure(1, 0, 0xa0000, 1),
            structure(1, 0x1_0000_0000, 0x100_0000_0000, 3),
            structure(1, 0x200_0000_0000, 0x1000, 0),
            structure(0, 0x300_0000_0000, 0x1000, 1),
        ]);
        assert_eq!(highest_address(&t), Ok(Some(0x100_ffff_ffff)));
        assert_eq!(highest_address(&table(&[])), Ok(None));
    }

    #[test]
    fn lengths_that_lie_end_the_search() {
        let good = structure(1, 0, 0x1000, 1);
        for bad in [0u8, 1, 41, 255] {
            let mut wrong = structure(1, 0, 0x8000_0000, 1);
            wrong.splice(1..2, [bad]);
            let t = table(&[good.clone(), wrong]);
            assert_eq!(highest_address(&t), Ok(Some(0xfff)), "length {bad}");
        }
        // Ends that are beyond 64 bits, or before the start, are none.
        let t = table(&[
            structure(1, u64::MAX, 2, 1),
            structure(1, 5, 0, 1),
            good.clone(),
        ]);
        assert_eq!(highest_address(&t), Ok(Some(0xfff)));
        assert!(highest_address(b"SRAT").is_err());
    }
}
