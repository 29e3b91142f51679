// SPDX-License-Identifier: GPL-2.0

//! Device entries of an IVHD block: which requester IDs a unit serves, and how.
//!
//! Source: AMD I/O Virtualization Technology (IOMMU) Specification, 48882, Rev 3.10, 5.2.2
//! (IVHD device entries). Names follow srctree/include/acpi/actbl2.h.

use crate::id::Rid;

/// Bit of the extended settings that says that ATS requests of the device are refused.
///
/// It is bit 31 in the specification and in actbl2.h (`ACPI_IVHD_ATS_DISABLED`); Linux 7.3 has
/// bit 28 in srctree/drivers/iommu/amd/init.c (`ACPI_DEVFLAG_ATSDIS`).
pub const EXT_ATS_DISABLED: u32 = 1 << 31;

/// What a device-table entry has to let through, as the firmware recommends it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DteSettings(pub u8);

impl DteSettings {
    /// INIT requests pass (bit 0).
    pub const fn init_pass(self) -> bool {
        self.0 & 1 << 0 != 0
    }

    /// External interrupts pass (bit 1).
    pub const fn ext_int_pass(self) -> bool {
        self.0 & 1 << 1 != 0
    }

    /// Non-maskable interrupts pass (bit 2).
    pub const fn nmi_pass(self) -> bool {
        self.0 & 1 << 2 != 0
    }

    /// System-management messages: the value of the entry's SysMgt field (bits 5:4).
    pub const fn sys_mgt(self) -> u8 {
        self.0 >> 4 & 3
    }

    /// Legacy LINT0 interrupts pass (bit 6).
    pub const fn lint0_pass(self) -> bool {
        self.0 & 1 << 6 != 0
    }

    /// Legacy LINT1 interrupts pass (bit 7).
    pub const fn lint1_pass(self) -> bool {
        self.0 & 1 << 7 != 0
    }
}

/// What a special device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variety {
    /// An I/O APIC; the handle is its APIC ID.
    IoApic,
    /// A high-precision event timer; the handle is its number.
    Hpet,
    /// Something this parser does not know.
    Unknown(u8),
}

/// Unique ID of an ACPI device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uid<'a> {
    /// The device has none.
    None,
    /// An integer.
    Int(u64),
    /// A string, not terminated and of no known encoding. For devices outside `\_SB` it is
    /// often a path of the namespace.
    Str(&'a [u8]),
    /// A format this parser does not know.
    Unknown {
        /// The format field.
        format: u8,
        /// The ID's bytes.
        data: &'a [u8],
    },
}

/// One device entry.
///
/// `rid` is the requester ID the entry is about. `source` is the one its requests carry when
/// they reach the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// 00h: four bytes of padding.
    Pad4,
    /// 01h: all requester IDs of the segment.
    All {
        /// Settings.
        settings: DteSettings,
    },
    /// 02h: one requester ID.
    Select {
        /// The requester ID.
        rid: Rid,
        /// Settings.
        settings: DteSettings,
    },
    /// 03h: the first of a range.
    RangeStart {
        /// First requester ID.
        rid: Rid,
        /// Settings.
        settings: DteSettings,
    },
    /// 04h: the last of the range that was started last.
    RangeEnd {
        /// Last requester ID.
        rid: Rid,
    },
    /// 40h: eight bytes of padding.
    Pad8,
    /// 42h: one requester ID that arrives as another.
    AliasSelect {
        /// The requester ID.
        rid: Rid,
        /// Settings.
        settings: DteSettings,
        /// What it arrives as.
        source: Rid,
    },
    /// 43h: the first of a range that arrives as one other requester ID.
    AliasRangeStart {
        /// First requester ID.
        rid: Rid,
        /// Settings.
        settings: DteSettings,
        /// What they arrive as.
        source: Rid,
    },
    /// 46h: one requester ID with extended settings.
    ExtSelect {
        /// The requester ID.
        rid: Rid,
        /// Settings.
        settings: DteSettings,
        /// Extended settings, see [`EXT_ATS_DISABLED`].
        ext: u32,
    },
    /// 47h: the first of a range with extended settings.
    ExtRangeStart {
        /// First requester ID.
        rid: Rid,
        /// Settings.
        settings: DteSettings,
        /// Extended settings, see [`EXT_ATS_DISABLED`].
        ext: u32,
    },
    /// 48h: a device that is no PCI function.
    Special {
        /// What its requests carry.
        source: Rid,
        /// Settings.
        settings: DteSettings,
        /// Which of its variety.
        handle: u8,
        /// What it is.
        variety: Variety,
    },
    /// F0h: a device of the ACPI namespace. Only in blocks of type 40h.
    AcpiHid {
        /// What its requests carry.
        rid: Rid,
        /// Settings.
        settings: DteSettings,
        /// Hardware ID, padded with zeros; the first byte is not zero.
        hid: [u8; 8],
        /// Compatible ID, padded with zeros; all zeros if there is none.
        cid: [u8; 8],
        /// Unique ID.
        uid: Uid<'a>,
    },
    /// A type this parser does not know, skipped by its length.
    Unknown {
        /// Type of the entry.
        kind: u8,
        /// Its length in bytes.
        len: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_name_the_bits_of_the_device_table_entry() {
        let s = DteSettings(0xd7);
        assert!(s.init_pass() && s.ext_int_pass() && s.nmi_pass());
        assert!(s.lint0_pass() && s.lint1_pass());
        assert_eq!(s.sys_mgt(), 1);
        assert_eq!(DteSettings(0x28).sys_mgt(), 2);
        assert!(!DteSettings(0x28).nmi_pass());
    }
}
