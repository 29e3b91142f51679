// SPDX-License-Identifier: GPL-2.0

//! Identities on the bus and in the unit's caches.

use core::fmt;

/// A PCI requester ID inside one segment: bus 15:8, device 7:3, function 2:0.
///
/// Source: PCI Express Base Specification 6.0, 2.2.6.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rid(pub u16);

impl Rid {
    /// Builds a requester ID; bits beyond 5 of `dev` and 3 of `func` are ignored.
    pub const fn new(bus: u8, dev: u8, func: u8) -> Self {
        // CAST: u8 to u16 never loses a bit.
        Self(((bus as u16) << 8) | (((dev & 0x1f) as u16) << 3) | (func & 7) as u16)
    }

    /// Bus number.
    pub const fn bus(self) -> u8 {
        // CAST: the shift leaves 8 bits.
        (self.0 >> 8) as u8
    }

    /// Device and function as one byte.
    pub const fn devfn(self) -> u8 {
        // CAST: masked to 8 bits.
        (self.0 & 0xff) as u8
    }

    /// Device number, 0 to 31.
    pub const fn dev(self) -> u8 {
        self.devfn() >> 3
    }

    /// Function number, 0 to 7.
    pub const fn func(self) -> u8 {
        self.devfn() & 7
    }
}

impl fmt::Display for Rid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus(), self.dev(), self.func())
    }
}

/// A requester ID with its PCI segment: the name of a requester in the whole machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sbdf {
    /// PCI segment (domain).
    pub segment: u16,
    /// Requester ID inside the segment.
    pub rid: Rid,
}

impl fmt::Display for Sbdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{}", self.segment, self.rid)
    }
}

/// Tag of a domain's translations in a unit's caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainId(pub u16);

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_requester_prints_as_lspci_does() {
        let s = Sbdf {
            segment: 0,
            rid: Rid::new(1, 0x1f, 7),
        };
        assert_eq!(s.to_string(), "0000:01:1f.7");
        assert_eq!(s.rid.0, 0x1ff);
    }
}
