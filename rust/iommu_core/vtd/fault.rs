// SPDX-License-Identifier: GPL-2.0

//! Fault records, in words.
//!
//! Source: Intel Virtualization Technology for Directed I/O, D51397-016 (revision 4.1), 7.1.3 (fault
//! reasons) and 11.4.14 (fault recording registers).

use core::fmt;

use crate::{
    bits::{
        bit,
        get,
        mask, //
    },
    id::Rid,
};

/// F of the second word: the record is valid, and is freed by writing the bit.
pub const VALID: u64 = bit(63);

/// A fault record, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Who asked.
    pub rid: Rid,
    /// The page that was asked for; for an interrupt, its index.
    pub address: u64,
    /// A read, otherwise a write.
    pub read: bool,
    /// Why it was refused.
    pub reason: u8,
    /// The PASID of the request, if it had one.
    pub pasid: Option<u32>,
}

impl Fault {
    /// Decodes a record, low word first; [`None`] if it is not valid.
    pub const fn decode(words: [u64; 2]) -> Option<Self> {
        let [low, high] = words;
        if high & VALID == 0 {
            return None;
        }
        // CAST (all): `get` leaves no more bits than the type has.
        Some(Self {
            rid: Rid(get(high, 15, 0) as u16),
            address: low & mask(63, 12),
            read: high & bit(62) != 0,
            reason: get(high, 39, 32) as u8,
            pasid: if high & bit(31) != 0 {
                Some(get(high, 59, 40) as u32)
            } else {
                None
            },
        })
    }

    /// Is it about an interrupt, not about memory?
    pub const fn is_interrupt(&self) -> bool {
        matches!(self.reason, 0x20..=0x2f)
    }

    /// The reason in words.
    pub const fn text(&self) -> &'static str {
        match self.reason {
            0x01 => "its bus has no context table",
            0x02 | 0x41 | 0x51 | 0x59 => "the device is blocked",
            0x03 | 0x43 | 0x5b => "its entry is wrong",
            0x04 | 0x83 => "the address is beyond what the unit translates",
            0x05 | 0x85 => "nothing is mapped there to be written",
            0x06 | 0x86 => "nothing is mapped there to be read",
            0x07 | 0x70 | 0x78 | 0x7b => "a page table cannot be read",
            0x08 | 0x30 | 0x38 => "the root table cannot be read",
            0x09 | 0x40 | 0x50 | 0x58 => "a context table cannot be read",
            0x0a | 0x3a => "a reserved bit in its root entry",
            0x0b | 0x42 | 0x52 | 0x5a => "a reserved bit in its entry",
            0x0c | 0x72 | 0x7a => "a reserved bit in a page table",
            0x0d => "translation requests of the device are blocked",
            0x0e | 0x87 => "the address is for interrupts",
            0x31 | 0x45 => "requests with a PASID are blocked",
            0x39 => "its bus has no context table",
            0x71 => "nothing is mapped there",
            0x79 => "no permission, or nothing is mapped there",
            0x80 => "the address is not canonical",
            0x20..=0x2f => "an interrupt that is not remapped right",
            _ => "no known reason",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (reason, text) = (self.reason, self.text());
        if self.is_interrupt() {
            let index = self.address >> 48;
            return write!(
                f,
                "interrupt {index} blocked: {text} (reason {reason:#04x})"
            );
        }
        let what = if self.read { "read of" } else { "write to" };
        write!(f, "{what} IOVA {:#x}", self.address)?;
        if let Some(pasid) = self.pasid {
            write!(f, " of PASID {pasid:#x}")?;
        }
        write!(f, " blocked: {text} (reason {reason:#04x})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn records_in_words() {
        let said = |words| Fault::decode(words).map(|f| (f.rid, f.to_string()));
        assert_eq!(said([0x1000, 0]), None);
        assert_eq!(
            said([0x1234_5000, VALID | 0x5_0000_0100]),
            Some((
                Rid(0x100),
                "write to IOVA 0x12345000 blocked: nothing is mapped there to be written (reason 0x05)".into()
            ))
        );
        assert_eq!(
            said([0x1000, VALID | bit(62) | 0x2_0000_0018]).map(|(_, s)| s),
            Some("read of IOVA 0x1000 blocked: the device is blocked (reason 0x02)".into())
        );
        assert_eq!(
            said([0x1000, VALID | bit(31) | 7 << 40 | 0x71 << 32]).map(|(_, s)| s),
            Some(
                "write to IOVA 0x1000 of PASID 0x7 blocked: nothing is mapped there (reason 0x71)"
                    .into()
            )
        );
        assert_eq!(
            said([9 << 48, VALID | 0x22 << 32]).map(|(_, s)| s),
            Some(
                "interrupt 9 blocked: an interrupt that is not remapped right (reason 0x22)".into()
            )
        );
    }
}
