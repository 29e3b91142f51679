// SPDX-License-Identifier: GPL-2.0

//! Registers of a VT-d unit: offsets in bytes, bits, and the words written to base registers.
//!
//! Source: Intel Virtualization Technology for Directed I/O, D51397-016 (revision 4.1), chapter 11.

use crate::{
    addr::Oa,
    bits::{
        bit,
        mask, //
    },
};

/// Version Register, 32 bits.
pub const VER: usize = 0x00;
/// Capability Register.
pub const CAP: usize = 0x08;
/// Extended Capability Register.
pub const ECAP: usize = 0x10;
/// Global Command Register, 32 bits; bits in [`global`].
pub const GCMD: usize = 0x18;
/// Global Status Register, 32 bits; bits in [`global`].
pub const GSTS: usize = 0x1c;
/// Root Table Address Register.
pub const RTADDR: usize = 0x20;
/// Fault Status Register, 32 bits; bits in [`fsts`].
pub const FSTS: usize = 0x34;
/// Fault Event Control Register, 32 bits: bit 31 masks the interrupt.
pub const FECTL: usize = 0x38;
/// Fault Event Data Register, 32 bits.
pub const FEDATA: usize = 0x3c;
/// Fault Event Address Register, 32 bits.
pub const FEADDR: usize = 0x40;
/// Fault Event Upper Address Register, 32 bits.
pub const FEUADDR: usize = 0x44;
/// Protected Memory Enable Register, 32 bits: bit 31 enables, bit 0 says whether it is.
pub const PMEN: usize = 0x64;
/// Invalidation Queue Head Register: a byte offset.
pub const IQH: usize = 0x80;
/// Invalidation Queue Tail Register: a byte offset.
pub const IQT: usize = 0x88;
/// Invalidation Queue Address Register.
pub const IQA: usize = 0x90;

/// Bytes of registers that are mapped: a page. Fault records beyond it are not known of any unit.
pub const MMIO_LEN: usize = 0x1000;

/// The mask bit of the fault interrupt in [`FECTL`].
pub const FECTL_IM: u32 = 1 << 31;
/// Enables protected memory regions, in [`PMEN`].
pub const PMEN_EPM: u32 = 1 << 31;
/// Protected memory regions are in force, in [`PMEN`].
pub const PMEN_PRS: u32 = 1;

/// Bits of [`GCMD`], and of [`GSTS`] where they say what is.
pub mod global {
    /// Translation.
    pub const TE: u32 = 1 << 31;
    /// The root table pointer is taken over; one shot.
    pub const SRTP: u32 = 1 << 30;
    /// The fault log is taken over; one shot, reserved in later revisions.
    pub const SFL: u32 = 1 << 29;
    /// The write buffer is flushed; one shot.
    pub const WBF: u32 = 1 << 27;
    /// The invalidation queue.
    pub const QIE: u32 = 1 << 26;
    /// Interrupt remapping.
    pub const IRE: u32 = 1 << 25;
    /// The interrupt table pointer is taken over; one shot.
    pub const SIRTP: u32 = 1 << 24;
    /// Compatibility interrupts pass.
    pub const CFI: u32 = 1 << 23;
    /// What a command keeps as it is: everything in the status but what is done once.
    pub const KEEP: u32 = !(SRTP | SFL | WBF | SIRTP);
}

/// Bits of [`FSTS`]; the errors are cleared by writing them.
pub mod fsts {
    /// Faults were lost.
    pub const PFO: u32 = 1 << 0;
    /// Fault records wait.
    pub const PPF: u32 = 1 << 1;
    /// The descriptor at the queue's head is wrong; the queue has stopped.
    pub const IQE: u32 = 1 << 4;
    /// A device's answer to an invalidation was wrong.
    pub const ICE: u32 = 1 << 5;
    /// A device did not answer an invalidation; waits after it were dropped.
    pub const ITE: u32 = 1 << 6;
    /// All errors of the queue.
    pub const QUEUE: u32 = IQE | ICE | ITE;
}

/// The word for [`RTADDR`]; `scalable`: entries of scalable mode (TTM 01). [`None`] if `root` is not
/// 4 KiB aligned.
pub const fn rtaddr(root: Oa, scalable: bool) -> Option<u64> {
    if root.0 & mask(11, 0) != 0 {
        return None;
    }
    Some(if scalable { root.0 | bit(10) } else { root.0 })
}

/// The word for [`IQA`], for a ring of `1 << entries_lg2` descriptors; `wide`: of 256 bits, else of
/// 128. [`None`] if `base` is not 4 KiB aligned or the ring is smaller than a page or too large.
pub const fn iqa(base: Oa, entries_lg2: u32, wide: bool) -> Option<u64> {
    // A page holds 256 narrow descriptors, 128 wide ones.
    let page_lg2 = if wide { 7 } else { 8 };
    if base.0 & mask(11, 0) != 0
        || entries_lg2 < page_lg2
        || entries_lg2.saturating_sub(page_lg2) > 7
    {
        return None;
    }
    let size = entries_lg2.saturating_sub(page_lg2);
    let width = if wide { bit(11) } else { 0 };
    // CAST: at most 7.
    Some(base.0 | width | size as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_words() {
        assert_eq!(rtaddr(Oa(0x1000), false), Some(0x1000));
        assert_eq!(rtaddr(Oa(0x1000), true), Some(0x1400));
        assert_eq!(rtaddr(Oa(0x1800), true), None);
        assert_eq!(iqa(Oa(0x4000), 9, false), Some(0x4001));
        assert_eq!(iqa(Oa(0x4000), 9, true), Some(0x4802));
        assert_eq!(iqa(Oa(0x4000), 7, false), None);
        assert_eq!(iqa(Oa(0x4008), 9, false), None);
        assert_eq!(iqa(Oa(0x4000), 16, false), None);
    }
}
