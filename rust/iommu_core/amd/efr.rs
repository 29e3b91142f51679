// SPDX-License-Identifier: GPL-2.0

//! Extended feature registers of the AMD IOMMU.
//!
//! Both registers are read once and decoded into a plain struct, so that policy can be tested with
//! words of real machines. Every function is total: a reserved encoding is an answer, not a panic.
//!
//! Source: AMD IOMMU 48882 Rev 3.10, 3.4 (MMIO registers 0x0030 and 0x01a0).

use super::{bit, get};
use core::fmt;

/// Widest process address space ID of PCI Express, in bits.
const PASID_BITS_MAX: u8 = 20;

/// What a unit can do.
///
/// Field names follow the specification without its `Sup` suffix where a word says it better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// The first register as read.
    pub efr: u64,
    /// The second register as read, 0 where there is none.
    pub efr2: u64,
    /// PreFSup: the prefetch command is carried out.
    pub prefetch: bool,
    /// PPRSup: peripheral page requests and their log.
    pub ppr: bool,
    /// XTSup: x2APIC destinations.
    pub x2apic: bool,
    /// NXSup: no-execute and privilege level.
    pub no_execute: bool,
    /// GTSup: guest (v2) translation.
    pub guest_translation: bool,
    /// IASup: the INVALIDATE_IOMMU_ALL command.
    pub invalidate_all: bool,
    /// GASup: guest virtual APIC, and with it 128-bit interrupt remapping entries.
    pub guest_apic: bool,
    /// HESup: hardware error registers.
    pub hardware_error: bool,
    /// PCSup: performance counters.
    pub counters: bool,
    /// HATS as encoded, 0 to 3; see [`Features::host_levels`].
    pub hats: u8,
    /// GATS as encoded, 0 to 3; see [`Features::guest_levels`].
    pub gats: u8,
    /// GLXSup as encoded, 0 to 3; see [`Features::gcr3_levels`].
    pub glx: u8,
    /// GAMSup as encoded: 1 is guest virtual APIC mode, 0 none.
    pub guest_apic_mode: u8,
    /// PASMax as encoded; see [`Features::pasid_bits`].
    pub pasid_max: u8,
    /// DevTblSegSup: log2 of the number of device table segments.
    pub device_table_segments_lg2: u8,
    /// MsiCapMmioSup: the MSI capability is reachable through MMIO.
    pub msi_cap_mmio: bool,
    /// GIoSup: guest I/O protection.
    pub guest_io: bool,
    /// HASup: accessed bit in host tables.
    pub host_accessed: bool,
    /// EPHSup: enhanced peripheral page request handling.
    pub enhanced_ppr: bool,
    /// HDSup: dirty bit in host tables.
    pub host_dirty: bool,
    /// InvIotlbTypeSup: the type field of INVALIDATE_IOTLB_PAGES.
    pub iotlb_type: bool,
    /// SNPSup: secure nested paging.
    pub snp: bool,
    /// Second register, GCR3TRPMode: the guest CR3 table pointer may be a guest address.
    pub gcr3_trp_mode: bool,
    /// Second register, SNP mode 0: a device entry with mode 0 is allowed while SNP is on.
    pub snp_mode0: bool,
}

impl Features {
    /// Decodes both registers. `efr2` is 0 where the unit has only the first.
    pub const fn decode(efr: u64, efr2: u64) -> Self {
        // CAST (all fields below): `get` leaves at most five bits.
        Self {
            efr,
            efr2,
            prefetch: efr & bit(0) != 0,
            ppr: efr & bit(1) != 0,
            x2apic: efr & bit(2) != 0,
            no_execute: efr & bit(3) != 0,
            guest_translation: efr & bit(4) != 0,
            invalidate_all: efr & bit(6) != 0,
            guest_apic: efr & bit(7) != 0,
            hardware_error: efr & bit(8) != 0,
            counters: efr & bit(9) != 0,
            hats: get(efr, 11, 10) as u8,
            gats: get(efr, 13, 12) as u8,
            glx: get(efr, 15, 14) as u8,
            guest_apic_mode: get(efr, 23, 21) as u8,
            pasid_max: get(efr, 36, 32) as u8,
            device_table_segments_lg2: get(efr, 39, 38) as u8,
            msi_cap_mmio: efr & bit(46) != 0,
            guest_io: efr & bit(48) != 0,
            host_accessed: efr & bit(49) != 0,
            enhanced_ppr: efr & bit(50) != 0,
            host_dirty: efr & bit(52) != 0,
            iotlb_type: efr & bit(54) != 0,
            snp: efr & bit(63) != 0,
            gcr3_trp_mode: efr2 & bit(3) != 0,
            snp_mode0: efr2 & bit(13) != 0,
        }
    }

    /// The most levels a host (v1) page table may have, [`None`] if the unit does no host
    /// translation.
    ///
    /// The encoding 3 is how a unit says so; it must never be read as seven levels.
    pub const fn host_levels(&self) -> Option<u8> {
        match self.hats {
            0 => Some(4),
            1 => Some(5),
            2 => Some(6),
            _ => None,
        }
    }

    /// The most levels a guest (v2) page table may have, [`None`] without guest translation or at
    /// the reserved encoding.
    pub const fn guest_levels(&self) -> Option<u8> {
        match (self.guest_translation, self.gats) {
            (true, 0) => Some(4),
            (true, 1) => Some(5),
            (true, 2) => Some(6),
            _ => None,
        }
    }

    /// The most levels of a guest CR3 table, [`None`] without guest translation or at the reserved
    /// encoding.
    pub const fn gcr3_levels(&self) -> Option<u8> {
        match (self.guest_translation, self.glx) {
            (true, 0) => Some(1),
            (true, 1) => Some(2),
            (true, 2) => Some(3),
            _ => None,
        }
    }

    /// Width of a process address space ID in bits, 0 without guest translation.
    ///
    /// The field could say 32; PCI Express has 20 bits, so no more is ever returned.
    pub const fn pasid_bits(&self) -> u8 {
        if !self.guest_translation {
            return 0;
        }
        let bits = self.pasid_max.saturating_add(1);
        if bits > PASID_BITS_MAX {
            PASID_BITS_MAX
        } else {
            bits
        }
    }

    /// Writes the levels behind a name, or that there are none.
    fn write_levels(
        f: &mut fmt::Formatter<'_>,
        name: &str,
        levels: Option<u8>,
        sep: &str,
    ) -> fmt::Result {
        match levels {
            Some(n) => write!(f, "{sep}{name}={n}"),
            None => write!(f, "{sep}{name}=none"),
        }
    }
}

/// Feature names in register order, then sizes, on one short line.
impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (self.prefetch, "PreF"),
            (self.ppr, "PPR"),
            (self.x2apic, "XT"),
            (self.no_execute, "NX"),
            (self.guest_translation, "GT"),
            (self.invalidate_all, "IA"),
            (self.guest_apic, "GA"),
            (self.hardware_error, "HE"),
            (self.counters, "PC"),
            (self.guest_apic_mode == 1, "GAM"),
            (self.msi_cap_mmio, "MsiCapMmio"),
            (self.guest_io, "GIo"),
            (self.host_accessed, "HA"),
            (self.enhanced_ppr, "EPH"),
            (self.host_dirty, "HD"),
            (self.iotlb_type, "InvIotlbType"),
            (self.snp, "SNP"),
            (self.gcr3_trp_mode, "GCR3TRPMode"),
            (self.snp_mode0, "SNPMode0"),
        ];
        let mut sep = "";
        for (_, name) in names.iter().filter(|(has, _)| *has) {
            write!(f, "{sep}{name}")?;
            sep = " ";
        }
        Self::write_levels(f, "host-levels", self.host_levels(), sep)?;
        if self.guest_translation {
            Self::write_levels(f, "guest-levels", self.guest_levels(), " ")?;
            write!(f, " pasid-bits={}", self.pasid_bits())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn the_word_of_qemu_is_decoded() {
        let f = Features::decode(0x29d3, 0);
        assert_eq!(
            f.to_string(),
            "PreF PPR GT IA GA HE host-levels=6 guest-levels=6 pasid-bits=1"
        );
        assert!(!f.x2apic && Features::decode(0x29d7, 0).x2apic);
        // Started with dma-translation=off.
        assert_eq!(Features::decode(0x2dd3, 0).host_levels(), None);
    }

    #[test]
    fn a_word_of_a_real_machine_is_decoded() {
        let f = Features::decode(0x058f_77ef_2229_4ade, 0);
        assert_eq!(
            f.to_string(),
            "PPR XT NX GT IA GA PC GAM MsiCapMmio GIo HA EPH host-levels=6 guest-levels=4 pasid-bits=16"
        );
        assert_eq!(f.gcr3_levels(), Some(2));
        assert_eq!(f.device_table_segments_lg2, 3);
    }

    #[test]
    fn reserved_encodings_mean_no_translation() {
        let all = Features::decode(u64::MAX, u64::MAX);
        assert_eq!(all.host_levels(), None);
        assert_eq!(all.guest_levels(), None);
        assert_eq!(all.gcr3_levels(), None);
        assert_eq!(all.pasid_bits(), 20);
        let none = Features::decode(0, 0);
        assert_eq!(none.to_string(), "host-levels=4");
        assert_eq!((none.guest_levels(), none.pasid_bits()), (None, 0));
    }

    #[test]
    fn each_flag_is_its_own_bit() {
        type Flag = fn(&Features) -> bool;
        let flags: [(u32, Flag); 16] = [
            (0, |f| f.prefetch),
            (1, |f| f.ppr),
            (2, |f| f.x2apic),
            (3, |f| f.no_execute),
            (4, |f| f.guest_translation),
            (6, |f| f.invalidate_all),
            (7, |f| f.guest_apic),
            (8, |f| f.hardware_error),
            (9, |f| f.counters),
            (46, |f| f.msi_cap_mmio),
            (48, |f| f.guest_io),
            (49, |f| f.host_accessed),
            (50, |f| f.enhanced_ppr),
            (52, |f| f.host_dirty),
            (54, |f| f.iotlb_type),
            (63, |f| f.snp),
        ];
        for (n, flag) in flags {
            assert!(flag(&Features::decode(1 << n, 0)), "bit {n}");
            assert!(!flag(&Features::decode(!(1 << n), 0)), "bit {n}");
        }
    }
}
