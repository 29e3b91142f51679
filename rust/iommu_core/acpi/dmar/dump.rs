// SPDX-License-Identifier: GPL-2.0

//! A DMAR table in words.

use core::fmt::{
    self,
    Display,
    Write, //
};

use super::{
    Devices,
    Dmar,
    Drhd,
    Error,
    Rmrr,
    Scope,
    ScopeKind,
    Scopes,
    Structure, //
};
use crate::acpi::Ascii;

impl Display for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ScopeKind::Endpoint => write!(f, "function")?,
            ScopeKind::SubHierarchy => write!(f, "all below")?,
            ScopeKind::IoApic => write!(f, "I/O APIC {} as", self.enumeration)?,
            ScopeKind::Hpet => write!(f, "timer {} as", self.enumeration)?,
            ScopeKind::Namespace => write!(f, "namespace device {} as", self.enumeration)?,
        }
        write!(f, " {:02x}", self.bus)?;
        for (n, (dev, func)) in self.path().enumerate() {
            write!(f, "{}{dev:02x}.{func:x}", if n == 0 { ":" } else { " -> " })?;
        }
        Ok(())
    }
}

impl Display for Drhd<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = if self.takes_rest {
            ", and the rest of the segment"
        } else {
            ""
        };
        let (base, segment) = (self.base, self.segment);
        write!(f, "unit at {base:#x}, segment {segment:04x}{rest}")
    }
}

impl Display for Rmrr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "memory {}, segment {:04x}", self.memory, self.segment)
    }
}

impl Display for Devices<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {:04x}, flags {:#04x}", self.segment, self.flags)
    }
}

/// Writes scopes, one line each, and returns the number of errors among them.
fn scopes(scopes: Scopes<'_>, out: &mut impl Write) -> Result<usize, fmt::Error> {
    let mut nr_errors = 0usize;
    for scope in scopes {
        match scope {
            Ok(scope) => writeln!(out, "  {scope}")?,
            Err(error) => {
                writeln!(out, "error: {error}")?;
                nr_errors = nr_errors.saturating_add(1);
            }
        }
    }
    Ok(nr_errors)
}

/// Writes one structure and returns the number of errors in it.
fn structure(
    table: &Dmar<'_>,
    s: &Result<Structure<'_>, Error>,
    out: &mut impl Write,
) -> Result<usize, fmt::Error> {
    let mut nr_errors = 0usize;
    match s {
        Ok(Structure::Drhd(unit)) => {
            writeln!(out, "{unit}")?;
            if let Err(error) = table.check(*unit) {
                writeln!(out, "error: {error}")?;
                nr_errors = 1;
            }
            nr_errors = nr_errors.saturating_add(scopes(unit.scopes(), out)?);
        }
        Ok(Structure::Rmrr(rmrr)) => {
            writeln!(out, "{rmrr}")?;
            nr_errors = scopes(rmrr.scopes(), out)?;
        }
        Ok(Structure::Atsr(d)) => {
            writeln!(out, "root ports for translation requests, {d}")?;
            nr_errors = scopes(d.scopes(), out)?;
        }
        Ok(Structure::Rhsa { base, node }) => {
            writeln!(out, "unit at {base:#x} is on node {node}")?;
        }
        Ok(Structure::Andd { number, name }) => {
            writeln!(out, "namespace device {number} is {}", Ascii(name))?;
        }
        Ok(Structure::Satc(d)) => {
            writeln!(out, "translation caches, {d}")?;
            nr_errors = scopes(d.scopes(), out)?;
        }
        Ok(Structure::Sidp(d)) => {
            writeln!(out, "properties, {d}")?;
            nr_errors = scopes(d.scopes(), out)?;
        }
        Ok(Structure::Unknown { offset, kind, len }) => {
            writeln!(out, "unknown type {kind} at {offset:#x}, {len} bytes")?;
        }
        Err(error) => {
            writeln!(out, "error: {error}")?;
            nr_errors = 1;
        }
    }
    Ok(nr_errors)
}

/// Writes the table in words, one line a structure, a scope and an error, and returns the number of
/// errors. Lines of errors start with `error: `.
///
/// # Errors
///
/// What `out` returns.
pub fn dump(table: &Dmar<'_>, out: &mut impl Write) -> Result<usize, fmt::Error> {
    let (bits, flags) = (table.host_address_bits(), table.flags());
    writeln!(out, "DMAR: {bits} address bits, flags {flags:#04x}")?;
    let mut nr_errors = 0usize;
    for s in table.structures() {
        nr_errors = nr_errors.saturating_add(structure(table, &s, out)?);
    }
    Ok(nr_errors)
}
