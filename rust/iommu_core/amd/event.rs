// SPDX-License-Identifier: GPL-2.0

//! Event log entries of the AMD IOMMU: decoding, and plain words for people.
//!
//! The text says what the entry gives and no more. In particular an entry whose payload is that of
//! an emulator which fills in none of it (see [`PageFault::has_payload`]) is not said to be about an
//! address, a bus or a domain.
//!
//! Source: AMD IOMMU 48882 Rev 3.10, 2.5.
//! C source: [`drivers/iommu/amd/iommu.c`](srctree/drivers/iommu/amd/iommu.c).

use super::{bit, get, mask};
use crate::addr::{Iova, Oa};
use crate::id::{DomainId, Rid};

mod text;

/// Flags of an event, bits 59:48 of the first word, as read.
///
/// Not every event defines every flag; [`Event`] says which it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(pub u16);

impl Flags {
    const fn has(self, n: u32) -> bool {
        // CAST: u16 to u64 never loses a bit.
        self.0 as u64 & bit(n) != 0
    }

    /// GN: a guest address; the event holds a PASID and no domain ID.
    pub const fn guest(self) -> bool {
        self.has(0)
    }

    /// NX: the request asked to execute.
    pub const fn execute(self) -> bool {
        self.has(1)
    }

    /// US: a user request, else supervisor.
    pub const fn user(self) -> bool {
        self.has(2)
    }

    /// I: an interrupt request, else a memory request.
    pub const fn interrupt(self) -> bool {
        self.has(3)
    }

    /// PR: the entry that refused the request was present.
    pub const fn present(self) -> bool {
        self.has(4)
    }

    /// RW: a write, else a read.
    pub const fn write(self) -> bool {
        self.has(5)
    }

    /// PE: permission was missing.
    pub const fn permission(self) -> bool {
        self.has(6)
    }

    /// RZ: a reserved bit was not zero.
    pub const fn reserved(self) -> bool {
        self.has(7)
    }

    /// TR: a translation request, else a transaction.
    pub const fn translation(self) -> bool {
        self.has(8)
    }
}

/// Type of a hardware error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HwError {
    /// No one answered.
    MasterAbort,
    /// The target refused.
    TargetAbort,
    /// The data came back poisoned or otherwise bad.
    DataError,
    /// The reserved encoding.
    Reserved,
}

impl HwError {
    const fn decode(code: u64) -> Self {
        match code {
            1 => Self::MasterAbort,
            2 => Self::TargetAbort,
            3 => Self::DataError,
            _ => Self::Reserved,
        }
    }
}

/// Payload of IO_PAGE_FAULT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFault {
    /// Requester ID field.
    pub rid: Rid,
    /// Domain ID, or with GN the low 16 bits of the PASID.
    pub domain_or_pasid: u16,
    /// PASID with GN, 20 bits.
    pub pasid: u32,
    /// GN, NX, US, I, PR, RW, PE, RZ, TR.
    pub flags: Flags,
    /// Address of the request.
    pub address: Iova,
}

impl PageFault {
    /// Domain of the request, [`None`] where the field holds a PASID or nothing.
    pub const fn domain(&self) -> Option<DomainId> {
        if self.flags.guest() || !self.has_payload() {
            None
        } else {
            Some(DomainId(self.domain_or_pasid))
        }
    }

    /// Returns `false` if the entry says only that something was blocked.
    ///
    /// QEMU up to 11.1 at least logs a blocked memory request as flags 0x00a or 0x009 (I set, RW
    /// clear) with address, domain and bus zero. Hardware is not expected to log that: an interrupt
    /// request is neither guest-addressed nor an execute request. Read no requester, domain, address or direction from it.
    pub const fn has_payload(&self) -> bool {
        !(matches!(self.flags.0, 0x009 | 0x00a)
            && self.address.0 == 0
            && self.domain_or_pasid == 0
            && self.rid.bus() == 0)
    }

    /// Requester of the blocked request, [`None`] where the entry does not give it.
    pub const fn requester(&self) -> Option<Rid> {
        if self.has_payload() {
            Some(self.rid)
        } else {
            None
        }
    }
}

/// An event log entry, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// 1: a device table entry has a reserved bit or encoding. Flags: GN, I, RW, RZ, TR.
    IllegalDevTableEntry {
        /// Requester whose entry it is.
        rid: Rid,
        /// PASID, 20 bits, with GN.
        pasid: u32,
        /// Flags.
        flags: Flags,
        /// Address of the request.
        address: Iova,
    },
    /// 2: a request was refused by a page table or interrupt table.
    IoPageFault(PageFault),
    /// 3: the unit could not read a device table entry. Flags: I, RW, TR.
    DevTabHardwareError {
        /// Requester whose entry it is.
        rid: Rid,
        /// What went wrong.
        error: HwError,
        /// Flags.
        flags: Flags,
        /// Where the unit read.
        address: Oa,
    },
    /// 4: the unit could not read a page table. Flags: GN, I, RW, TR.
    PageTabHardwareError {
        /// Requester of the request.
        rid: Rid,
        /// Domain ID, or with GN the low 16 bits of the PASID.
        domain_or_pasid: u16,
        /// What went wrong.
        error: HwError,
        /// Flags.
        flags: Flags,
        /// Where the unit read.
        address: Oa,
    },
    /// 5: a command has a reserved bit or opcode. The command buffer has stopped.
    IllegalCommandError {
        /// Where the command lies.
        address: Oa,
    },
    /// 6: the unit could not read or carry out a command. The command buffer has stopped.
    CommandHardwareError {
        /// What went wrong.
        error: HwError,
        /// What the unit accessed.
        address: Oa,
    },
    /// 7: a device did not answer an INVALIDATE_IOTLB_PAGES command.
    IotlbInvTimeout {
        /// The silent device.
        rid: Rid,
        /// Where the command lies.
        address: Oa,
    },
    /// 8: a device made a request that its device table entry does not allow.
    InvalidDeviceRequest {
        /// Requester.
        rid: Rid,
        /// PASID, 20 bits, with GN.
        pasid: u32,
        /// Type of the request as encoded, 0 to 7 (bits 59:57).
        kind: u8,
        /// GN and TR only.
        flags: Flags,
        /// Address of the request.
        address: Iova,
    },
    /// 9: a page request was malformed or not allowed.
    InvalidPprRequest {
        /// Requester.
        rid: Rid,
        /// PASID, 20 bits.
        pasid: u32,
        /// Tag of the request, 10 bits.
        tag: u16,
        /// Flags as encoded for this event: bit 0 RX (no answer is due), bit 9 GN.
        flags: Flags,
        /// Address of the request.
        address: Iova,
    },
    /// 0xa: a performance counter passed zero.
    EventCounterZero {
        /// Note programmed with the counter, 52 bits.
        note: u64,
    },
    /// 0xb: an event of a guest; kept as read.
    GuestEventFault {
        /// Both words.
        words: [u64; 2],
    },
    /// 0xd: the reverse map refused an access.
    RmpPageFault {
        /// Requester.
        rid: Rid,
        /// Flags of the reverse map entry, bits 23:16.
        rmp_flags: u8,
        /// Tag of the guest.
        vmg_tag: u16,
        /// Flags as encoded for this event.
        flags: Flags,
        /// Guest physical address.
        gpa: u64,
    },
    /// 0xe: the unit could not read the reverse map.
    RmpHardwareError {
        /// Requester.
        rid: Rid,
        /// Tag of the guest.
        vmg_tag: u16,
        /// Flags as encoded for this event.
        flags: Flags,
        /// System physical address.
        spa: Oa,
    },
    /// A code this driver does not know; kept as read.
    Unknown {
        /// Event code, 4 bits.
        code: u8,
        /// Both words.
        words: [u64; 2],
    },
}

impl Event {
    /// Decodes an entry, low word first; [`None`] if its code is 0: the unit has not written it.
    ///
    /// Parts with erratum 732 move the tail before the entry is in memory, so clear an entry after
    /// reading it and read again, within a bound, where this gives [`None`].
    pub const fn decode(words: [u64; 2]) -> Option<Self> {
        let [w0, w1] = words;
        // CAST (all below): `get` leaves no more bits than the type has.
        let code = get(w0, 63, 60) as u8;
        let rid = Rid(get(w0, 15, 0) as u16);
        let low = get(w0, 47, 32) as u16;
        let pasid = ((w0 & mask(19, 16)) | get(w0, 47, 32)) as u32;
        let flags = Flags(get(w0, 59, 48) as u16);
        let error = HwError::decode(get(w0, 58, 57));
        let address = Iova(w1);
        Some(match code {
            0 => return None,
            1 => Self::IllegalDevTableEntry {
                rid,
                pasid,
                flags,
                address,
            },
            2 => Self::IoPageFault(PageFault {
                rid,
                domain_or_pasid: low,
                pasid,
                flags,
                address,
            }),
            3 => Self::DevTabHardwareError {
                rid,
                error,
                flags,
                address: Oa(w1),
            },
            4 => Self::PageTabHardwareError {
                rid,
                domain_or_pasid: low,
                error,
                flags,
                address: Oa(w1),
            },
            5 => Self::IllegalCommandError { address: Oa(w1) },
            6 => Self::CommandHardwareError {
                error,
                address: Oa(w1),
            },
            7 => Self::IotlbInvTimeout {
                rid,
                address: Oa(w1),
            },
            8 => Self::InvalidDeviceRequest {
                rid,
                pasid,
                kind: get(w0, 59, 57) as u8,
                flags: Flags(get(w0, 56, 48) as u16),
                address,
            },
            9 => Self::InvalidPprRequest {
                rid,
                pasid: (get(w0, 31, 16) | super::put(get(w0, 45, 42), 19, 16)) as u32,
                tag: get(w0, 41, 32) as u16,
                flags,
                address,
            },
            0xa => Self::EventCounterZero {
                note: super::put(w1, 51, 32) | get(w1, 63, 32),
            },
            0xb => Self::GuestEventFault { words },
            0xd => Self::RmpPageFault {
                rid,
                rmp_flags: get(w0, 23, 16) as u8,
                vmg_tag: low,
                flags,
                gpa: w1,
            },
            0xe => Self::RmpHardwareError {
                rid,
                vmg_tag: low,
                flags,
                spa: Oa(w1 & mask(63, 3)),
            },
            _ => Self::Unknown { code, words },
        })
    }

    /// Requester the event is about, [`None`] where it is about none or does not give it.
    pub const fn requester(&self) -> Option<Rid> {
        match *self {
            Self::IoPageFault(fault) => fault.requester(),
            Self::IllegalDevTableEntry { rid, .. }
            | Self::DevTabHardwareError { rid, .. }
            | Self::PageTabHardwareError { rid, .. }
            | Self::IotlbInvTimeout { rid, .. }
            | Self::InvalidDeviceRequest { rid, .. }
            | Self::InvalidPprRequest { rid, .. }
            | Self::RmpPageFault { rid, .. }
            | Self::RmpHardwareError { rid, .. } => Some(rid),
            Self::IllegalCommandError { .. }
            | Self::CommandHardwareError { .. }
            | Self::EventCounterZero { .. }
            | Self::GuestEventFault { .. }
            | Self::Unknown { .. } => None,
        }
    }

    /// Returns `true` if the command buffer stops at this event and has to be started again.
    pub const fn stops_commands(&self) -> bool {
        matches!(
            self,
            Self::IllegalCommandError { .. } | Self::CommandHardwareError { .. }
        )
    }
}

#[cfg(test)]
mod tests;
