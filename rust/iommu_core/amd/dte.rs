// SPDX-License-Identifier: GPL-2.0

//! Device table entries of the AMD IOMMU, 256 bits each, and how to change a live one.
//!
//! Entries are composed aside and written by the steps of [`plan_update`].
//!
//! Source: AMD IOMMU 48882 Rev 3.10, 2.2.2.1.
//! C header: [`drivers/iommu/amd/amd_iommu_types.h`](srctree/drivers/iommu/amd/amd_iommu_types.h).

use super::{get, mask, put};
use crate::addr::Oa;
use crate::id::DomainId;
pub use crate::plan::{Half, Plan, Step};
use core::fmt;

/// Word 0 (bits 63:0).
mod w0 {
    use super::super::{bit, mask};
    /// Entry valid; clear lets every request through untranslated.
    pub(super) const V: u64 = bit(0);
    /// Translation fields valid; clear, with V set, ends every request that needs them.
    pub(super) const TV: u64 = bit(1);
    /// Host page table root pointer.
    pub(super) const ROOT: u64 = mask(51, 12);
    /// Guest translation valid.
    pub(super) const GV: u64 = bit(55);
    /// Guest CR3 levels, and guest CR3 table pointer bits 14:12.
    pub(super) const GUEST: u64 = mask(60, 56);
    pub(super) const IR: u64 = bit(61);
    pub(super) const IW: u64 = bit(62);
}

/// Word 1 (bits 127:64).
mod w1 {
    use super::super::{bit, mask};
    /// I: the device may use its own IOTLB.
    pub(super) const IOTLB: u64 = bit(32);
    /// SysMgt: system management messages.
    pub(super) const SYSMGT: u64 = mask(41, 40);
    /// Guest CR3 table pointer bits 30:15 and 51:31.
    pub(super) const GUEST: u64 = mask(31, 16) | mask(63, 43);
}

/// Word 2 (bits 191:128).
mod w2 {
    use super::super::{bit, mask};
    /// IV: the interrupt table fields are valid.
    pub(super) const IV: u64 = bit(0);
    /// IntTabLen, IG and the table pointer: read where IV is set.
    pub(super) const TABLE: u64 = mask(51, 1);
    /// GuestPagingMode: belongs to translation, not to interrupts.
    pub(super) const GUEST_MODE: u64 = mask(55, 54);
    pub(super) const INIT_PASS: u64 = bit(56);
    pub(super) const EINT_PASS: u64 = bit(57);
    pub(super) const NMI_PASS: u64 = bit(58);
    /// IntCtl: what becomes of fixed and arbitrated interrupts; read where IV is set.
    pub(super) const INT_CTL: u64 = mask(61, 60);
    pub(super) const LINT0_PASS: u64 = bit(62);
    pub(super) const LINT1_PASS: u64 = bit(63);
    /// Everything about interrupts; bits 55:52 and 59 are not, and a reserved bit that firmware left
    /// set must not be carried over.
    pub(super) const INTERRUPTS: u64 = !(mask(55, 52) | bit(59));
}

/// Levels of the empty table behind [`Dte::blocked_with_events`]: what every unit with host
/// translation can do.
const BLOCKED_LEVELS: u8 = 4;

/// A device table entry, word 0 first.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Dte(pub [u64; 4]);

impl Dte {
    /// An entry that ends every DMA request: V set, TV clear.
    ///
    /// Interrupts are as the interrupt fields say, here all zero: they pass unmapped. Hardware may log
    /// an event for what it ends; QEMU 11.1 blocks without one. Use
    /// [`blocked_with_events`](Self::blocked_with_events) to be told there too.
    ///
    /// Never block by mode 0 with IR and IW clear: QEMU 11.1 treats mode 0 as a pass-through
    /// whatever IR and IW say.
    pub const fn blocked() -> Self {
        Self([w0::V, 0, 0, 0])
    }

    /// An entry that ends every DMA request by an empty page table, so that a request is logged as
    /// a page fault.
    ///
    /// `empty_root` is a zeroed 4 KiB page that stays allocated and zero while the entry is in use;
    /// `did` is a domain without mappings. IR and IW are clear as well, so that on hardware even a
    /// wrong root opens nothing. [`None`] if `empty_root` is not 4 KiB aligned below 2^52.
    pub const fn blocked_with_events(empty_root: Oa, did: DomainId) -> Option<Self> {
        match Self::paging(empty_root, BLOCKED_LEVELS, did) {
            Some(Self([a, b, c, d])) => Some(Self([a & !(w0::IR | w0::IW), b, c, d])),
            None => None,
        }
    }

    /// An entry that lets every DMA request through untranslated.
    pub const fn identity(did: DomainId) -> Self {
        // CAST: u16 to u64 never loses a bit.
        Self([w0::V | w0::TV | w0::IR | w0::IW, did.0 as u64, 0, 0])
    }

    /// An entry that translates through a host (v1) page table.
    ///
    /// `levels` is 1 to 6 and no more than [`super::efr::Features::host_levels`]. [`None`] if it is
    /// not 1 to 6, or if `root` is not 4 KiB aligned below 2^52.
    pub const fn paging(root: Oa, levels: u8, did: DomainId) -> Option<Self> {
        if levels == 0 || levels > 6 || root.0 & !w0::ROOT != 0 {
            return None;
        }
        // CAST: u8 and u16 to u64 never lose a bit.
        let mode = put(levels as u64, 11, 9);
        let Self([a, b, c, d]) = Self::identity(did);
        Some(Self([a | mode | root.0, b, c, d]))
    }

    /// Lets the device keep translations of its own (ATS), or not.
    pub const fn with_iotlb(self, on: bool) -> Self {
        let Self([a, b, c, d]) = self;
        let i = if on { w1::IOTLB } else { 0 };
        Self([a, (b & !w1::IOTLB) | i, c, d])
    }

    /// Adds what firmware asks for a device in the data byte of its IVHD entry: INIT, ExtInt, NMI,
    /// LINT0 and LINT1 pass, and system management messages.
    ///
    /// System management type 1 needs write permission on parts with erratum 63, so IW is set with
    /// it, as in the C driver. That does not open a [`blocked`](Self::blocked) entry: TV stays clear.
    pub const fn with_ivhd_flags(self, data: u8) -> Self {
        let Self([a, b, c, d]) = self;
        // CAST: u8 to u64 never loses a bit.
        let data = data as u64;
        let b = b | put(get(data, 5, 4), 41, 40);
        let iw = if b & w1::SYSMGT == put(1, 41, 40) {
            w0::IW
        } else {
            0
        };
        let low = put(get(data, 2, 0), 58, 56);
        let lint = put(get(data, 7, 6), 63, 62);
        Self([a | iw, b, c | low | lint, d])
    }

    /// Takes over the interrupt fields of `found`: remapping table, IntCtl and the pass bits.
    ///
    /// Replaces what is there: call it before [`with_ivhd_flags`](Self::with_ivhd_flags).
    pub const fn with_interrupts_of(self, found: &Self) -> Self {
        let Self([a, b, c, d]) = self;
        let Self([_, _, interrupts, _]) = *found;
        Self([
            a,
            b,
            (c & !w2::INTERRUPTS) | (interrupts & w2::INTERRUPTS),
            d,
        ])
    }

    /// V: the entry is valid.
    pub const fn valid(&self) -> bool {
        let Self([a, ..]) = *self;
        a & w0::V != 0
    }

    /// Returns `true` if every DMA request is ended for want of translation fields.
    pub const fn is_blocked(&self) -> bool {
        let Self([a, ..]) = *self;
        a & (w0::V | w0::TV) == w0::V
    }

    /// Mode as encoded: 0 no translation, 1 to 6 levels, 7 reserved. Meaningful with V and TV.
    pub const fn mode(&self) -> u8 {
        let Self([a, ..]) = *self;
        // CAST: three bits.
        get(a, 11, 9) as u8
    }

    /// Host page table root. Meaningful with V, TV and a mode from 1 to 6.
    pub const fn root(&self) -> Oa {
        let Self([a, ..]) = *self;
        Oa(a & w0::ROOT)
    }

    /// Domain ID. A domain ID that leaves the table must be flushed.
    pub const fn did(&self) -> DomainId {
        let Self([_, b, ..]) = *self;
        // CAST: 16 bits.
        DomainId(get(b, 15, 0) as u16)
    }

    /// IV: interrupts go through a remapping table or IntCtl.
    pub const fn remaps_interrupts(&self) -> bool {
        let Self([_, _, c, _]) = *self;
        c & w2::IV != 0
    }

    /// Bits that hardware may read in the configuration this entry holds.
    ///
    /// Where the specification leaves doubt a bit counts as used: that costs a step in an update,
    /// never correctness.
    pub const fn used(&self) -> [u64; 4] {
        let Self([a, _, c, _]) = *self;
        // Word 3 holds memory attributes; their enable bit is their own.
        let mut used = [w0::V, 0, w2::IV, u64::MAX];
        let [u0, u1, u2, _] = &mut used;
        if a & w0::V != 0 {
            *u0 |= w0::TV | w0::IR | w0::IW;
            *u1 |= !w1::GUEST;
            if a & w0::TV != 0 {
                *u0 = !(w0::ROOT | w0::GUEST);
                if a & mask(11, 9) != 0 {
                    *u0 |= w0::ROOT;
                }
                if a & w0::GV != 0 {
                    *u0 |= w0::GUEST;
                    *u1 |= w1::GUEST;
                    *u2 |= w2::GUEST_MODE;
                }
            }
        }
        // Pass bits: read whatever IV says.
        *u2 |= w2::INIT_PASS | w2::EINT_PASS | w2::NMI_PASS | w2::LINT0_PASS | w2::LINT1_PASS;
        if c & w2::IV != 0 {
            *u2 |= w2::TABLE | w2::INT_CTL;
        }
        used
    }

    /// Returns `true` if hardware cannot tell the two entries apart.
    pub const fn same_to_hardware(&self, other: &Self) -> bool {
        let [a0, a1, a2, a3] = self.used();
        let [b0, b1, b2, b3] = other.used();
        let Self([s0, s1, s2, s3]) = *self;
        let Self([o0, o1, o2, o3]) = *other;
        (s0 ^ o0) & (a0 | b0) == 0
            && (s1 ^ o1) & (a1 | b1) == 0
            && (s2 ^ o2) & (a2 | b2) == 0
            && (s3 ^ o3) & (a3 | b3) == 0
    }

    /// The 128 bits of one half, low word first.
    pub const fn half(&self, half: Half) -> [u64; 2] {
        let Self([a, b, c, d]) = *self;
        match half {
            Half::Low => [a, b],
            Half::High => [c, d],
        }
    }

    /// This entry with one half replaced.
    pub const fn with_half(self, half: Half, value: [u64; 2]) -> Self {
        let Self([a, b, c, d]) = self;
        let [x, y] = value;
        match half {
            Half::Low => Self([x, y, c, d]),
            Half::High => Self([a, b, x, y]),
        }
    }

    /// This entry with DMA blocked and interrupts as they are.
    ///
    /// System management messages keep their treatment, with the write permission they may need.
    const fn with_dma_blocked(self) -> Self {
        let Self([a, b, c, d]) = self;
        Self([w0::V | (a & w0::IW), b & w1::SYSMGT, c, d])
    }
}

impl fmt::Debug for Dte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([a, b, c, d]) = self;
        write!(f, "{d:016x}_{c:016x}_{b:016x}_{a:016x}")
    }
}

/// Plans how to turn the live entry `current` into `target`.
///
/// At every moment the hardware acts on `current`, on `target`, or on an entry that blocks DMA and
/// treats interrupts as one of the two. That holds although an entry is two atomic stores long:
/// whether the hardware fetches 256 bits at once, as the C driver states, or two halves in either
/// order, and whether it caches the entry at any point. It rests on what [`Step::Invalidate`]
/// promises: no fetch begun before it, and no copy, is used after it.
///
/// - Only one half differs: one store. This is every change of domain that keeps the interrupt
///   fields, and it never blocks.
/// - Both differ, but the new value of one half is not read while the other is old: two stores, and
///   no blocking. So the guest paging mode goes first on the way up and last on the way down.
/// - Else the low half goes through a blocked value: three stores. A caller that must not block for
///   a moment plans the interrupt change and the DMA change as two updates.
///
/// The last store is followed by an invalidation. Flushing the old domain ID is the caller's.
pub fn plan_update(current: &Dte, target: &Dte) -> Plan {
    let low = target.half(Half::Low);
    let high = target.half(Half::High);
    let plan = Plan::empty();
    match (
        current.half(Half::Low) == low,
        current.half(Half::High) == high,
    ) {
        (true, true) => return plan,
        (false, true) => return plan.write(Half::Low, low),
        (true, false) => return plan.write(Half::High, high),
        (false, false) => {}
    }
    let high_first = current.with_half(Half::High, high);
    if high_first.same_to_hardware(current) || high_first.same_to_hardware(target) {
        return plan.write(Half::High, high).write(Half::Low, low);
    }
    let low_first = current.with_half(Half::Low, low);
    if low_first.same_to_hardware(current) || low_first.same_to_hardware(target) {
        return plan.write(Half::Low, low).write(Half::High, high);
    }
    let blocked = target.with_dma_blocked();
    plan.write(Half::Low, blocked.half(Half::Low))
        .write(Half::High, high)
        .write(Half::Low, low)
}

#[cfg(test)]
mod tests;
