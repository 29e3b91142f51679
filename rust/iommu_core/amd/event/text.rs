// SPDX-License-Identifier: GPL-2.0

//! Events in plain words.

use super::{Event, HwError, PageFault};
use crate::id::DomainId;
use core::fmt;

impl fmt::Display for HwError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MasterAbort => "no answer (master abort)",
            Self::TargetAbort => "refused (target abort)",
            Self::DataError => "bad data",
            Self::Reserved => "reserved error type",
        })
    }
}

/// What happened, without the requester: that one belongs to the prefix of the line.
impl fmt::Display for PageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (flags, at) = (self.flags, self.address);
        if !self.has_payload() {
            return write!(
                f,
                "request blocked (the event gives no address, bus or domain; device {:02x}.{}, flags {:#05x})",
                self.rid.dev(),
                self.rid.func(),
                flags.0
            );
        }
        let verb = match (flags.translation(), flags.write()) {
            (true, _) => "translation request for",
            (false, true) => "write to",
            (false, false) if flags.execute() => "execute read of",
            (false, false) => "read of",
        };
        let right = if flags.write() { "write" } else { "read" };
        match (flags.interrupt(), flags.present()) {
            (true, false) => write!(f, "interrupt request to {at} without a valid entry blocked")?,
            (true, true) => write!(f, "interrupt request to {at} refused by its entry blocked")?,
            (false, false) => write!(f, "{verb} unmapped IOVA {at} blocked")?,
            (false, true) if flags.reserved() => write!(
                f,
                "{verb} IOVA {at} blocked: a table entry has a reserved bit set"
            )?,
            (false, true) if flags.permission() && flags.translation() => {
                write!(f, "{verb} IOVA {at} blocked: permission missing")?;
            }
            (false, true) if flags.permission() => write!(
                f,
                "{verb} a mapping without {right} permission at IOVA {at} blocked"
            )?,
            (false, true) => write!(f, "{verb} IOVA {at} blocked by a present table entry")?,
        }
        match self.domain() {
            Some(DomainId(did)) => write!(f, " (domain {did})"),
            None => write!(f, " (PASID {:#x})", self.pasid),
        }
    }
}

/// What happened in one sentence, without the requester: see [`Event::requester`].
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IoPageFault(fault) => fault.fmt(f),
            Self::IllegalDevTableEntry { flags, address, .. } => {
                f.write_str("device table entry is illegal")?;
                if flags.reserved() {
                    f.write_str(": a reserved bit is set")?;
                }
                write!(f, "; request blocked (address field {address})")
            }
            Self::DevTabHardwareError { error, address, .. } => {
                write!(f, "device table entry could not be read at {address}: {error}")
            }
            Self::PageTabHardwareError { error, address, .. } => {
                write!(f, "page table could not be read at {address}: {error}")
            }
            Self::IllegalCommandError { address } => {
                write!(f, "illegal command at {address}")
            }
            Self::CommandHardwareError { error, address } => {
                write!(f, "command failed in hardware, access to {address}: {error}")
            }
            Self::IotlbInvTimeout { address, .. } => write!(
                f,
                "device did not answer an IOTLB invalidation in time (command at {address})"
            ),
            Self::InvalidDeviceRequest { kind, address, .. } => write!(
                f,
                "request of type {kind} to {address} is not allowed for the device"
            ),
            Self::InvalidPprRequest {
                pasid,
                tag,
                address,
                ..
            } => write!(
                f,
                "page request {tag:#x} for {address} (PASID {pasid:#x}) is invalid"
            ),
            Self::EventCounterZero { note } => {
                write!(f, "performance counter passed zero (note {note:#x})")
            }
            Self::GuestEventFault { words: [a, b] } => {
                write!(f, "guest event fault {a:#018x} {b:#018x}")
            }
            Self::RmpPageFault { vmg_tag, gpa, .. } => write!(
                f,
                "access to guest address {gpa:#x} refused by the reverse map (guest tag {vmg_tag:#x})"
            ),
            Self::RmpHardwareError { vmg_tag, spa, .. } => write!(
                f,
                "reverse map could not be read for {spa} (guest tag {vmg_tag:#x})"
            ),
            Self::Unknown {
                code,
                words: [a, b],
            } => write!(f, "unknown event {code:#x}: {a:#018x} {b:#018x}"),
        }
    }
}
