// SPDX-License-Identifier: GPL-2.0

//! Parses the DMAR tables of real machines.
//!
//! The tables are not part of the project. `RUST_IOMMU_CORPUS` names the folder of the
//! `dmar-*.bin` files; without it the folder of a development machine is tried, and without that
//! the test says so and passes.

// Host tests may panic: that is how they fail.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use iommu_core::acpi::dmar::{dump, Dmar, Structure};

/// Tables of the corpus that are broken: file name, number of error lines, what is wrong.
const BROKEN: &[(&str, usize, &str)] = &[
    ("dmar-27d1e500a85c.bin", 1, "a unit has its registers at 0"),
    ("dmar-90513e675e02.bin", 1, "a unit has its registers at 0"),
];

/// The tables, [`None`] after a message if there are none.
fn corpus() -> Option<Vec<PathBuf>> {
    let dir = match std::env::var_os("RUST_IOMMU_CORPUS") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/acpi"),
    };
    let Ok(list) = std::fs::read_dir(&dir) else {
        println!("skipped: no corpus at {}", dir.display());
        return None;
    };
    let mut paths: Vec<_> = list
        .map(|entry| entry.expect("the corpus can be listed").path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("dmar-") && name.ends_with(".bin")
        })
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no dmar-*.bin in {}", dir.display());
    Some(paths)
}

#[test]
fn every_table_of_the_corpus_is_understood() {
    let Some(paths) = corpus() else { return };
    let mut nr_units = 0usize;
    for path in &paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let bytes = std::fs::read(path).expect("the table can be read");
        let table = Dmar::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut text = String::new();
        let nr_errors = dump(&table, &mut text).expect("a string takes everything");
        let broken = BROKEN.iter().find(|(file, ..)| *file == name);
        let nr_expected = broken.map_or(0, |&(_, nr, _)| nr);
        assert_eq!(nr_errors, nr_expected, "{name}:\n{text}");
        assert!((32..=64).contains(&table.host_address_bits()), "{name}");

        let units: Vec<_> = table.units().flatten().collect();
        assert!(!units.is_empty() || broken.is_some(), "{name}: no unit");
        for unit in &units {
            let registers = unit.registers().expect("registers of a real unit");
            assert!(registers.last() < 1 << 48, "{name}: {registers}");
        }
        for s in table.structures().flatten() {
            if let Structure::Rmrr(rmrr) = s {
                assert!(rmrr.memory.last() < 1 << 48, "{name}: {rmrr}");
                assert!(rmrr.scopes().next().is_some(), "{name}: nobody's memory");
            }
        }
        nr_units += units.len();
        println!("{name}:\n{text}");
    }
    println!("{} tables, {nr_units} units", paths.len());
}
