// SPDX-License-Identifier: GPL-2.0

//! Device scopes: which devices a structure speaks of.
//!
//! Source: Intel Virtualization Technology for Directed I/O, D51397-016 (revision 4.1), 8.3.1.

use super::Error;
use crate::{
    acpi::u8_at,
    id::{
        Rid,
        Sbdf, //
    },
};

/// What a scope names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeKind {
    /// One function.
    Endpoint,
    /// A bridge and everything below it.
    SubHierarchy,
    /// An I/O APIC, as a requester.
    IoApic,
    /// A timer that sends interrupts, as a requester.
    Hpet,
    /// A device of the ACPI namespace, as a requester; an ANDD structure names it.
    Namespace,
}

const HEADER_LEN_BYTES: usize = 6;

/// One scope.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// What it names.
    pub kind: ScopeKind,
    /// Number of the I/O APIC, the timer or the namespace device.
    pub enumeration: u8,
    /// The bus that the path starts on.
    pub bus: u8,
    /// Pairs of device and function number, from that bus down. Never empty.
    path: &'a [u8],
}

impl Scope<'_> {
    /// The path: devices and functions, from the start bus down.
    pub fn path(&self) -> impl Iterator<Item = (u8, u8)> + '_ {
        self.path.chunks_exact(2).filter_map(|pair| match pair {
            [dev, func] => Some((*dev, *func)),
            _ => None,
        })
    }

    /// Does it name the function at the end of `chain`, or a bridge above it?
    ///
    /// `chain` has the functions on the way from the root bus to it, itself last. Firmware that
    /// starts a path on the bus below a bridge is understood, too.
    pub fn names(&self, chain: &[Rid]) -> bool {
        if !matches!(self.kind, ScopeKind::Endpoint | ScopeKind::SubHierarchy) {
            return false;
        }
        (0..chain.len()).any(|start| {
            let Some(rest) = chain.get(start..) else {
                return false;
            };
            let steps = self.path.len() / 2;
            let on_bus = rest.first().is_some_and(|rid| rid.bus() == self.bus);
            let same = self
                .path()
                .zip(rest)
                .all(|((dev, func), rid)| (rid.dev(), rid.func()) == (dev, func));
            let reaches = match self.kind {
                ScopeKind::SubHierarchy => rest.len() >= steps,
                _ => rest.len() == steps,
            };
            on_bus && same && reaches
        })
    }

    /// The requester ID of a scope whose path is one step: all that name no function on a bus.
    pub fn requester(&self, segment: u16) -> Option<Sbdf> {
        let mut path = self.path();
        let (dev, func) = path.next()?;
        path.next().is_none().then(|| Sbdf {
            segment,
            rid: Rid::new(self.bus, dev, func),
        })
    }
}

/// The scopes of one structure. Each step takes at least six bytes; a wrong length ends the
/// iteration after its error.
#[derive(Clone, Debug)]
pub struct Scopes<'a> {
    bytes: &'a [u8],
    /// Offset of `bytes` in the table.
    offset: usize,
}

impl<'a> Scopes<'a> {
    /// The scopes in `bytes`, which lie at `offset` in the table.
    pub const fn new(bytes: &'a [u8], offset: usize) -> Self {
        Self { bytes, offset }
    }

    /// The bytes of the scopes that are left, for a copy that outlives the table.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    fn take(&mut self) -> Result<Scope<'a>, Error> {
        let (bytes, offset) = (self.bytes, self.offset);
        let left = bytes.len();
        // Whatever goes wrong before the length is known to be right ends the iteration.
        self.bytes = &[];
        let len = u8_at(bytes, 1).unwrap_or(0);
        let wrong = Error::Scope { offset, len, left };
        let size = usize::from(len);
        if size < HEADER_LEN_BYTES || size % 2 != 0 {
            return Err(wrong);
        }
        let (Some(scope), Some(rest)) = (bytes.get(..size), bytes.get(size..)) else {
            return Err(wrong);
        };
        self.bytes = rest;
        self.offset = offset.saturating_add(size);
        let kind = u8_at(scope, 0).unwrap_or(0);
        let empty = Error::EmptyScope { offset, kind };
        Ok(Scope {
            kind: match kind {
                1 => ScopeKind::Endpoint,
                2 => ScopeKind::SubHierarchy,
                3 => ScopeKind::IoApic,
                4 => ScopeKind::Hpet,
                5 => ScopeKind::Namespace,
                _ => return Err(empty),
            },
            enumeration: u8_at(scope, 4).unwrap_or(0),
            bus: u8_at(scope, 5).unwrap_or(0),
            path: match scope.get(HEADER_LEN_BYTES..) {
                None | Some([]) => return Err(empty),
                Some(path) => path,
            },
        })
    }
}

impl<'a> Iterator for Scopes<'a> {
    type Item = Result<Scope<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.bytes.is_empty()).then(|| self.take())
    }
}

/// Who is behind a unit.
#[derive(Clone, Debug)]
pub struct Claim<'a> {
    /// The segment of all of them.
    pub segment: u16,
    /// All that no other unit names.
    pub takes_rest: bool,
    /// Those it names.
    pub scopes: Scopes<'a>,
}

impl Claim<'_> {
    /// Is the function at the end of `chain` (see [`Scope::names`]) among them, as far as this unit
    /// is concerned? What a unit with the rest has, one before it may have named.
    pub fn covers(&self, segment: u16, chain: &[Rid]) -> bool {
        let names = || self.scopes.clone().flatten().any(|s| s.names(chain));
        segment == self.segment && (self.takes_rest || names())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn scopes(bytes: &[u8]) -> Vec<Result<(u8, u8), Error>> {
        Scopes::new(bytes, 0x40)
            .map(|s| s.map(|s| (s.bus, s.enumeration)))
            .collect()
    }

    #[test]
    fn lengths_that_lie_end_the_list() {
        for (bytes, left) in [
            (&[1u8, 0, 0, 0, 0, 0, 0, 0][..], 8),
            (&[1, 7, 0, 0, 0, 0, 1], 7),
            (&[1], 1),
        ] {
            let len = bytes.get(1).copied().unwrap_or(0);
            assert_eq!(
                scopes(bytes),
                [Err(Error::Scope {
                    offset: 0x40,
                    len,
                    left
                })]
            );
        }
        // A scope that names nothing does not hide the next.
        let two = [1, 6, 0, 0, 0, 0, 3, 8, 0, 0, 9, 0xf0, 0x1f, 7];
        assert_eq!(
            scopes(&two),
            [
                Err(Error::EmptyScope {
                    offset: 0x40,
                    kind: 1
                }),
                Ok((0xf0, 9))
            ]
        );
        assert_eq!(
            scopes(&[6, 8, 0, 0, 0, 0, 1, 0]),
            [Err(Error::EmptyScope {
                offset: 0x40,
                kind: 6
            })]
        );
    }

    #[test]
    fn paths_are_followed_from_the_root_or_from_a_bus_below() {
        let scope = |kind, bus, path: &'static [u8]| Scope {
            kind,
            enumeration: 0,
            bus,
            path,
        };
        let port = Rid::new(0, 0x1c, 2);
        let card = Rid::new(5, 0, 1);
        let endpoint = scope(ScopeKind::Endpoint, 0, &[0x1c, 2, 0, 1]);
        assert!(endpoint.names(&[port, card]));
        assert!(!endpoint.names(&[port]));
        assert!(!endpoint.names(&[port, card, card]));
        assert!(!scope(ScopeKind::Endpoint, 1, &[0x1c, 2]).names(&[port]));
        let below = scope(ScopeKind::SubHierarchy, 0, &[0x1c, 2]);
        assert!(below.names(&[port]) && below.names(&[port, card]));
        assert!(!below.names(&[Rid::new(0, 0x1c, 3), card]));
        // Against the specification, but seen: the path starts behind the bridge.
        assert!(scope(ScopeKind::Endpoint, 5, &[0, 1]).names(&[port, card]));
        assert!(!scope(ScopeKind::IoApic, 0, &[0x1c, 2]).names(&[port]));
        assert_eq!(
            scope(ScopeKind::IoApic, 0xf0, &[0x1f, 7])
                .requester(1)
                .map(|id| id.rid),
            Some(Rid::new(0xf0, 0x1f, 7))
        );
        assert_eq!(endpoint.requester(0), None);
    }
}
