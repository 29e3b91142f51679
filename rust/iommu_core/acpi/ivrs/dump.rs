// SPDX-License-Identifier: GPL-2.0

//! A table in words, one line for each block, entry, range and error.

use core::fmt::{self, Display, Formatter, Write};

use crate::acpi::Ascii;

use super::entry::EXT_ATS_DISABLED;
use super::{Block, DeviceRange, DteSettings, Entry, Flags, Ivhd, Ivmd, Ivrs};
use super::{MemFlags, Target, Uid, Variety};

/// Writes the words whose bit is set, in brackets.
fn words<const N: usize>(f: &mut Formatter<'_>, all: [(bool, &str); N]) -> fmt::Result {
    let mut before = "";
    f.write_char('[')?;
    for (_, word) in all.iter().filter(|(is_set, _)| *is_set) {
        write!(f, "{before}{word}")?;
        before = " ";
    }
    f.write_char(']')
}

impl Display for DteSettings {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        words(
            f,
            [
                (self.init_pass(), "init"),
                (self.ext_int_pass(), "extint"),
                (self.nmi_pass(), "nmi"),
                (self.sys_mgt() == 1, "sysmgt=1"),
                (self.sys_mgt() == 2, "sysmgt=2"),
                (self.sys_mgt() == 3, "sysmgt=3"),
                (self.lint0_pass(), "lint0"),
                (self.lint1_pass(), "lint1"),
            ],
        )
    }
}

impl Display for Flags {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        words(
            f,
            [
                (self.ht_tun_en(), "httun"),
                (self.pass_pw(), "passpw"),
                (self.res_pass_pw(), "respasspw"),
                (self.isoc(), "isoc"),
                (self.iotlb_sup(), "iotlb"),
                (self.coherent(), "coherent"),
                (self.prefetch_sup(), "prefetch"),
                (self.ppr_sup(), "ppr"),
            ],
        )
    }
}

impl Display for MemFlags {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        words(
            f,
            [
                (self.unity(), "unity"),
                (self.read(), "read"),
                (self.write(), "write"),
                (self.exclusion(), "exclusion"),
            ],
        )
    }
}

impl Display for Uid<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Self::None => f.write_str("none"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Str(bytes) => write!(f, "\"{}\"", Ascii(bytes)),
            Self::Unknown { format, data } => {
                write!(f, "{} bytes of format {format}", data.len())
            }
        }
    }
}

impl Display for Entry<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let extended = |f: &mut Formatter<'_>, ext: u32| {
            write!(f, " ext {ext:#010x} ")?;
            words(f, [(ext & EXT_ATS_DISABLED != 0, "atsdis")])
        };
        match *self {
            Self::Pad4 => f.write_str("pad 4"),
            Self::Pad8 => f.write_str("pad 8"),
            Self::All { settings } => write!(f, "all {settings}"),
            Self::Select { rid, settings } => write!(f, "select {rid} {settings}"),
            Self::RangeStart { rid, settings } => write!(f, "range from {rid} {settings}"),
            Self::RangeEnd { rid } => write!(f, "range to {rid}"),
            Self::AliasSelect {
                rid,
                settings,
                source,
            } => write!(f, "alias {rid} {settings} as {source}"),
            Self::AliasRangeStart {
                rid,
                settings,
                source,
            } => write!(f, "alias range from {rid} {settings} as {source}"),
            Self::ExtSelect { rid, settings, ext } => {
                write!(f, "select {rid} {settings}")?;
                extended(f, ext)
            }
            Self::ExtRangeStart { rid, settings, ext } => {
                write!(f, "range from {rid} {settings}")?;
                extended(f, ext)
            }
            Self::Special {
                source,
                settings,
                handle,
                variety,
            } => {
                match variety {
                    Variety::IoApic => write!(f, "special ioapic {handle}")?,
                    Variety::Hpet => write!(f, "special hpet {handle}")?,
                    Variety::Unknown(kind) => {
                        write!(f, "special of unknown variety {kind}, handle {handle}")?;
                    }
                }
                write!(f, " {settings} as {source}")
            }
            Self::AcpiHid {
                rid,
                settings,
                hid,
                cid,
                uid,
            } => write!(
                f,
                "acpi hid \"{}\" cid \"{}\" uid {uid} {settings} as {rid}",
                Ascii(&hid),
                Ascii(&cid)
            ),
            Self::Unknown { kind, len } => write!(f, "unknown type {kind:02x}h, {len} bytes"),
        }
    }
}

impl Display for DeviceRange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{} {}", self.first, self.last, self.settings)?;
        if let Some(alias) = self.alias {
            write!(f, " as {alias}")?;
        }
        if self.ext != 0 {
            write!(f, " ext {:#010x}", self.ext)?;
        }
        Ok(())
    }
}

impl Display for Ivhd<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "IVHD {:02x}h unit {} cap {:#x} base {:#x} msi {} id {} flags {:#04x} {} {} {:#x}",
            self.kind.as_u8(),
            self.unit,
            self.capability,
            self.base,
            self.msi_num(),
            self.unit_id(),
            self.flags.0,
            self.flags,
            match self.efr {
                None => "features",
                Some(_) => "attributes",
            },
            self.attributes.word
        )?;
        if let (Some(efr), Some(efr2)) = (self.efr, self.efr2) {
            write!(f, " efr {efr:#x} efr2 {efr2:#x}")?;
        }
        Ok(())
    }
}

impl Display for Ivmd {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "IVMD segment {:04x} ", self.segment)?;
        match self.target {
            Target::All => f.write_str("all"),
            Target::One(rid) => write!(f, "{rid}"),
            Target::Range(first, last) => write!(f, "{first}-{last}"),
        }?;
        write!(f, " memory {} {}", self.memory, self.flags)
    }
}

/// Writes a table in words, one line for each thing, and returns the number of lines that tell
/// of an error. These start with `error: `.
///
/// What is wrong in a block is told once for it, not again for the unit.
///
/// # Errors
///
/// Only those of `out`.
pub fn dump(table: &Ivrs<'_>, out: &mut impl Write) -> Result<usize, fmt::Error> {
    let mut nr_errors = 0usize;
    // Error lines are made in one place, so that none is forgotten in the count.
    let mut complain = |out: &mut dyn Write, error: &dyn Display| {
        nr_errors = nr_errors.saturating_add(1);
        writeln!(out, "error: {error}")
    };

    let header = table.table();
    let info = table.ivinfo();
    writeln!(
        out,
        "IVRS revision {}, {} bytes, OEM \"{}\" \"{}\" revision {}",
        header.revision,
        header.bytes().len(),
        Ascii(&header.oem_id),
        Ascii(&header.oem_table_id),
        header.oem_revision
    )?;
    writeln!(
        out,
        "IVinfo {:#x}: efr {}, dma remap {}, pa {} bits, va {} bits, gva size {}, ht ats resv {}",
        info.0,
        info.efr_sup(),
        info.dma_remap(),
        info.pa_bits(),
        info.va_bits(),
        info.gva_size(),
        info.ht_ats_resv()
    )?;

    for block in table.blocks() {
        match block {
            Ok(Block::Ivhd(ivhd)) => {
                writeln!(out, "{:#06x} {ivhd}", ivhd.offset)?;
                let mut entries = ivhd.entries();
                loop {
                    let offset = entries.offset();
                    match entries.next() {
                        Some(Ok(entry)) => writeln!(out, "{offset:#06x}   {entry}")?,
                        // The ranges below pass it on.
                        Some(Err(_)) => continue,
                        None => break,
                    }
                }
                for range in ivhd.device_ranges() {
                    match range {
                        Ok(range) => writeln!(out, "         serves {range}")?,
                        Err(error) => complain(out, &error)?,
                    }
                }
            }
            Ok(Block::Ivmd(ivmd)) => writeln!(out, "{:#06x} {ivmd}", ivmd.offset)?,
            Ok(Block::Unknown { offset, kind, len }) => {
                writeln!(
                    out,
                    "{offset:#06x} unknown block type {kind:02x}h, {len} bytes"
                )?;
            }
            Err(error) => complain(out, &error)?,
        }
    }

    for unit in table.units() {
        match unit {
            Ok(ivhd) => {
                let kind = ivhd.kind.as_u8();
                match ivhd.registers() {
                    Ok(registers) => writeln!(
                        out,
                        "unit {}: IVHD {kind:02x}h at {:#x}, registers {registers}",
                        ivhd.unit, ivhd.offset
                    )?,
                    Err(error) => complain(out, &error)?,
                }
            }
            // Told above already.
            Err(error) if error.ends_blocks() => {}
            Err(error) => complain(out, &error)?,
        }
    }
    Ok(nr_errors)
}
