// SPDX-License-Identifier: GPL-2.0

//! Topologies and their groups.
//!
//! Those of QEMU 11.1 were observed with Linux 7.2 on AMD-Vi and VT-d. The ones marked *ours* are
//! where the kernel gives smaller groups than reachability or the requester IDs allow.

use super::*;

pub(super) struct Topology {
    pub(super) name: &'static str,
    pub(super) functions: Functions,
    pub(super) groups: &'static str,
}

fn function(kind: Kind, bus: u8, dev: u8, func: u8) -> Function<'static> {
    Function::new(
        Sbdf {
            segment: 0,
            rid: Rid::new(bus, dev, func),
        },
        kind,
    )
}

pub(super) fn endpoint(bus: u8, dev: u8, func: u8) -> Function<'static> {
    function(Kind::Endpoint, bus, dev, func)
}

fn conventional(bus: u8, dev: u8, func: u8) -> Function<'static> {
    function(Kind::Conventional, bus, dev, func)
}

const ACS_ON: Option<Acs> = Some(Acs {
    capability: 0x5f,
    control: 0x1d,
});
const ACS_OFF: Option<Acs> = Some(Acs {
    capability: 0x5f,
    control: 0,
});

fn bridge(kind: Kind, bus: u8, dev: u8, secondary: u8) -> Function<'static> {
    let mut f = function(kind, bus, dev, 0);
    f.secondary_bus = Some(secondary);
    f
}

/// pcie-root-port: ACS, enabled by the kernel.
fn root_port(dev: u8, secondary: u8) -> Function<'static> {
    let mut f = bridge(Kind::RootPort, 0, dev, secondary);
    f.acs = ACS_ON;
    f
}

/// ioh3420: no ACS.
fn bare_root_port(dev: u8, secondary: u8) -> Function<'static> {
    bridge(Kind::RootPort, 0, dev, secondary)
}

trait With: Sized {
    fn with(self, change: impl FnOnce(&mut Self)) -> Self;
    fn below(self, parent: usize) -> Self;
    fn multi(self) -> Self;
    fn vf(self) -> Self;
    fn acs(self, acs: Option<Acs>) -> Self;
}

impl With for Function<'static> {
    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
    fn below(self, parent: usize) -> Self {
        self.with(|f| f.parent = Some(parent))
    }
    fn multi(self) -> Self {
        self.with(|f| f.multifunction = true)
    }
    fn vf(self) -> Self {
        self.with(|f| f.is_virtual = true)
    }
    fn acs(self, acs: Option<Acs>) -> Self {
        self.with(|f| f.acs = acs)
    }
}

fn func(mut f: Function<'static>, func: u8) -> Function<'static> {
    f.id.rid = Rid::new(f.id.rid.bus(), f.id.rid.dev(), func);
    f
}

pub(super) fn topologies() -> Vec<Topology> {
    use Kind::*;
    const ALIAS_1_0: &[Rid] = &[Rid::new(0, 1, 0)];
    const ALIAS_20_0: &[Rid] = &[Rid::new(0, 20, 0)];
    let t = |name, functions: &[Function<'static>], groups| Topology {
        name,
        functions: functions.to_vec(),
        groups,
    };
    vec![
        t(
            "root ports with ACS",
            &[
                root_port(4, 1),
                endpoint(1, 0, 0).below(0),
                root_port(5, 2),
                endpoint(2, 0, 0).below(2),
            ],
            "00:04.0 | 00:05.0 | 01:00.0 | 02:00.0",
        ),
        t(
            "multifunction root ports with ACS",
            &[
                root_port(8, 1).multi(),
                func(root_port(8, 2), 1).multi(),
                endpoint(1, 0, 0).below(0),
            ],
            "00:08.0 | 00:08.1 | 01:00.0",
        ),
        t(
            "multifunction root ports, disable_acs_redir",
            &[
                root_port(8, 1).multi().with(|f| f.acs = ACS_OFF),
                func(root_port(8, 2), 1).multi().with(|f| f.acs = ACS_OFF),
                endpoint(1, 0, 0).below(0),
                endpoint(2, 0, 0).below(1),
            ],
            "00:08.0 00:08.1 01:00.0 02:00.0",
        ),
        t(
            "ours: multifunction root ports, one without ACS, reach below each other",
            &[
                root_port(8, 1).multi(),
                func(bare_root_port(8, 2), 1).multi(),
                func(bare_root_port(8, 3), 2).multi(),
                endpoint(1, 0, 0).below(0),
                endpoint(2, 0, 0).below(1),
            ],
            "00:08.0 00:08.1 00:08.2 01:00.0 02:00.0",
        ),
        t(
            "ioh3420",
            &[bare_root_port(4, 1), endpoint(1, 0, 0).below(0)],
            "00:04.0 01:00.0",
        ),
        t(
            "two ioh3420 functions with a switch",
            &[
                bare_root_port(4, 1).multi(),
                func(bare_root_port(4, 5), 1).multi(),
                bridge(UpstreamPort, 1, 0, 2).below(0),
                bridge(DownstreamPort, 2, 0, 3).below(2),
                bridge(DownstreamPort, 2, 1, 4).below(2),
                endpoint(3, 0, 0).below(3),
                endpoint(4, 0, 0).below(4),
            ],
            "00:04.0 00:04.1 01:00.0 02:00.0 02:01.0 03:00.0 04:00.0",
        ),
        t(
            "ours: x3130 switch without ACS under a root port with ACS",
            &[
                root_port(4, 1),
                bridge(UpstreamPort, 1, 0, 2).below(0),
                bridge(DownstreamPort, 2, 0, 3).below(1),
                bridge(DownstreamPort, 2, 1, 4).below(1),
                endpoint(3, 0, 0).below(2),
                endpoint(4, 0, 0).below(3),
            ],
            "00:04.0 | 01:00.0 02:00.0 02:01.0 03:00.0 04:00.0",
        ),
        t(
            "switch with ACS",
            &[
                root_port(4, 1),
                bridge(UpstreamPort, 1, 0, 2).below(0),
                bridge(DownstreamPort, 2, 0, 3)
                    .below(1)
                    .with(|f| f.acs = ACS_ON),
                bridge(DownstreamPort, 2, 1, 4)
                    .below(1)
                    .with(|f| f.acs = ACS_ON),
                endpoint(3, 0, 0).below(2),
                endpoint(4, 0, 0).below(3),
            ],
            "00:04.0 | 01:00.0 | 02:00.0 | 02:01.0 | 03:00.0 | 04:00.0",
        ),
        t(
            "e1000e functions",
            &[
                root_port(4, 1),
                endpoint(1, 0, 0).below(0).multi(),
                endpoint(1, 0, 1).below(0).multi(),
            ],
            "00:04.0 | 01:00.0 01:00.1",
        ),
        t(
            "pcie-pci-bridge with a nested bridge",
            &[
                bridge(PcieToPci, 0, 3, 1),
                conventional(1, 1, 0).below(0),
                bridge(ConventionalBridge, 1, 2, 2).below(0),
                conventional(2, 1, 0).below(2),
            ],
            "00:03.0 (01:00.0) 01:01.0 01:02.0 02:01.0",
        ),
        t(
            "pcie-pci-bridge behind a root port",
            &[
                root_port(4, 1),
                bridge(PcieToPci, 1, 0, 2).below(0),
                conventional(2, 0, 0).below(1),
                conventional(2, 1, 0).below(1),
            ],
            "00:04.0 | 01:00.0 02:00.0 02:01.0",
        ),
        t(
            "pcie-pci-bridge that passes requester IDs",
            &[
                bridge(PcieToPci, 0, 3, 1).with(|f| f.bridge_quirk = Some(BridgeQuirk::NoAlias)),
                conventional(1, 1, 0).below(0),
            ],
            "00:03.0 01:01.0",
        ),
        t(
            "i82801b11-bridge",
            &[
                bridge(ConventionalBridge, 0, 3, 1),
                conventional(1, 0, 0).below(0),
                conventional(1, 1, 0).below(0),
            ],
            "00:03.0 01:00.0 01:01.0",
        ),
        t(
            "i82801b11-bridge behind a root port",
            &[
                root_port(4, 1),
                bridge(ConventionalBridge, 1, 0, 2)
                    .below(0)
                    .with(|f| f.bridge_quirk = Some(BridgeQuirk::PcieAlias)),
                conventional(2, 1, 0).below(1),
            ],
            "00:04.0 | 01:00.0 (02:00.0) 02:01.0",
        ),
        t(
            "pci-bridge and a device beside it",
            &[
                bridge(ConventionalBridge, 0, 3, 1),
                conventional(1, 1, 0).below(0),
                conventional(0, 5, 0),
            ],
            "00:03.0 01:01.0 | 00:05.0",
        ),
        t(
            "reverse bridge",
            &[
                bridge(PciToPcie, 0, 3, 1),
                bridge(DownstreamPort, 1, 0, 2)
                    .below(0)
                    .with(|f| f.acs = ACS_ON),
                endpoint(2, 0, 0).below(1),
            ],
            "00:03.0 01:00.0 02:00.0",
        ),
        t(
            "pxb-pcie",
            &[
                conventional(0, 9, 0),
                root_port(0, 65).with(|f| f.id.rid = Rid::new(64, 0, 0)),
                endpoint(65, 0, 0).below(1),
            ],
            "00:09.0 | 40:00.0 | 41:00.0",
        ),
        t(
            "UHCI and EHCI companions",
            &[
                conventional(0, 0x1d, 0).multi(),
                conventional(0, 0x1d, 1).multi(),
                conventional(0, 0x1d, 2).multi(),
                conventional(0, 0x1d, 7).multi(),
            ],
            "00:1d.0 00:1d.1 00:1d.2 00:1d.7",
        ),
        t(
            "q35 host bridge and southbridge",
            &[
                conventional(0, 0, 0),
                conventional(0, 0x1f, 0).multi(),
                conventional(0, 0x1f, 2).multi(),
                conventional(0, 0x1f, 3).multi(),
            ],
            "00:00.0 | 00:1f.0 00:1f.2 00:1f.3",
        ),
        t(
            "southbridge whose last function alone admits to siblings",
            &[
                conventional(0, 0x1f, 0),
                conventional(0, 0x1f, 1),
                conventional(0, 0x1f, 2).multi(),
                conventional(0, 0x1e, 0),
                conventional(0, 0x1e, 1),
            ],
            "00:1e.0 | 00:1e.1 | 00:1f.0 00:1f.1 00:1f.2",
        ),
        t(
            "igb with virtual functions",
            &[
                root_port(4, 1),
                endpoint(1, 0, 0).below(0).multi(),
                endpoint(1, 0x10, 0).below(0).vf(),
                endpoint(1, 0x10, 2).below(0).vf(),
                endpoint(1, 0x10, 4).below(0).vf(),
            ],
            "00:04.0 | 01:00.0 | 01:10.0 | 01:10.2 | 01:10.4",
        ),
        t(
            "single functions on the root bus",
            &[endpoint(0, 8, 0), endpoint(0, 9, 0), conventional(0, 10, 0)],
            "00:08.0 | 00:09.0 | 00:0a.0",
        ),
        t(
            "fixed DMA alias to a device (Adaptec)",
            &[
                endpoint(0, 1, 0),
                endpoint(0, 8, 0).with(|f| f.aliases = ALIAS_1_0),
            ],
            "00:01.0 00:08.0",
        ),
        t(
            "ours: two devices, one alias without device",
            &[
                endpoint(0, 8, 0).with(|f| f.aliases = ALIAS_20_0),
                endpoint(0, 9, 0).with(|f| f.aliases = ALIAS_20_0),
                endpoint(0, 10, 0),
            ],
            "00:08.0 00:09.0 (00:14.0) | 00:0a.0",
        ),
        t(
            "ours: firmware alias without device, one a quirk",
            &[
                endpoint(0, 4, 0).with(|f| f.firmware_alias = Some(Rid::new(0, 3, 0))),
                endpoint(0, 5, 0).with(|f| f.firmware_alias = Some(Rid::new(0, 3, 0))),
            ],
            "(00:03.0) 00:04.0 00:05.0",
        ),
        t(
            "ours: firmware alias on another bus",
            &[
                root_port(4, 1),
                root_port(5, 2),
                endpoint(1, 0, 0).below(0),
                endpoint(2, 0, 0)
                    .below(1)
                    .with(|f| f.firmware_alias = Some(Rid::new(1, 0, 0))),
            ],
            "00:04.0 | 00:05.0 | 01:00.0 02:00.0",
        ),
        t(
            "endpoint behind VMD, in a segment of its own",
            &[
                endpoint(0, 0xe, 0),
                bridge(RootPort, 0, 0, 1).with(|f| {
                    f.id.segment = 0x1000;
                    f.real_dma = Some(endpoint(0, 0xe, 0).id);
                }),
                endpoint(1, 0, 0).below(1).with(|f| {
                    f.id.segment = 0x1000;
                    f.real_dma = Some(endpoint(0, 0xe, 0).id);
                }),
            ],
            "00:0e.0 1000:00:00.0 1000:01:00.0",
        ),
        t(
            "requests that leave by another function do not share the path of their own",
            &[
                endpoint(0, 0xe, 0),
                bare_root_port(4, 1),
                endpoint(1, 0, 0)
                    .below(1)
                    .with(|f| f.real_dma = Some(endpoint(0, 0xe, 0).id)),
                bridge(ConventionalBridge, 0, 5, 2),
                conventional(2, 1, 0)
                    .below(3)
                    .with(|f| f.real_dma = Some(endpoint(0, 0xe, 0).id)),
            ],
            "00:04.0 | 00:05.0 | 00:0e.0 01:00.0 02:01.0",
        ),
        t(
            "same numbers in two segments",
            &[
                conventional(0, 1, 0).multi(),
                conventional(0, 1, 1).multi().with(|f| f.id.segment = 1),
            ],
            "00:01.0 | 0001:00:01.1",
        ),
        t(
            "a quirk says the root port isolates",
            &[
                bare_root_port(4, 1).with(|f| f.acs_quirk = Some(true)),
                endpoint(1, 0, 0).below(0),
            ],
            "00:04.0 | 01:00.0",
        ),
        t(
            "the unit sits at a bridge",
            &[
                bridge(PcieToPci, 0, 3, 1).with(|f| f.acs_quirk = Some(true)),
                bridge(PcieToPci, 1, 0, 2).below(0).with(|f| {
                    f.bridge_quirk = Some(BridgeQuirk::TranslationRoot);
                    f.acs_quirk = Some(true);
                }),
                endpoint(2, 0, 0).below(1),
            ],
            "00:03.0 01:00.0 | 02:00.0",
        ),
        t(
            "ours: a function with ACS beside one without",
            &[
                root_port(4, 1),
                endpoint(1, 0, 0).below(0).multi().acs(ACS_ON),
                endpoint(1, 0, 1).below(0).multi(),
            ],
            "00:04.0 | 01:00.0 01:00.1",
        ),
        t(
            "functions that all have ACS",
            &[
                root_port(4, 1),
                endpoint(1, 0, 0).below(0).multi().acs(ACS_ON),
                endpoint(1, 0, 1).below(0).multi().acs(ACS_ON),
            ],
            "00:04.0 | 01:00.0 | 01:00.1",
        ),
        t(
            "ours: switch, one of three ports without ACS",
            &[
                root_port(4, 1),
                bridge(UpstreamPort, 1, 0, 2).below(0),
                bridge(DownstreamPort, 2, 0, 3).below(1).acs(ACS_ON),
                bridge(DownstreamPort, 2, 1, 4).below(1),
                bridge(DownstreamPort, 2, 2, 5).below(1).acs(ACS_ON),
                endpoint(3, 0, 0).below(2),
                endpoint(4, 0, 0).below(3),
                endpoint(5, 0, 0).below(4),
            ],
            "00:04.0 | 01:00.0 02:00.0 02:01.0 02:02.0 03:00.0 04:00.0 05:00.0",
        ),
        t(
            "ours: an open switch below a port of one with ACS",
            &[
                root_port(4, 1),
                bridge(UpstreamPort, 1, 0, 2).below(0),
                bridge(DownstreamPort, 2, 0, 3).below(1).acs(ACS_ON),
                bridge(DownstreamPort, 2, 1, 8).below(1).acs(ACS_ON),
                bridge(UpstreamPort, 3, 0, 4).below(2),
                bridge(DownstreamPort, 4, 0, 5).below(4),
                bridge(DownstreamPort, 4, 1, 6).below(4),
                endpoint(5, 0, 0).below(5),
                endpoint(6, 0, 0).below(6),
                endpoint(8, 0, 0).below(3),
            ],
            "00:04.0 | 01:00.0 | 02:00.0 | 02:01.0 | 03:00.0 04:00.0 04:01.0 05:00.0 06:00.0 | 08:00.0",
        ),
        t(
            "ours: a switch with ACS below a port of an open one",
            &[
                root_port(4, 1),
                bridge(UpstreamPort, 1, 0, 2).below(0),
                bridge(DownstreamPort, 2, 0, 3).below(1),
                bridge(DownstreamPort, 2, 1, 8).below(1).acs(ACS_ON),
                bridge(UpstreamPort, 8, 0, 9).below(3),
                bridge(DownstreamPort, 9, 0, 10).below(4).acs(ACS_ON),
                endpoint(3, 0, 0).below(2),
                endpoint(10, 0, 0).below(5),
            ],
            "00:04.0 | 01:00.0 02:00.0 02:01.0 03:00.0 08:00.0 09:00.0 0a:00.0",
        ),
        t(
            "switch with ACS below a root port without",
            &[
                bare_root_port(4, 1),
                bridge(UpstreamPort, 1, 0, 2).below(0),
                bridge(DownstreamPort, 2, 0, 3).below(1).acs(ACS_ON),
                bridge(DownstreamPort, 2, 1, 4).below(1).acs(ACS_ON),
                endpoint(3, 0, 0).below(2),
                endpoint(4, 0, 0).below(3),
            ],
            "00:04.0 01:00.0 02:00.0 02:01.0 03:00.0 04:00.0",
        ),
        t(
            "a switch's ports whose ACS is off",
            &[
                root_port(4, 1),
                bridge(UpstreamPort, 1, 0, 2).below(0),
                bridge(DownstreamPort, 2, 0, 3).below(1).acs(ACS_OFF),
                bridge(DownstreamPort, 2, 1, 4).below(1).acs(ACS_OFF),
                endpoint(4, 0, 0).below(3),
            ],
            "00:04.0 | 01:00.0 02:00.0 02:01.0 04:00.0",
        ),
        t(
            "a switch's ports that isolate by a quirk",
            &[
                root_port(4, 1),
                bridge(UpstreamPort, 1, 0, 2).below(0),
                bridge(DownstreamPort, 2, 0, 3)
                    .below(1)
                    .with(|f| f.acs_quirk = Some(true)),
                bridge(DownstreamPort, 2, 1, 4)
                    .below(1)
                    .with(|f| f.acs_quirk = Some(true)),
                endpoint(4, 0, 0).below(3),
            ],
            "00:04.0 | 01:00.0 | 02:00.0 | 02:01.0 | 04:00.0",
        ),
        t(
            "a switch with one port, without ACS",
            &[
                root_port(4, 1),
                bridge(UpstreamPort, 1, 0, 2).below(0),
                bridge(DownstreamPort, 2, 0, 3).below(1),
                endpoint(3, 0, 0).below(2),
            ],
            "00:04.0 | 01:00.0 02:00.0 03:00.0",
        ),
        t(
            "functions beyond the eighth of one device (ARI)",
            &[
                root_port(4, 1),
                endpoint(1, 0, 0).below(0).multi(),
                endpoint(1, 1, 0).below(0).multi(),
            ],
            "00:04.0 | 01:00.0 01:01.0",
        ),
        t(
            "devices of one root bus are not one device",
            &[endpoint(0, 4, 0).multi(), endpoint(0, 5, 0).multi()],
            "00:04.0 | 00:05.0",
        ),
        t(
            "virtual functions beside two physical ones without ACS",
            &[
                root_port(4, 1),
                endpoint(1, 0, 0).below(0).multi(),
                endpoint(1, 0, 1).below(0).multi(),
                endpoint(1, 0x10, 0).below(0).vf(),
                endpoint(1, 0x10, 1).below(0).vf(),
            ],
            "00:04.0 | 01:00.0 01:00.1 | 01:10.0 | 01:10.1",
        ),
        t(
            "virtual functions on a bus of their own below an open root port",
            &[
                bare_root_port(4, 1),
                endpoint(1, 0, 0).below(0),
                endpoint(2, 0, 0).below(0).vf(),
            ],
            "00:04.0 01:00.0 02:00.0",
        ),
        t(
            "USB companions that have ACS are one device all the same",
            &[
                endpoint(0, 0x1d, 0).multi().acs(ACS_ON).with(|f| f.class = 0x0c0300),
                endpoint(0, 0x1d, 1).multi().acs(ACS_ON).with(|f| f.class = 0x0c0310),
                endpoint(0, 0x1d, 3).multi().acs(ACS_ON).with(|f| f.class = 0x020000),
                endpoint(0, 0x1d, 7).multi().acs(ACS_ON).with(|f| f.class = 0x0c0320),
            ],
            "00:1d.0 00:1d.1 00:1d.7 | 00:1d.3",
        ),
        t(
            "an xHCI controller has no companions",
            &[
                endpoint(0, 0x14, 0).multi().acs(ACS_ON).with(|f| f.class = 0x0c0330),
                endpoint(0, 0x14, 1).multi().acs(ACS_ON).with(|f| f.class = 0x0c0300),
            ],
            "00:14.0 | 00:14.1",
        ),
        t(
            "phantom functions by one bit",
            &[endpoint(0, 4, 1).with(|f| f.phantom_bits = 1), endpoint(0, 5, 0)],
            "00:04.1 (00:04.5) | 00:05.0",
        ),
        t(
            "a phantom function that is a function",
            &[
                endpoint(0, 4, 0).multi().acs(ACS_ON).with(|f| f.phantom_bits = 2),
                endpoint(0, 4, 1).multi().acs(ACS_ON),
                endpoint(0, 4, 2).multi().acs(ACS_ON),
            ],
            "00:04.0 00:04.2 (00:04.4) (00:04.6) | 00:04.1",
        ),
        t(
            "phantom functions by all bits",
            &[endpoint(0, 4, 0).with(|f| f.phantom_bits = 3)],
            "00:04.0 (00:04.1) (00:04.2) (00:04.3) (00:04.4) (00:04.5) (00:04.6) (00:04.7)",
        ),
        t(
            "ours: firmware aliases in a chain",
            &[
                endpoint(0, 4, 0).with(|f| f.firmware_alias = Some(Rid::new(0, 5, 0))),
                endpoint(0, 5, 0).with(|f| f.firmware_alias = Some(Rid::new(0, 6, 0))),
                endpoint(0, 6, 0),
                endpoint(0, 7, 0),
            ],
            "00:04.0 00:05.0 00:06.0 | 00:07.0",
        ),
        t(
            "an integrated endpoint beside an open root port of its device",
            &[
                endpoint(0, 4, 0).multi().acs(ACS_ON),
                func(bare_root_port(4, 1), 1).multi(),
                endpoint(1, 0, 0).below(1),
            ],
            "00:04.0 00:04.1 01:00.0",
        ),
        t(
            "an upstream port beside an endpoint function without ACS",
            &[
                root_port(4, 1),
                bridge(UpstreamPort, 1, 0, 2).below(0).multi().acs(ACS_ON),
                endpoint(1, 0, 1).below(0).multi(),
                bridge(DownstreamPort, 2, 0, 3).below(1).acs(ACS_ON),
                endpoint(3, 0, 0).below(3),
            ],
            "00:04.0 | 01:00.0 01:00.1 02:00.0 03:00.0",
        ),
        t(
            "a bridge said to isolate hides requester IDs all the same",
            &[
                bridge(PcieToPci, 0, 3, 1).with(|f| f.acs_quirk = Some(true)),
                conventional(1, 1, 0).below(0),
                conventional(1, 2, 0).below(0),
            ],
            "00:03.0 (01:00.0) 01:01.0 01:02.0",
        ),
    ]
}
