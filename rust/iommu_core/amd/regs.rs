// SPDX-License-Identifier: GPL-2.0

//! MMIO registers of the AMD IOMMU: offsets, bits and the words written to base registers.
//!
//! Offsets are in bytes from the start of the unit's MMIO region; every register is 64 bits wide.
//! Names follow the specification.
//!
//! Source: AMD IOMMU 48882 Rev 3.10, 3.4.

use super::{bit, mask, put};
use crate::addr::{Oa, Range, PAGE_SIZE};

/// Device Table Base Address Register.
pub const DEV_TAB_BASE: usize = 0x0000;
/// Command Buffer Base Address Register.
pub const CMD_BUF_BASE: usize = 0x0008;
/// Event Log Base Address Register.
pub const EVENT_LOG_BASE: usize = 0x0010;
/// Control Register; bits in [`control`].
pub const CONTROL: usize = 0x0018;
/// Exclusion Base Register.
pub const EXCL_BASE: usize = 0x0020;
/// Exclusion Range Limit Register.
pub const EXCL_LIMIT: usize = 0x0028;
/// Extended Feature Register, read-only.
pub const EFR: usize = 0x0030;
/// PPR Log Base Address Register.
pub const PPR_LOG_BASE: usize = 0x0038;
/// Extended Feature 2 Register, read-only.
pub const EFR2: usize = 0x01a0;
/// x2APIC interrupt of the event log (IntCapXT).
pub const XT_INT_EVENT: usize = 0x0170;
/// x2APIC interrupt of the PPR log.
pub const XT_INT_PPR: usize = 0x0178;
/// x2APIC interrupt of the guest APIC log.
pub const XT_INT_GA: usize = 0x0180;
/// Command Buffer Head Pointer Register, a byte offset in bits 18:4.
pub const CMD_BUF_HEAD: usize = 0x2000;
/// Command Buffer Tail Pointer Register, a byte offset in bits 18:4.
pub const CMD_BUF_TAIL: usize = 0x2008;
/// Event Log Head Pointer Register, a byte offset in bits 18:4.
pub const EVENT_LOG_HEAD: usize = 0x2010;
/// Event Log Tail Pointer Register, a byte offset in bits 18:4.
pub const EVENT_LOG_TAIL: usize = 0x2018;
/// Status Register; bits in [`status`]. Interrupt and overflow bits are write-1-to-clear.
pub const STATUS: usize = 0x2020;
/// PPR Log Head Pointer Register, a byte offset in bits 18:4.
pub const PPR_LOG_HEAD: usize = 0x2030;
/// PPR Log Tail Pointer Register, a byte offset in bits 18:4.
pub const PPR_LOG_TAIL: usize = 0x2038;

/// Bytes of MMIO up to and including the PPR log pointers: enough without performance counters.
pub const MMIO_LEN: usize = 0x4000;
/// Bytes of MMIO where the unit has performance counters.
pub const MMIO_LEN_COUNTERS: usize = 0x8_0000;

/// Bits of the pointer registers that hold the byte offset.
pub const POINTER: u64 = mask(18, 4);

/// Bits of the Control Register (0x0018).
pub mod control {
    use super::super::bit;

    /// IommuEn: the unit translates.
    pub const IOMMU_EN: u64 = bit(0);
    /// HtTunEn: translate HyperTransport tunnel traffic.
    pub const HT_TUN_EN: u64 = bit(1);
    /// EventLogEn: the unit writes the event log.
    pub const EVENT_LOG_EN: u64 = bit(2);
    /// EventIntEn: a written event raises an interrupt.
    pub const EVENT_INT_EN: u64 = bit(3);
    /// ComWaitIntEn: a completion wait may raise an interrupt.
    pub const COM_WAIT_INT_EN: u64 = bit(4);
    /// InvTimeOut: how long a device may take over an IOTLB invalidation; encoded.
    pub const INV_TIMEOUT: u64 = super::mask(7, 5);
    /// PassPW: posted writes may pass.
    pub const PASS_PW: u64 = bit(8);
    /// ResPassPW: responses may pass posted writes.
    pub const RES_PASS_PW: u64 = bit(9);
    /// Coherent: the unit's own table reads are coherent.
    pub const COHERENT: u64 = bit(10);
    /// Isoc: the unit's own table reads are isochronous.
    pub const ISOC: u64 = bit(11);
    /// CmdBufEn: the unit fetches commands.
    pub const CMD_BUF_EN: u64 = bit(12);
    /// PPRLogEn: the unit writes the PPR log.
    pub const PPR_LOG_EN: u64 = bit(13);
    /// PPRIntEn: a written page request raises an interrupt.
    pub const PPR_INT_EN: u64 = bit(14);
    /// PPREn: page requests are processed.
    pub const PPR_EN: u64 = bit(15);
    /// GTEn: guest translation.
    pub const GT_EN: u64 = bit(16);
    /// GAEn: guest virtual APIC, 128-bit interrupt remapping entries.
    pub const GA_EN: u64 = bit(17);
    /// GALogEn: the unit writes the guest APIC log.
    pub const GA_LOG_EN: u64 = bit(28);
    /// GAIntEn: the guest APIC log raises interrupts.
    pub const GA_INT_EN: u64 = bit(29);
    /// XTEn: x2APIC destinations in remapped interrupts.
    pub const XT_EN: u64 = bit(50);
    /// IntCapXTEn: the unit's own interrupts come from the IntCapXT registers.
    pub const INT_CAP_XT_EN: u64 = bit(51);
}

/// Bits of the Status Register (0x2020).
pub mod status {
    use super::super::bit;

    /// EventOverflow: events were lost; write 1 to clear.
    pub const EVENT_OVERFLOW: u64 = bit(0);
    /// EventLogInt: an event was written; write 1 to clear.
    pub const EVENT_LOG_INT: u64 = bit(1);
    /// ComWaitInt: a completion wait with interrupt is done; write 1 to clear.
    pub const COM_WAIT_INT: u64 = bit(2);
    /// EventLogRun: the event log is running; read-only.
    pub const EVENT_LOG_RUN: u64 = bit(3);
    /// CmdBufRun: commands are being fetched; read-only.
    pub const CMD_BUF_RUN: u64 = bit(4);
    /// PPROverflow: page requests were lost; write 1 to clear.
    pub const PPR_OVERFLOW: u64 = bit(5);
    /// PPRInt: a page request was written; write 1 to clear.
    pub const PPR_INT: u64 = bit(6);
    /// PPRLogRun: the PPR log is running; read-only.
    pub const PPR_LOG_RUN: u64 = bit(7);
    /// GALogRun: the guest APIC log is running; read-only.
    pub const GA_LOG_RUN: u64 = bit(8);
    /// GALOverflow: guest APIC log entries were lost; write 1 to clear.
    pub const GA_LOG_OVERFLOW: u64 = bit(9);
    /// GAInt: a guest APIC log entry was written; write 1 to clear.
    pub const GA_INT: u64 = bit(10);
}

/// Address bits of every base register.
const BASE: u64 = mask(51, 12);

/// log2 of the fewest entries a command buffer or log may have.
pub const RING_LG2_MIN: u32 = 8;
/// log2 of the most entries a command buffer or log may have.
pub const RING_LG2_MAX: u32 = 15;
/// Bytes of one command or log entry.
pub const RING_ENTRY_LEN: usize = 16;

/// Encodes the Device Table Base Address Register.
///
/// `len_bytes` is a non-zero multiple of 4 KiB of at most 2 MiB (32 bytes a requester). [`None`] if
/// it is not, or if `base` is not 4 KiB aligned below 2^52.
pub const fn dev_tab_base(base: Oa, len_bytes: u64) -> Option<u64> {
    if base.0 & !BASE != 0 || len_bytes == 0 || len_bytes % PAGE_SIZE != 0 {
        return None;
    }
    let pages_less_one = (len_bytes / PAGE_SIZE).wrapping_sub(1);
    if pages_less_one > mask(8, 0) {
        return None;
    }
    Some(base.0 | pages_less_one)
}

/// Encodes a Command Buffer, Event Log or PPR Log Base Address Register: all three share a format.
///
/// `entries_lg2` is 8 to 15, an entry is 16 bytes. [`None`] if it is not, or if `base` is not 4 KiB
/// aligned below 2^52.
pub const fn ring_base(base: Oa, entries_lg2: u32) -> Option<u64> {
    if base.0 & !BASE != 0 || entries_lg2 < RING_LG2_MIN || entries_lg2 > RING_LG2_MAX {
        return None;
    }
    // CAST: 8 to 15.
    Some(base.0 | put(entries_lg2 as u64, 59, 56))
}

/// Encodes the Exclusion Base and Limit Registers for the pages that `range` touches.
///
/// With `all`, every device is excluded, else those whose device table entry has EX set. Write the
/// limit first: the base holds the enable bit. [`None`] if the range reaches 2^52.
pub const fn exclusion(range: Range, all: bool) -> Option<(u64, u64)> {
    let cover = range.page_cover();
    if cover.last() > mask(51, 0) {
        return None;
    }
    let allow = if all { bit(1) } else { 0 };
    // The limit register holds address bits 51:12; the low bits of the limit count as ones.
    Some((cover.first() | allow | bit(0), cover.last() & BASE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_device_table_has_size_511() {
        assert_eq!(dev_tab_base(Oa(0x1000_0000), 2 << 20), Some(0x1000_01ff));
        assert_eq!(dev_tab_base(Oa(0x1000), 4096), Some(0x1000));
        for (base, len) in [
            (0x1000, 0),
            (0x1000, 4095),
            (0x1000, (2 << 20) + 4096),
            (0x800, 4096),
            (1 << 52, 4096),
        ] {
            assert_eq!(dev_tab_base(Oa(base), len), None);
        }
    }

    #[test]
    fn a_ring_of_512_entries_has_length_9() {
        assert_eq!(ring_base(Oa(0x2000), 9), Some(0x0900_0000_0000_2000));
        assert_eq!(ring_base(Oa(0x2000), 15), Some(0x0f00_0000_0000_2000));
        assert_eq!(ring_base(Oa(0x2000), 7), None);
        assert_eq!(ring_base(Oa(0x2000), 16), None);
        assert_eq!(ring_base(Oa(0x2008), 9), None);
        assert_eq!(ring_base(Oa(u64::MAX << 52), 9), None);
    }

    #[test]
    fn an_exclusion_range_covers_every_byte_asked_for() {
        let r = Range::new(0x1fff, 0x2000).unwrap();
        assert_eq!(exclusion(r, false), Some((0x1001, 0x2000)));
        assert_eq!(exclusion(r, true), Some((0x1003, 0x2000)));
        assert_eq!(exclusion(Range::new(0, 1 << 52).unwrap(), true), None);
    }
}
