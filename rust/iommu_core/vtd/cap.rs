// SPDX-License-Identifier: GPL-2.0

//! What a VT-d unit can do.
//!
//! Source: Intel Virtualization Technology for Directed I/O, D51397-016 (revision 4.1), 11.4.2 and
//! 11.4.3.

use core::fmt;

use crate::bits::{
    bit,
    get, //
};

/// How a unit finds a request's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Root and context entries of 128 bits, second-stage tables.
    Legacy,
    /// Scalable mode with second-stage tables.
    SecondStage,
    /// Scalable mode with first-stage tables.
    FirstStage,
}

impl Mode {
    /// Entries are those of scalable mode.
    pub const fn is_scalable(self) -> bool {
        !matches!(self, Self::Legacy)
    }
}

/// Capabilities of a unit, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Domain IDs there are.
    pub nr_domains: u32,
    /// Writes to tables need the write buffer flushed (RWBF).
    pub write_buffer: bool,
    /// Protected memory regions can be in force (PLMR, PHMR).
    pub protected_memory: bool,
    /// Absent entries are cached (caching mode).
    pub caching_mode: bool,
    /// Second-stage levels there can be: bit 1 is 3 levels (39 bits), bit 2 is 4, bit 3 is 5 (SAGAW).
    pub sagaw: u8,
    /// Bits of an IOVA (MGAW).
    pub address_bits: u8,
    /// Byte offset of the fault records.
    pub fault_records: usize,
    /// Number of fault records.
    pub nr_fault_records: usize,
    /// Second-stage page sizes beyond 4 KiB: bit 0 is 2 MiB, bit 1 is 1 GiB.
    pub superpages: u8,
    /// Single pages can be invalidated (PSI).
    pub page_selective: bool,
    /// log2 of the most pages that one invalidation covers (MAMV).
    pub max_mask: u32,
    /// Reads and writes can be drained (DRD, DWD).
    pub drains: bool,
    /// First-stage tables can have pages of 1 GiB.
    pub first_1g: bool,
    /// Root and context tables, and second-stage tables of legacy mode, are read coherently.
    pub coherent: bool,
    /// There is an invalidation queue.
    pub queue: bool,
    /// Pass-through can be said in an entry.
    pub pass_through: bool,
    /// Scalable mode.
    pub scalable: bool,
    /// Second-stage tables in scalable mode.
    pub second_stage: bool,
    /// First-stage tables in scalable mode.
    pub first_stage: bool,
    /// Page tables are read coherently in scalable mode (SMPWC).
    pub scalable_coherent: bool,
}

impl Capabilities {
    /// Decodes the two registers.
    pub const fn decode(cap: u64, ecap: u64) -> Self {
        // CAST (all): `get` leaves no more bits than the type has.
        Self {
            nr_domains: 1u32
                .wrapping_shl((get(cap, 2, 0) as u32).saturating_mul(2).saturating_add(4)),
            write_buffer: cap & bit(4) != 0,
            protected_memory: cap & (bit(5) | bit(6)) != 0,
            caching_mode: cap & bit(7) != 0,
            sagaw: get(cap, 12, 8) as u8,
            address_bits: (get(cap, 21, 16) as u8).saturating_add(1),
            fault_records: (get(cap, 33, 24) as usize).saturating_mul(16),
            nr_fault_records: (get(cap, 47, 40) as usize).saturating_add(1),
            superpages: get(cap, 37, 34) as u8,
            page_selective: cap & bit(39) != 0,
            max_mask: get(cap, 53, 48) as u32,
            drains: cap & bit(54) != 0 && cap & bit(55) != 0,
            first_1g: cap & bit(56) != 0,
            coherent: ecap & bit(0) != 0,
            queue: ecap & bit(1) != 0,
            pass_through: ecap & bit(6) != 0,
            scalable: ecap & bit(43) != 0,
            second_stage: ecap & bit(46) != 0,
            first_stage: ecap & bit(47) != 0,
            scalable_coherent: ecap & bit(48) != 0,
        }
    }

    /// How the unit is used: scalable mode where it has tables for it.
    pub const fn mode(&self) -> Mode {
        match (self.scalable, self.second_stage, self.first_stage) {
            (true, true, _) => Mode::SecondStage,
            (true, false, true) => Mode::FirstStage,
            _ => Mode::Legacy,
        }
    }

    /// Page tables are read coherently, in the mode the unit is used in.
    pub const fn tables_coherent(&self) -> bool {
        if self.mode().is_scalable() {
            self.scalable_coherent
        } else {
            self.coherent
        }
    }

    /// Levels of page tables: four where there are, since that is what devices and users expect;
    /// [`None`] if the unit cannot translate at all.
    pub const fn levels(&self) -> Option<u8> {
        if matches!(self.mode(), Mode::FirstStage) {
            return Some(4);
        }
        match self.sagaw {
            s if s & 0b100 != 0 => Some(4),
            s if s & 0b010 != 0 => Some(3),
            s if s & 0b1000 != 0 => Some(5),
            _ => None,
        }
    }

    /// Levels that a pass-through entry names: the most there are.
    pub const fn most_levels(&self) -> u8 {
        match self.sagaw {
            s if s & 0b1000 != 0 => 5,
            s if s & 0b100 != 0 => 4,
            _ => 3,
        }
    }

    /// The highest IOVA of a domain with `levels` levels.
    pub const fn last_iova(&self, levels: u8) -> u64 {
        let width = levels.saturating_mul(9).saturating_add(12);
        let bits = if matches!(self.mode(), Mode::FirstStage) {
            // The upper half of the space has its sign extended.
            width.saturating_sub(1)
        } else {
            width
        };
        let bits = if bits < self.address_bits {
            bits
        } else {
            self.address_bits
        };
        // CAST: u8 to u32 never loses a bit.
        u64::MAX >> (64u32.saturating_sub(bits as u32))
    }

    /// Page sizes of its tables, as a bitmap.
    pub const fn page_sizes(&self) -> u64 {
        let (two_m, one_g) = match self.mode() {
            Mode::FirstStage => (true, self.first_1g),
            _ => (self.superpages & 1 != 0, self.superpages & 2 != 0),
        };
        let mut sizes = 1 << 12;
        if two_m {
            sizes |= 1 << 21;
        }
        if one_g {
            sizes |= 1 << 30;
        }
        sizes
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode() {
            Mode::Legacy => "legacy mode",
            Mode::SecondStage => "scalable mode, second stage",
            Mode::FirstStage => "scalable mode, first stage",
        };
        write!(f, "{mode}, {} address bits", self.address_bits)?;
        for (has, what) in [
            (self.pass_through, "pass-through"),
            (!self.tables_coherent(), "tables not coherent"),
            (self.caching_mode, "caches absent entries"),
            (self.write_buffer, "write buffer"),
            (!self.page_selective, "no single pages"),
        ] {
            if has {
                write!(f, ", {what}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn units_that_qemu_has() {
        let c = Capabilities::decode(0x00d2_008c_222f_0606, 0x00f0_0f4a);
        assert_eq!((c.nr_domains, c.sagaw, c.address_bits), (1 << 16, 6, 48));
        assert_eq!((c.fault_records, c.nr_fault_records), (0x220, 1));
        assert_eq!((c.superpages, c.page_selective, c.max_mask), (3, true, 18));
        assert!(c.queue && c.pass_through && !c.coherent && c.drains);
        assert!(!c.write_buffer && !c.protected_memory && !c.caching_mode);
        assert_eq!((c.mode(), c.levels()), (Mode::Legacy, Some(4)));
        assert_eq!(c.last_iova(4), (1 << 48) - 1);
        assert_eq!(
            c.to_string(),
            "legacy mode, 48 address bits, pass-through, tables not coherent"
        );

        let c = Capabilities::decode(0x80d2_008c_2226_0206, 0x00f0_0f4a);
        assert_eq!((c.levels(), c.most_levels()), (Some(3), 3));
        assert_eq!(c.last_iova(3), (1 << 39) - 1);
        assert!(Capabilities::decode(0x80d2_008c_222f_0686, 0xf0_0f4a).caching_mode);
        assert_eq!(
            Capabilities::decode(0x80d2_008c_222f_0006, 0xf0_0f4a).levels(),
            None
        );

        let c = Capabilities::decode(0x80d2_008c_222f_0606, 0x4800_80f0_0f4a);
        assert_eq!(c.mode(), Mode::SecondStage);
        assert_eq!(c.page_sizes(), 1 << 12 | 1 << 21 | 1 << 30);
        let c = Capabilities::decode(0x81d2_008c_222f_0606, 0x8800_00f0_0f4a);
        assert_eq!((c.mode(), c.levels()), (Mode::FirstStage, Some(4)));
        assert_eq!(c.last_iova(4), (1 << 47) - 1);
        assert!(c.first_1g && !c.tables_coherent());
    }

    #[test]
    fn the_smaller_of_two_widths_counts() {
        // 4 levels, but 42 bits.
        let c = Capabilities::decode(0x0000_0080_0029_0400, 0x2);
        assert_eq!((c.levels(), c.last_iova(4)), (Some(4), (1 << 42) - 1));
        assert_eq!(c.page_sizes(), 1 << 12);
    }
}
