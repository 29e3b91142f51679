// SPDX-License-Identifier: GPL-2.0

//! Parses the broken tables of `scripts/lib/ivrs_mutants.py` and compares what is said of each
//! with what its maker expects.
//!
//! Without `python3`, or without the script beside the crate, the test says so and passes.

// Host tests may panic: that is how they fail.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;

use iommu_core::acpi::ivrs::{dump, Error, Ivrs};

/// Runs the script into a folder of its own, [`None`] after a message if it cannot run.
fn write_mutants(folder: &str, base: Option<&Path>) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/lib/ivrs_mutants.py");
    if !script.is_file() {
        println!("skipped: no {}", script.display());
        return None;
    }
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
    let _ = std::fs::remove_dir_all(&out);
    let mut command = Command::new("python3");
    command.arg("-B").arg(&script).arg("--out").arg(&out);
    if let Some(base) = base {
        command.arg("--base").arg(base);
    }
    match command.status() {
        Ok(status) => assert!(status.success(), "the script failed: {status}"),
        Err(error) => {
            println!("skipped: no python3: {error}");
            return None;
        }
    }
    Some(out)
}

/// What the parser says of a table, in the manifest's words, and what it prints.
fn verdict(bytes: &[u8]) -> (&'static str, String) {
    let mut text = String::new();
    match Ivrs::parse(bytes) {
        Err(error) => {
            assert!(matches!(error, Error::Table(_)));
            ("refused", error.to_string())
        }
        Ok(table) => match dump(&table, &mut text).expect("a string takes everything") {
            0 => ("fine", text),
            _ => ("error", text),
        },
    }
}

/// Parses every mutant in `folder`.
fn check(folder: &Path) {
    let manifest =
        std::fs::read_to_string(folder.join("MANIFEST.tsv")).expect("there is a manifest");
    let mut nr_mutants = 0usize;
    for line in manifest.lines() {
        let mut fields = line.split('\t');
        let (Some(name), Some(expected), Some(why)) = (fields.next(), fields.next(), fields.next())
        else {
            panic!("manifest line \"{line}\"");
        };
        let bytes = std::fs::read(folder.join(name)).expect("the mutant can be read");
        let (said, text) = verdict(&bytes);
        assert_eq!(said, expected, "{name}: {why}\n{text}");
        assert!(
            text.lines().count() <= 2 * bytes.len(),
            "{name}: more said than there is"
        );
        nr_mutants += 1;
    }
    assert!(nr_mutants >= 48, "only {nr_mutants} mutants");
    println!("{nr_mutants} mutants of {}", folder.display());
}

#[test]
fn every_mutant_of_a_qemu_table_gets_the_expected_verdict() {
    if let Some(folder) = write_mutants("mutants-qemu", None) {
        check(&folder);
    }
}

#[test]
fn every_mutant_of_a_real_table_gets_the_expected_verdict() {
    let dir = match std::env::var_os("RUST_IOMMU_CORPUS") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/acpi"),
    };
    // The richest table: types 10h, 11h, 40h, 21h and 51h.
    let base = dir.join("ivrs-fbf770d077b6.bin");
    if !base.is_file() {
        println!("skipped: no {}", base.display());
        return;
    }
    if let Some(folder) = write_mutants("mutants-real", Some(&base)) {
        check(&folder);
    }
}
