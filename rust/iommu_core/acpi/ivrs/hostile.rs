// SPDX-License-Identifier: GPL-2.0

//! Hostile tables: whatever the bytes, every iterator ends, within its documented bound, and
//! nothing panics.

use super::*;
use proptest::prelude::*;
use std::string::String;
use std::vec::Vec;

/// Runs everything over `bytes` and checks what holds for any bytes.
fn survive(bytes: &[u8]) {
    let Ok(table) = Ivrs::parse(bytes) else {
        return;
    };
    let nr_bytes = table.table().bytes().len();
    let mut nr_blocks = 0;
    for block in table.blocks() {
        nr_blocks += 1;
        let Ok(Block::Ivhd(ivhd)) = block else {
            continue;
        };
        let nr_entries = ivhd.entries().count();
        assert!(nr_entries <= nr_bytes / 4 + 1);
        let mut nr_ranges = 0;
        for range in ivhd.device_ranges() {
            nr_ranges += 1;
            assert!(range.is_ok_and(|r| r.first <= r.last) || range.is_err());
        }
        assert!(nr_ranges <= 2 * nr_entries + 1);
    }
    assert!(nr_blocks <= MAX_BLOCKS + 1 && nr_blocks <= nr_bytes / 4 + 1);

    let units: Vec<_> = table.units().filter_map(Result::ok).collect();
    assert!(table.units().count() <= nr_blocks);
    for (i, a) in units.iter().enumerate() {
        for b in &units[i + 1..] {
            assert!(a.unit != b.unit && a.base != b.base);
        }
    }
    dump(&table, &mut String::new()).unwrap();
}

proptest! {
    #[test]
    fn random_bytes_are_survived(mut bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        survive(&bytes);
        if bytes.len() >= FIXED_LEN_BYTES {
            bytes[..4].copy_from_slice(b"IVRS");
            vectors::fix(&mut bytes);
            prop_assert!(Ivrs::parse(&bytes).is_ok());
            survive(&bytes);
        }
    }

    #[test]
    fn random_blocks_are_survived(
        blocks in prop::collection::vec(
            (
                prop::sample::select(&[0x10u8, 0x11, 0x40, 0x20, 0x21, 0x22, 0x51][..]),
                prop::collection::vec(any::<u8>(), 0..120),
                -2i16..3,
            ),
            0..12,
        ),
    ) {
        let mut bytes = Vec::new();
        for (kind, body, off) in blocks {
            let len = (4 + body.len() as i16 + off) as u16;
            bytes.extend_from_slice(&[kind, 0]);
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(&body);
        }
        survive(&vectors::table(&bytes));
    }

    #[test]
    fn random_entries_are_survived(entries in prop::collection::vec(any::<u8>(), 0..300)) {
        survive(&vectors::table(&vectors::ivhd(0x40, 0, 2, 0, 0xfed8_0000, &entries)));
    }

    #[test]
    fn mutations_of_a_valid_table_are_survived(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut bytes = vectors::rich();
        for (at, value) in edits {
            let at = FIXED_LEN_BYTES + at.index(bytes.len() - FIXED_LEN_BYTES);
            bytes[at] = value;
        }
        if is_cut {
            bytes.truncate(FIXED_LEN_BYTES + cut.index(bytes.len() - FIXED_LEN_BYTES));
        }
        vectors::fix(&mut bytes);
        prop_assert!(Ivrs::parse(&bytes).is_ok());
        survive(&bytes);
    }
}

#[test]
fn every_truncation_is_survived() {
    let rich = vectors::rich();
    for len in 0..=rich.len() {
        let mut bytes = rich[..len].to_vec();
        if len >= FIXED_LEN_BYTES {
            vectors::fix(&mut bytes);
        }
        survive(&bytes);
    }
}

#[test]
fn every_byte_with_every_telling_value_is_survived() {
    let rich = vectors::rich();
    for at in FIXED_LEN_BYTES..rich.len() {
        for value in [0, 1, 3, 4, 0x10, 0x11, 0x22, 0x40, 0x47, 0x80, 0xf0, 0xff] {
            let mut bytes = rich.clone();
            bytes[at] = value;
            vectors::fix(&mut bytes);
            survive(&bytes);
        }
    }
}
