// SPDX-License-Identifier: GPL-2.0

//! Parses the IVRS tables of real machines.
//!
//! The tables are not part of the project. `RUST_IOMMU_CORPUS` names the folder of the
//! `ivrs-*.bin` files; without it the folder of a development machine is tried, and without that
//! the test says so and passes.

// Host tests may panic: that is how they fail.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

use iommu_core::acpi::ivrs::{dump, Block, Ivhd, Ivrs};

/// Tables of the corpus that are broken: file name, number of error lines, what is wrong.
///
/// None of the 42 tables at hand is.
const BROKEN: &[(&str, usize, &str)] = &[];

/// Folder of the corpus, [`None`] after a message if there is none.
fn corpus() -> Option<PathBuf> {
    let dir = match std::env::var_os("RUST_IOMMU_CORPUS") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/acpi"),
    };
    if dir.is_dir() {
        return Some(dir);
    }
    println!("skipped: no corpus at {}", dir.display());
    None
}

/// Checks what holds for the chosen block of a real unit.
fn check_unit(name: &str, unit: &Ivhd<'_>, all: &[Ivhd<'_>]) {
    let same: Vec<_> = all.iter().filter(|b| b.unit == unit.unit).collect();
    for block in &same {
        assert!(block.kind <= unit.kind, "{name}: a better block was there");
        assert_eq!(block.base, unit.base, "{name}: blocks do not agree");
        assert_eq!(block.efr.is_some(), block.efr2.is_some());
    }
    let registers = unit.registers().expect("registers of a real unit");
    assert!(registers.last() < 1 << 48, "{name}: {registers}");
    assert!(unit.capability >= 0x40, "{name}: capability in the header");

    let mut nr_served = 0usize;
    for range in unit.device_ranges() {
        let range = range.expect("range of a real unit");
        assert!(range.first <= range.last, "{name}: {range}");
        assert!(range.contains(range.first) && range.contains(range.last));
        nr_served += usize::from(range.last.0 - range.first.0) + 1;
    }
    assert!(nr_served > 0, "{name}: serves nothing");
}

#[test]
fn every_table_of_the_corpus_is_understood() {
    let Some(dir) = corpus() else { return };
    let mut paths: Vec<_> = std::fs::read_dir(&dir)
        .expect("the corpus can be listed")
        .map(|entry| entry.expect("the corpus can be listed").path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("ivrs-") && name.ends_with(".bin")
        })
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no ivrs-*.bin in {}", dir.display());

    let mut nr_units = 0usize;
    for path in &paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let bytes = std::fs::read(path).expect("the table can be read");
        let table = Ivrs::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));

        let mut text = String::new();
        let nr_errors = dump(&table, &mut text).expect("a string takes everything");
        let broken = BROKEN.iter().find(|(file, ..)| *file == name);
        let nr_expected = broken.map_or(0, |&(_, nr, _)| nr);
        assert_eq!(nr_errors, nr_expected, "{name}:\n{text}");
        let nr_lines = text.lines().filter(|l| l.starts_with("error: ")).count();
        assert_eq!(nr_lines, nr_errors, "{name}: errors are lines");

        let blocks: Vec<_> = table.blocks().flatten().collect();
        let all: Vec<_> = table.ivhds().collect();
        let units: Vec<_> = table.units().flatten().collect();
        assert!(!units.is_empty(), "{name}: no unit");
        for unit in &units {
            check_unit(&name, unit, &all);
        }
        for block in &blocks {
            if let Block::Ivmd(ivmd) = block {
                assert!(ivmd.memory.last() < 1 << 48, "{name}: {ivmd}");
            }
        }
        nr_units += units.len();
        println!("{name}:\n{text}");
    }
    println!("{} tables, {nr_units} units", paths.len());
}
