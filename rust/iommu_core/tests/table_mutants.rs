// SPDX-License-Identifier: GPL-2.0

//! Parses the broken tables of `scripts/lib/{ivrs,dmar}_mutants.py` and compares what is said of each
//! with what its maker expects.
//!
//! Without `python3`, or without the script beside the crate, the test says so and passes.

// Host tests may panic: that is how they fail.
#![allow(clippy::arithmetic_side_effects, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;

use iommu_core::acpi::{dmar, ivrs};

/// Runs the script into a folder of its own, [`None`] after a message if it cannot run.
fn write_mutants(kind: &str, folder: &str, base: Option<&Path>) -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../scripts/lib")
        .join(format!("{kind}_mutants.py"));
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

/// What a parser says of a table, in the manifest's words, and what it prints.
type Verdict = (&'static str, String);

fn of_errors(nr_errors: usize, text: String) -> Verdict {
    (if nr_errors == 0 { "fine" } else { "error" }, text)
}

fn ivrs_verdict(bytes: &[u8]) -> Verdict {
    let mut text = String::new();
    match ivrs::Ivrs::parse(bytes) {
        Err(error) => {
            assert!(matches!(error, ivrs::Error::Table(_)));
            ("refused", error.to_string())
        }
        Ok(table) => {
            let nr_errors = ivrs::dump(&table, &mut text).expect("a string takes everything");
            of_errors(nr_errors, text)
        }
    }
}

fn dmar_verdict(bytes: &[u8]) -> Verdict {
    let mut text = String::new();
    match dmar::Dmar::parse(bytes) {
        Err(error) => {
            assert!(matches!(error, dmar::Error::Table(_)));
            ("refused", error.to_string())
        }
        Ok(table) => {
            let nr_errors = dmar::dump(&table, &mut text).expect("a string takes everything");
            of_errors(nr_errors, text)
        }
    }
}

/// Parses every mutant in `folder`.
fn check(folder: &Path, verdict: impl Fn(&[u8]) -> Verdict) {
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

/// A table of the corpus, [`None`] after a message if it is not there.
fn real(file: &str) -> Option<PathBuf> {
    let dir = match std::env::var_os("RUST_IOMMU_CORPUS") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/acpi"),
    };
    let base = dir.join(file);
    if !base.is_file() {
        println!("skipped: no {}", base.display());
        return None;
    }
    Some(base)
}

#[test]
fn every_mutant_of_a_qemu_table_gets_the_expected_verdict() {
    if let Some(folder) = write_mutants("ivrs", "ivrs-mutants-qemu", None) {
        check(&folder, ivrs_verdict);
    }
    if let Some(folder) = write_mutants("dmar", "dmar-mutants-qemu", None) {
        check(&folder, dmar_verdict);
    }
}

#[test]
fn every_mutant_of_a_real_table_gets_the_expected_verdict() {
    // The richest of each: IVRS with types 10h, 11h, 40h, 21h and 51h.
    if let Some(base) = real("ivrs-fbf770d077b6.bin") {
        if let Some(folder) = write_mutants("ivrs", "ivrs-mutants-real", Some(&base)) {
            check(&folder, ivrs_verdict);
        }
    }
    if let Some(base) = real("dmar-033dfa937312.bin") {
        if let Some(folder) = write_mutants("dmar", "dmar-mutants-real", Some(&base)) {
            check(&folder, dmar_verdict);
        }
    }
}
