// SPDX-License-Identifier: GPL-2.0

//! The Multiple APIC Description Table, as far as it says which processors need x2APIC.
//!
//! Source: ACPI Specification 6.5, 5.2.12 (5.2.12.2 processor local APIC, 5.2.12.12 processor local
//! x2APIC).

use super::{
    u32_at,
    u8_at,
    Table,
    TableError, //
};

/// The fixed part: header, the local APIC's address, flags.
const FIXED_LEN_BYTES: usize = 44;
const LOCAL_APIC: u8 = 0;
const LOCAL_X2APIC: u8 = 9;
const ENABLED: u32 = 1;
/// The highest ID of eight bits that is not the broadcast's.
const LAST_XAPIC_ID: u32 = 254;

/// How many processors in use have APIC IDs above 254, which only x2APIC can address. A structure
/// whose length is wrong ends the search.
///
/// # Errors
///
/// What is wrong with the table as such.
pub fn processors_beyond_xapic(bytes: &[u8]) -> Result<usize, TableError> {
    let table = Table::parse(bytes, *b"APIC", FIXED_LEN_BYTES)?;
    Ok(table
        .short_structures(FIXED_LEN_BYTES)
        .filter_map(|(kind, one)| apic_id(kind, one))
        .filter(|id| *id > LAST_XAPIC_ID && *id != u32::MAX)
        .count())
}

/// The APIC ID of a processor that is in use.
fn apic_id(kind: u8, one: &[u8]) -> Option<u32> {
    let (id, flags) = match kind {
        // 255 is no processor's.
        LOCAL_APIC => (
            u8_at(one, 3).filter(|id| *id != u8::MAX)?.into(),
            u32_at(one, 4)?,
        ),
        LOCAL_X2APIC => (u32_at(one, 4)?, u32_at(one, 8)?),
        _ => return None,
    };
    (flags & ENABLED != 0).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::{
        super::table_of,
        *, //
    };
    use std::vec::Vec;

    fn local(id: u8, flags: u32) -> Vec<u8> {
        let mut s = Vec::from([LOCAL_APIC, 8, 0, id]);
        s.extend_from_slice(&flags.to_le_bytes());
        s
    }

    fn x2(id: u32, flags: u32) -> Vec<u8> {
        let mut s = Vec::from([LOCAL_X2APIC, 16, 0, 0]);
        s.extend_from_slice(&id.to_le_bytes());
        s.extend_from_slice(&flags.to_le_bytes());
        s.extend_from_slice(&[0; 4]);
        s
    }

    fn table(parts: &[Vec<u8>]) -> Vec<u8> {
        table_of(b"APIC", FIXED_LEN_BYTES, parts)
    }

    #[test]
    fn processors_that_only_x2apic_reaches() {
        let parts = [
            local(0, 1),
            local(254, 1),
            local(255, 1),
            x2(254, 1),
            x2(255, 1),
            x2(400, 3),
            x2(401, 2),
            x2(u32::MAX, 1),
        ];
        assert_eq!(processors_beyond_xapic(&table(&parts)), Ok(2));
        assert_eq!(processors_beyond_xapic(&table(&[])), Ok(0));
    }

    #[test]
    fn lengths_that_lie_end_the_search() {
        for bad in [0u8, 1, 17, 255] {
            let mut wrong = x2(500, 1);
            wrong.splice(1..2, [bad]);
            let t = table(&[x2(300, 1), wrong]);
            assert_eq!(processors_beyond_xapic(&t), Ok(1), "length {bad}");
        }
        // Too short for what it is.
        let t = table(&[Vec::from([LOCAL_X2APIC, 4, 0, 0]), x2(300, 1)]);
        assert_eq!(processors_beyond_xapic(&t), Ok(1));
        assert!(processors_beyond_xapic(b"APIC").is_err());
    }
}
