// SPDX-License-Identifier: GPL-2.0

//! IOMMU groups: topology in, partition out, with the reason of every union.
//!
//! A group is a set of requester IDs that cannot be told apart or kept apart, so that they must share
//! one domain. A requester ID may have no device behind it. The result is a function of the topology
//! alone: neither the order of the input nor the groups of an earlier call have a say in it.
//!
//! The rules:
//!
//! 1. one requester ID, one group: quirk, firmware and bridge aliases and phantom functions, shared
//!    directly or through an ID that has no device, on whatever bus ([`Rule::DmaAlias`],
//!    [`Rule::PhantomFunction`], [`Rule::FirmwareAlias`], [`Rule::BridgeAlias`], [`Rule::RealDma`]);
//! 2. everything below a bridge that puts its own requester ID on requests ([`Rule::SharedBus`]);
//! 3. the functions of one device, if one of them does not keep its requests from the others
//!    ([`Rule::Multifunction`]): whether those isolate themselves does not matter, as they are what
//!    is reached; and the companions of a USB controller ([`Rule::Companion`]);
//! 4. the ports of a switch, if one of them forwards requests to the others ([`Rule::OpenSwitch`]);
//! 5. a function and the port above it, where requests can come down without having passed the unit:
//!    that port or one above it does not redirect ([`Rule::NoAcs`]), or a neighbour of one of them
//!    does not ([`Rule::OpenNeighbour`]).
//!
//! So two functions are apart exactly if neither can reach the other past the unit, and no two
//! requester IDs of theirs are one. `pci_device_group()` has the same aim, but joins what it finds
//! first: it leaves a function with ACS out of an open slot, the ports of an open switch apart, and
//! two devices apart that share a requester ID which has no device.
//!
//! Source: PCI Express Base Specification 6.0, 6.12 (Access Control Services), 6.13 (ARI), 7.5.3.3
//! (phantom functions); Enhanced Host Controller Interface 1.0, 4.2 (companions).
//! C source: [`drivers/iommu/iommu.c`](srctree/drivers/iommu/iommu.c),
//! [`drivers/pci/search.c`](srctree/drivers/pci/search.c), [`drivers/pci/pci.c`](srctree/drivers/pci/pci.c).

use crate::id::{Rid, Sbdf};

mod nodes;
pub mod policy;
pub mod quirks;
mod reason;

pub use nodes::{Member, Node, Partition};
pub use reason::{Missing, Reason, Rule};

use nodes::Nodes;

/// ACS: Source Validation.
pub const ACS_SV: u16 = 1 << 0;
/// ACS: P2P Request Redirect.
pub const ACS_RR: u16 = 1 << 2;
/// ACS: P2P Completion Redirect.
pub const ACS_CR: u16 = 1 << 3;
/// ACS: Upstream Forwarding.
pub const ACS_UF: u16 = 1 << 4;

/// What a port or function must enforce to count as isolating, where it implements it.
pub const ACS_REQUIRED: u16 = ACS_SV | ACS_RR | ACS_CR | ACS_UF;

/// What a function is, as far as isolation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PCI Express endpoint: native, legacy or integrated into the root complex.
    Endpoint,
    /// Root complex event collector.
    EventCollector,
    /// Root port.
    RootPort,
    /// Upstream port of a switch.
    UpstreamPort,
    /// Downstream port of a switch.
    DownstreamPort,
    /// Bridge from PCI Express to PCI or PCI-X.
    PcieToPci,
    /// Bridge from PCI or PCI-X to PCI Express.
    PciToPcie,
    /// Function without a PCI Express capability that is no PCI-to-PCI bridge; host bridges too.
    Conventional,
    /// PCI-to-PCI bridge without a PCI Express capability.
    ConventionalBridge,
}

/// How a bridge departs from the aliasing its kind implies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BridgeQuirk {
    /// `PCI_DEV_FLAGS_PCI_BRIDGE_NO_ALIAS`: passes requester IDs through.
    NoAlias,
    /// `PCI_DEV_FLAG_PCIE_BRIDGE_ALIAS`: a PCI Express bridge that does not say so.
    PcieAlias,
    /// `PCI_DEV_FLAGS_BRIDGE_XLATE_ROOT`: the unit sits here; nothing above changes an ID.
    TranslationRoot,
}

/// The ACS capability of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acs {
    /// Capability register: what is implemented.
    pub capability: u16,
    /// Control register: what is enabled.
    pub control: u16,
}

/// One PCI function of the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function<'a> {
    /// Its name and requester ID.
    pub id: Sbdf,
    /// Index, in the same snapshot, of the bridge or port above; [`None`] on a root bus. A virtual
    /// function has the port above its bus, not its physical function.
    pub parent: Option<usize>,
    /// What it is.
    pub kind: Kind,
    /// Secondary bus number of a bridge.
    pub secondary_bus: Option<u8>,
    /// Departure of a bridge from the aliasing of its kind.
    pub bridge_quirk: Option<BridgeQuirk>,
    /// The slot has several functions, as the kernel has it; clear in a virtual function.
    pub multifunction: bool,
    /// Its ACS capability, if any.
    pub acs: Option<Acs>,
    /// What a device-specific quirk says about isolation; overrules everything else.
    pub acs_quirk: Option<bool>,
    /// It is an SR-IOV virtual function: no function of a slot, whatever its number.
    pub is_virtual: bool,
    /// Class code, 24 bits: base class, sub-class, programming interface.
    pub class: u32,
    /// Most significant bits of the function number that the function varies at will (phantom
    /// functions, where enabled): 0 to 3.
    pub phantom_bits: u8,
    /// Further requester IDs it is known to use (`dma_alias_mask`), in the same segment.
    pub aliases: &'a [Rid],
    /// The requester ID firmware gives for it, in the same segment.
    pub firmware_alias: Option<Rid>,
    /// The function whose requester ID all its requests carry (`pci_real_dma_dev()`).
    pub real_dma: Option<Sbdf>,
}

/// A USB host controller's part in a device with several.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UsbHost {
    /// UHCI or OHCI: full and low speed.
    Companion,
    /// EHCI: high speed.
    Enhanced,
}

impl Function<'_> {
    /// A function with an ID and a kind, and nothing else to say about it.
    pub const fn new(id: Sbdf, kind: Kind) -> Self {
        Self {
            id,
            parent: None,
            kind,
            secondary_bus: None,
            bridge_quirk: None,
            multifunction: false,
            acs: None,
            acs_quirk: None,
            is_virtual: false,
            class: 0,
            phantom_bits: 0,
            aliases: &[],
            firmware_alias: None,
            real_dma: None,
        }
    }

    /// Says whether the function keeps its requests from its peers, and if not why.
    ///
    /// # Errors
    ///
    /// [`Missing`] names what is missing.
    pub const fn isolates(&self) -> Result<(), Missing> {
        match self.acs_quirk {
            Some(true) => return Ok(()),
            Some(false) => return Err(Missing::Quirk),
            None => {}
        }
        match self.kind {
            Kind::Conventional
            | Kind::ConventionalBridge
            | Kind::PcieToPci
            | Kind::PciToPcie
            | Kind::EventCollector => return Err(Missing::Never),
            // A function alone in its slot has no peer there.
            Kind::Endpoint | Kind::UpstreamPort if !self.multifunction => return Ok(()),
            Kind::Endpoint | Kind::UpstreamPort | Kind::RootPort | Kind::DownstreamPort => {}
        }
        match self.acs {
            None => Err(Missing::Capability),
            // What the function does not implement has no effect on it: only what it has must be on.
            Some(acs) => match ACS_REQUIRED & acs.capability & !acs.control {
                0 => Ok(()),
                off => Err(Missing::Enabled(off)),
            },
        }
    }

    /// The requester ID a bridge puts on requests from below, [`None`] if it passes theirs through.
    pub const fn alias_below(&self) -> Option<Sbdf> {
        let Some(bus) = self.secondary_bus else {
            return None;
        };
        let own = self.id;
        let secondary = Sbdf {
            segment: own.segment,
            rid: Rid::new(bus, 0, 0),
        };
        match (self.kind, self.bridge_quirk) {
            (_, Some(BridgeQuirk::TranslationRoot)) => None,
            (Kind::PcieToPci, Some(BridgeQuirk::NoAlias)) => None,
            (Kind::PcieToPci, _) => Some(secondary),
            (Kind::ConventionalBridge, Some(BridgeQuirk::PcieAlias)) => Some(secondary),
            (Kind::ConventionalBridge | Kind::PciToPcie, _) => Some(own),
            _ => None,
        }
    }

    /// The requester IDs of its phantom functions, its own among them.
    pub fn phantoms(&self) -> impl Iterator<Item = Sbdf> + use<> {
        let (id, bits) = (self.id, u32::from(self.phantom_bits.min(3)));
        // The low bits stay, all values of the others are used.
        let step = 8u8.checked_shr(bits).unwrap_or(1).max(1);
        let low = id.rid.func() & step.saturating_sub(1);
        (low..8).step_by(usize::from(step)).map(move |func| Sbdf {
            segment: id.segment,
            rid: Rid::new(id.rid.bus(), id.rid.dev(), func),
        })
    }

    /// Does it drive USB ports for another controller of its device, or have others drive its own?
    const fn is_usb_host(&self) -> Option<UsbHost> {
        match self.class {
            0x0c_03_00 | 0x0c_03_10 => Some(UsbHost::Companion),
            0x0c_03_20 => Some(UsbHost::Enhanced),
            _ => None,
        }
    }

    /// Nodes the function may need: itself and every other requester ID it names.
    const fn nodes(&self) -> usize {
        // CAST (three): a bool is 0 or 1.
        self.aliases
            .len()
            // Its own, and the other phantoms: at most 8.
            .saturating_add(
                1usize
                    << if self.phantom_bits > 3 {
                        3
                    } else {
                        self.phantom_bits
                    },
            )
            .saturating_add(self.firmware_alias.is_some() as usize)
            .saturating_add(self.real_dma.is_some() as usize)
            .saturating_add(self.alias_below().is_some() as usize)
    }

    const fn in_segment(&self, rid: Rid) -> Sbdf {
        Sbdf {
            segment: self.id.segment,
            rid,
        }
    }
}

/// Why a snapshot has no partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The scratch slice is too short.
    Scratch {
        /// How many nodes suffice.
        needed: usize,
    },
    /// Two functions have the same ID.
    Duplicate {
        /// The ID.
        id: Sbdf,
    },
    /// The parent of a function is not in the snapshot, or is below it.
    Parent {
        /// The function.
        id: Sbdf,
    },
}

/// How many nodes [`partition`] needs at most for a snapshot.
pub fn nodes_needed(functions: &[Function<'_>]) -> usize {
    functions
        .iter()
        .fold(0usize, |sum, f| sum.saturating_add(f.nodes()))
}

/// Computes the groups of a snapshot.
///
/// `scratch` needs [`nodes_needed`] nodes; it ends up as the result. `why` is told of every union, in
/// an order that depends on the topology only, and is told of none that would join what is joined
/// already: the reasons of a group form a tree over its requester IDs.
///
/// # Errors
///
/// [`Error`] if the scratch is too short or the snapshot contradicts itself.
pub fn partition<'n>(
    functions: &[Function<'_>],
    scratch: &'n mut [Node],
    mut why: impl FnMut(Reason),
) -> Result<Partition<'n>, Error> {
    let needed = nodes_needed(functions);
    let scratch = scratch.get_mut(..needed).ok_or(Error::Scratch { needed })?;
    for f in functions {
        if ancestors(functions, f).count() > functions.len() {
            return Err(Error::Parent { id: f.id });
        }
        if let Some(parent) = f.parent {
            functions.get(parent).ok_or(Error::Parent { id: f.id })?;
        }
    }
    let mut nodes = Nodes::collect(functions, scratch)?;
    shared_ids(functions, &mut nodes, &mut why);
    shared_buses(functions, &mut nodes, &mut why);
    devices(functions, &mut nodes, &mut why);
    open_switches(functions, &mut nodes, &mut why);
    unprotected_paths(functions, &mut nodes, &mut why);
    Ok(nodes.finish())
}

/// The bridges and ports above `f`, nearest first. Yields at most one more than there are functions.
fn ancestors<'f, 'a>(
    functions: &'f [Function<'a>],
    f: &Function<'a>,
) -> impl Iterator<Item = &'f Function<'a>> {
    let above = |f: &Function<'a>| f.parent.and_then(|i| functions.get(i));
    core::iter::successors(above(f), move |f| above(f)).take(functions.len().saturating_add(1))
}

/// Rule 1.
fn shared_ids(functions: &[Function<'_>], nodes: &mut Nodes<'_>, why: &mut impl FnMut(Reason)) {
    for at in 0..nodes.len() {
        let Some(f) = nodes.function(at, functions) else {
            continue;
        };
        if let Some(real) = f.real_dma {
            nodes.join(f.id, real, Rule::RealDma, why);
        }
        // In ascending order, so that the order of the list has no say in the reasons.
        let mut last = None;
        while let Some(rid) = f.aliases.iter().copied().filter(|r| Some(*r) > last).min() {
            nodes.join(f.id, f.in_segment(rid), Rule::DmaAlias, why);
            last = Some(rid);
        }
        for id in f.phantoms() {
            nodes.join(f.id, id, Rule::PhantomFunction, why);
        }
        if let Some(rid) = f.firmware_alias {
            nodes.join(f.id, f.in_segment(rid), Rule::FirmwareAlias, why);
        }
        if let Some(alias) = f.alias_below() {
            nodes.join(f.id, alias, Rule::BridgeAlias, why);
        }
    }
}

/// Rule 2. The nearest such bridge suffices: it is itself below the next.
fn shared_buses(functions: &[Function<'_>], nodes: &mut Nodes<'_>, why: &mut impl FnMut(Reason)) {
    for at in 0..nodes.len() {
        let Some(f) = nodes.function(at, functions) else {
            continue;
        };
        if f.real_dma.is_some() {
            continue;
        }
        let bridge = ancestors(functions, f)
            .take_while(|b| b.bridge_quirk != Some(BridgeQuirk::TranslationRoot))
            .find(|b| b.alias_below().is_some());
        if let Some(bridge) = bridge {
            nodes.join(f.id, bridge.id, Rule::SharedBus, why);
        }
    }
}

/// Do two functions belong to one device? Below a port of a link there is one device, whatever the
/// numbers say (ARI); elsewhere a device is a device number.
fn same_device(functions: &[Function<'_>], a: &Function<'_>, b: &Function<'_>) -> bool {
    let place = |f: &Function<'_>| (f.id.segment, f.id.rid.bus());
    if a.is_virtual || b.is_virtual || place(a) != place(b) {
        return false;
    }
    let on_link = ancestors(functions, a)
        .next()
        .is_some_and(|port| matches!(port.kind, Kind::RootPort | Kind::DownstreamPort));
    on_link || a.id.rid.dev() == b.id.rid.dev()
}

/// The lowest of the functions that `is_peer` picks which does not isolate, and what it is missing.
fn open_peer(
    functions: &[Function<'_>],
    is_peer: impl Fn(&Function<'_>) -> bool,
) -> Option<(Sbdf, Missing)> {
    functions
        .iter()
        .filter(|f| is_peer(f))
        .filter_map(|f| Some((f.id, f.isolates().err()?)))
        .min_by_key(|(id, _)| *id)
}

/// The function of a device of several that lets its requests out to the others.
fn open_device(functions: &[Function<'_>], f: &Function<'_>) -> Option<(Sbdf, Missing)> {
    let is_peer = |other: &Function<'_>| other.multifunction && same_device(functions, f, other);
    open_peer(functions, is_peer)
}

/// The port of a switch that lets requests out to the other ports, for one of its ports.
fn open_switch(functions: &[Function<'_>], f: &Function<'_>) -> Option<(Sbdf, Missing)> {
    let parent = f.parent?;
    if f.kind != Kind::DownstreamPort {
        return None;
    }
    open_peer(functions, |other| {
        other.kind == Kind::DownstreamPort && other.parent == Some(parent)
    })
}

/// Rule 3. Every function is joined with the first of its device.
fn devices(functions: &[Function<'_>], nodes: &mut Nodes<'_>, why: &mut impl FnMut(Reason)) {
    for at in 0..nodes.len() {
        let Some(f) = nodes.function(at, functions) else {
            continue;
        };
        let in_device = |other: &&Function<'_>| same_device(functions, f, other);
        if let Some((open, missing)) = open_device(functions, f) {
            let first = functions.iter().filter(in_device).map(|o| o.id).min();
            if let Some(first) = first.filter(|first| *first != f.id) {
                nodes.join(first, f.id, Rule::Multifunction { at: open, missing }, why);
            }
        }
        if f.is_usb_host() == Some(UsbHost::Companion) {
            let hosts = functions.iter().filter(in_device);
            let enhanced = hosts.filter(|o| o.is_usb_host() == Some(UsbHost::Enhanced));
            if let Some(host) = enhanced.map(|o| o.id).min() {
                nodes.join(f.id, host, Rule::Companion, why);
            }
        }
    }
}

/// Rule 4.
fn open_switches(functions: &[Function<'_>], nodes: &mut Nodes<'_>, why: &mut impl FnMut(Reason)) {
    for at in 0..nodes.len() {
        let Some(f) = nodes.function(at, functions) else {
            continue;
        };
        let upstream = f.parent.and_then(|i| functions.get(i));
        if let (Some((at, missing)), Some(up)) = (open_switch(functions, f), upstream) {
            nodes.join(f.id, up.id, Rule::OpenSwitch { at, missing }, why);
        }
    }
}

/// Rule 5.
fn unprotected_paths(
    functions: &[Function<'_>],
    nodes: &mut Nodes<'_>,
    why: &mut impl FnMut(Reason),
) {
    for at in 0..nodes.len() {
        let Some(f) = nodes.function(at, functions) else {
            continue;
        };
        if f.real_dma.is_some() {
            continue;
        }
        let Some(parent) = ancestors(functions, f).next() else {
            continue;
        };
        let gap = ancestors(functions, f).find_map(|port| {
            if let Err(missing) = port.isolates() {
                return Some(Rule::NoAcs {
                    at: port.id,
                    missing,
                });
            }
            let open = open_device(functions, port).or_else(|| open_switch(functions, port));
            open.map(|(at, missing)| Rule::OpenNeighbour {
                port: port.id,
                at,
                missing,
            })
        });
        if let Some(rule) = gap {
            nodes.join(f.id, parent.id, rule, why);
        }
    }
}

#[cfg(test)]
mod tests;
