// SPDX-License-Identifier: GPL-2.0

//! DMAR tables made for a purpose.

use super::*;
use crate::{acpi::TableError, id::Rid};
use proptest::prelude::*;
use std::{
    string::{String, ToString},
    vec,
    vec::Vec,
};

/// A table with the given structures.
fn table(structures: &[Vec<u8>]) -> Vec<u8> {
    let mut t = b"DMAR\0\0\0\0\x01\0BOCHS BXPC    \x01\0\0\0BXPC\x01\0\0\0\x2f\x01".to_vec();
    t.resize(FIXED_LEN_BYTES, 0);
    for s in structures {
        t.extend(s);
    }
    let len = u32::try_from(t.len()).unwrap();
    t[4..8].copy_from_slice(&len.to_le_bytes());
    t[9] = 0;
    t[9] = t.iter().fold(0u8, |sum, b| sum.wrapping_sub(*b));
    t
}

fn structure(kind: u16, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len() + 4).unwrap();
    [&kind.to_le_bytes()[..], &len.to_le_bytes(), body].concat()
}

fn drhd(flags: u8, base: u64, scopes: &[u8]) -> Vec<u8> {
    let body = [&[flags, 0, 0, 0][..], &base.to_le_bytes(), scopes].concat();
    structure(0, &body)
}

fn rmrr(first: u64, last: u64, scopes: &[u8]) -> Vec<u8> {
    let ends = [first.to_le_bytes(), last.to_le_bytes()].concat();
    structure(1, &[&[0; 4][..], &ends, scopes].concat())
}

const NIC: &[u8] = &[1, 8, 0, 0, 0, 0, 3, 0];

/// What is said about a table: its text and the number of errors.
fn said(structures: &[Vec<u8>]) -> (String, usize) {
    let bytes = table(structures);
    let mut text = String::new();
    let errors = dump(&Dmar::parse(&bytes).unwrap(), &mut text).unwrap();
    (text, errors)
}

#[test]
fn every_structure_is_put_in_words() {
    let name = structure(4, b"\0\0\0\x07\\_SB.I2C0\0");
    let rhsa = structure(
        3,
        &[&[0u8; 4][..], &0xfed9_0000u64.to_le_bytes(), &[1, 0, 0, 0]].concat(),
    );
    let ports = structure(2, &[&[1u8, 0, 0, 0][..], NIC].concat());
    let caches = structure(5, &[&[1u8, 0, 0, 0][..], NIC].concat());
    let properties = structure(6, &[&[0u8, 0, 0, 0][..], NIC].concat());
    let (text, errors) = said(&[
        drhd(
            0,
            0xfed9_0000,
            &[NIC, &[2, 10, 0, 0, 0, 0, 0x1c, 2, 0, 0]].concat(),
        ),
        drhd(1, 0xfed9_1000, &[3, 8, 0, 0, 2, 0xf0, 0x1f, 7]),
        rmrr(0x7b80_0000, 0x7fff_ffff, NIC),
        ports,
        rhsa,
        name,
        caches,
        properties,
        structure(9, &[]),
    ]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "DMAR: 48 address bits, flags 0x01",
            "unit at 0xfed90000, segment 0000",
            "  function 00:03.0",
            "  all below 00:1c.2 -> 00.0",
            "unit at 0xfed91000, segment 0000, and the rest of the segment",
            "  I/O APIC 2 as f0:1f.7",
            "memory [0x7b800000-0x7fffffff], segment 0000",
            "  function 00:03.0",
            "root ports for translation requests, segment 0000, flags 0x01",
            "  function 00:03.0",
            "unit at 0xfed90000 is on node 1",
            "namespace device 7 is \\_SB.I2C0",
            "translation caches, segment 0000, flags 0x01",
            "  function 00:03.0",
            "properties, segment 0000, flags 0x00",
            "  function 00:03.0",
            "unknown type 9 at 0xe0, 4 bytes",
        ]
    );
    assert_eq!(errors, 0);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (structures, wanted) in [
        (
            vec![vec![0, 0]],
            "structure at 0x30: 2 bytes are left, a header takes 4",
        ),
        (
            vec![structure(0, &[0; 4])],
            "structure at 0x30: length 8 is below the 16 of type 0",
        ),
        (
            vec![vec![1, 0, 200, 0]],
            "structure at 0x30: type 1 of 200 bytes, 4 are left",
        ),
        (
            vec![vec![7, 0, 0, 0]],
            "structure at 0x30: length 0 is below the 4 of type 7",
        ),
        (
            vec![drhd(0, 0xfed9_0000, &[1, 0])],
            "unit at 0x30: registers 0xfed90000, but no device",
        ),
        (
            vec![drhd(1, u64::MAX, &[])],
            "2^0 pages of registers at 0xffffffffffffffff cannot be",
        ),
        (
            vec![drhd(1, 0, &[])],
            "2^0 pages of registers at 0x0 cannot be",
        ),
        (
            vec![drhd(0, 0xfed9_0000, NIC), drhd(1, 0xfed9_0000, &[])],
            "unit at 0x48: registers 0xfed90000 belong to an earlier unit",
        ),
        (
            vec![drhd(1, 0xfed9_0000, &[]), drhd(1, 0xfed9_1000, &[])],
            "unit at 0x40: an earlier one has the rest of segment 0000",
        ),
        (
            vec![rmrr(0x2000, 0x1fff, NIC)],
            "memory at 0x30: 0x2000 to 0x1fff is no range",
        ),
        (vec![rmrr(0x2000, u64::MAX, NIC)], "is no range"),
        (
            vec![structure(4, b"\0\0\0\x01abc")],
            "namespace device at 0x30: no name",
        ),
        (
            vec![structure(4, b"\0\0\0\x01")],
            "namespace device at 0x30: no name",
        ),
    ] {
        let (text, errors) = said(&structures);
        assert!(text.contains(wanted), "{wanted}:\n{text}");
        assert!(errors > 0);
    }
    let mut bytes = table(&[]);
    bytes[9] ^= 1;
    assert!(matches!(
        Dmar::parse(&bytes).unwrap_err(),
        Error::Table(TableError::Checksum { .. })
    ));
    assert!(Dmar::parse(b"IVRS")
        .unwrap_err()
        .to_string()
        .starts_with("DMAR: "));
}

#[test]
fn a_bad_unit_does_not_hide_the_next() {
    let bytes = table(&[
        drhd(0, u64::MAX, NIC),
        drhd(0, 0xfed9_0000, NIC),
        drhd(0, 0xfed9_0000, NIC),
        drhd(1, 0xfed9_1000, &[]),
    ]);
    let dmar = Dmar::parse(&bytes).unwrap();
    let units: Vec<_> = dmar.units().map(|u| u.map(|u| u.base).ok()).collect();
    assert_eq!(units, [None, Some(0xfed9_0000), None, Some(0xfed9_1000)]);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let (text, _) = said(core::slice::from_ref(&body));
        prop_assert!(text.lines().count() <= 2 * body.len() + 1);
    }

    #[test]
    fn any_change_to_a_good_table_is_survived(at in 0usize..100, to in any::<u8>()) {
        let mut structures = vec![drhd(0, 0xfed9_0000, NIC), rmrr(0x1000, 0x1fff, NIC), structure(4, b"\0\0\0\x01x\0")];
        let n = structures.len();
        let s = &mut structures[at % n];
        let i = at % s.len();
        s[i] = to;
        let (text, _) = said(&structures);
        prop_assert!(text.lines().count() < 40);
    }
}

#[test]
fn each_device_is_behind_the_unit_that_names_it_or_the_one_with_the_rest() {
    let on_segment = |segment: u16, unit: Vec<u8>| {
        let mut unit = unit;
        unit.splice(6..8, segment.to_le_bytes());
        unit
    };
    // The units with the rest come first in the table.
    let bytes = table(&[
        drhd(1, 0xfed9_0000, &[]),
        on_segment(1, drhd(1, 0xfed9_1000, &[])),
        drhd(0, 0xfed9_2000, &[1, 8, 0, 0, 0, 0, 2, 0]),
        // A bridge and all below it; and a function of the other segment.
        drhd(0, 0xfed9_3000, &[2, 8, 0, 0, 0, 0, 0x1c, 2]),
        on_segment(1, drhd(0, 0xfed9_4000, &[1, 8, 0, 0, 0, 0, 2, 0])),
        // One that cannot be, which hides none of the others.
        drhd(0, 0, NIC),
    ]);
    let dmar = Dmar::parse(&bytes).unwrap();
    let unit_of = |segment: u16, chain: &[Rid]| {
        let mut units = dmar.units_in_order().flatten();
        units
            .find(|u| u.claim().covers(segment, chain))
            .map(|u| u.base)
    };
    let display = Rid::new(0, 2, 0);
    let port = Rid::new(0, 0x1c, 2);
    let card = Rid::new(5, 0, 1);
    assert_eq!(unit_of(0, &[display]), Some(0xfed9_2000));
    assert_eq!(unit_of(1, &[display]), Some(0xfed9_4000));
    assert_eq!(unit_of(0, &[port]), Some(0xfed9_3000));
    assert_eq!(unit_of(0, &[port, card]), Some(0xfed9_3000));
    assert_eq!(unit_of(1, &[port, card]), Some(0xfed9_1000));
    assert_eq!(unit_of(0, &[Rid::new(0, 3, 0)]), Some(0xfed9_0000));
    assert_eq!(unit_of(2, &[display]), None);
    assert_eq!(dmar.units_in_order().filter(Result::is_err).count(), 1);
}

#[test]
fn a_unit_has_the_number_of_its_place_in_the_table() {
    let bytes = table(&[
        drhd(1, 0xfed9_0000, &[]),
        rmrr(0x1000, 0x1fff, NIC),
        drhd(0, 0xfed9_1000, NIC),
        // Described again: the same unit. Without devices: not driven, but there.
        drhd(0, 0xfed9_1000, NIC),
        drhd(0, 0xfed9_2000, &[]),
        drhd(0, 0xfed9_3000, NIC),
    ]);
    let dmar = Dmar::parse(&bytes).unwrap();
    let units = dmar.units_in_order().flatten();
    let numbers: Vec<_> = units
        .map(|u| (u.base & 0xf000, dmar.number_of(&u)))
        .collect();
    assert_eq!(numbers, [(0x1000, 1), (0x3000, 3), (0, 0)]);
}
