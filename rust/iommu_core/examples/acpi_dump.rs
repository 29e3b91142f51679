// SPDX-License-Identifier: GPL-2.0

//! Prints firmware tables in words: `acpi_dump TABLE...`, with the files that
//! `/sys/firmware/acpi/tables` has.
//!
//! What is wrong inside a table is a line that starts with `error: `. Exit status: 0 if every
//! file is a table, 1 if one is not or cannot be read, 2 for wrong usage.

use std::path::Path;
use std::process::ExitCode;

use iommu_core::acpi::{dmar, ivrs};

/// The table in the file `path` in words.
fn dump(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let mut out = String::new();
    match bytes.get(..4) {
        Some(b"IVRS") => {
            let table = ivrs::Ivrs::parse(&bytes).map_err(|error| error.to_string())?;
            ivrs::dump(&table, &mut out).map_err(|error| error.to_string())?;
        }
        Some(b"DMAR") => {
            let table = dmar::Dmar::parse(&bytes).map_err(|error| error.to_string())?;
            dmar::dump(&table, &mut out).map_err(|error| error.to_string())?;
        }
        _ => return Err("not a known table: neither IVRS nor DMAR".into()),
    }
    Ok(out)
}

fn main() -> ExitCode {
    let paths: Vec<_> = std::env::args_os().skip(1).collect();
    if paths.is_empty() || paths.iter().any(|path| path == "-h" || path == "--help") {
        eprintln!("usage: acpi_dump TABLE...");
        return ExitCode::from(2);
    }
    let mut status = ExitCode::SUCCESS;
    for path in &paths {
        let path = Path::new(path);
        println!("{}:", path.display());
        match dump(path) {
            Ok(text) => print!("{text}"),
            Err(error) => {
                println!("error: {error}");
                status = ExitCode::FAILURE;
            }
        }
    }
    status
}
