// SPDX-License-Identifier: GPL-2.0

//! Why two requester IDs share a group.

use super::{ACS_CR, ACS_RR, ACS_SV, ACS_UF};
use crate::id::Sbdf;
use core::fmt;

/// What keeps a function from isolating.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A function of its kind never has ACS.
    Never,
    /// It has no ACS capability.
    Capability,
    /// It has ACS, but these required controls are off.
    Enabled(u16),
    /// A device-specific quirk says that it does not isolate.
    Quirk,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Never => f.write_str("is of a kind without ACS"),
            Self::Capability => f.write_str("has no ACS capability"),
            Self::Quirk => f.write_str("is known not to isolate"),
            Self::Enabled(off) => {
                f.write_str("has ACS switched off (")?;
                let mut sep = "";
                for (bit, name) in [
                    (ACS_SV, "SV"),
                    (ACS_RR, "RR"),
                    (ACS_CR, "CR"),
                    (ACS_UF, "UF"),
                ] {
                    if off & bit != 0 {
                        write!(f, "{sep}{name}")?;
                        sep = " ";
                    }
                }
                f.write_str(")")
            }
        }
    }
}

/// Which rule joined two requester IDs, and on what evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// `a` is known to use `b` as its requester ID.
    DmaAlias,
    /// `a` has phantom functions enabled, and `b` is one.
    PhantomFunction,
    /// Firmware says that `a` uses `b` as its requester ID.
    FirmwareAlias,
    /// All requests of `a` carry the requester ID of `b`.
    RealDma,
    /// The bridge `a` puts `b` on requests from below.
    BridgeAlias,
    /// `a` is below the bridge `b`, which puts its own requester ID on requests.
    SharedBus,
    /// `a` and `b` are functions of one device, and one function of it can reach the others.
    Multifunction {
        /// That function.
        at: Sbdf,
        /// What it is missing.
        missing: Missing,
    },
    /// `b` is a USB 2 host controller, and `a` drives its ports for slower devices.
    Companion,
    /// `a` is a port of the switch with the upstream port `b`, and one port can reach the others.
    OpenSwitch {
        /// That port.
        at: Sbdf,
        /// What it is missing.
        missing: Missing,
    },
    /// `b` is the port above `a`, and the path up from it is open to peers.
    NoAcs {
        /// The nearest port that does not isolate: `b` or one above.
        at: Sbdf,
        /// What that port is missing.
        missing: Missing,
    },
    /// `b` is the port above `a`, and a neighbour of a port on the way up can reach below that.
    OpenNeighbour {
        /// The port on the way up: `b` or one above.
        port: Sbdf,
        /// Its neighbour, a function of the same device or a port of the same switch.
        at: Sbdf,
        /// What the neighbour is missing.
        missing: Missing,
    },
}

/// One union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// One requester ID.
    pub a: Sbdf,
    /// The other.
    pub b: Sbdf,
    /// Why they are together.
    pub rule: Rule,
}

impl Rule {
    /// A word for programs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::DmaAlias => "dma-alias",
            Self::PhantomFunction => "phantom-function",
            Self::FirmwareAlias => "firmware-alias",
            Self::RealDma => "real-dma",
            Self::BridgeAlias => "bridge-alias",
            Self::SharedBus => "shared-bus",
            Self::Multifunction { .. } => "multifunction",
            Self::Companion => "usb-companion",
            Self::OpenSwitch { .. } => "open-switch",
            Self::NoAcs { .. } => "no-acs",
            Self::OpenNeighbour { .. } => "open-neighbour",
        }
    }

    /// What would take the reason away.
    pub const fn remedy(&self) -> &'static str {
        let missing = match self {
            Self::DmaAlias => return "nothing will, the device is made so",
            Self::PhantomFunction => {
                return "phantom functions disabled in the device's control register"
            }
            Self::FirmwareAlias => return "a firmware table without the alias, if it is wrong",
            Self::RealDma => return "the controller's own mode switched off in firmware (VMD)",
            Self::BridgeAlias | Self::SharedBus => {
                return "the device in a PCI Express slot, not behind this bridge"
            }
            Self::Companion => return "nothing will, they are one controller",
            Self::Multifunction { missing, .. }
            | Self::OpenSwitch { missing, .. }
            | Self::NoAcs { missing, .. }
            | Self::OpenNeighbour { missing, .. } => missing,
        };
        match missing {
            Missing::Never => "another slot",
            Missing::Capability => {
                "another slot, or ACS in firmware's settings if the hardware has it"
            }
            Missing::Enabled(_) => "ACS enabled: in firmware, or without pci=disable_acs_redir",
            Missing::Quirk => "nothing is known",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { a, b, rule } = *self;
        match rule {
            Rule::DmaAlias => write!(f, "{a} also issues requests as {b}"),
            Rule::FirmwareAlias => write!(f, "firmware says that {a} issues requests as {b}"),
            Rule::RealDma => write!(f, "{a} issues its requests as {b}"),
            Rule::BridgeAlias => write!(f, "bridge {a} forwards requests as {b}"),
            Rule::SharedBus => write!(f, "{a} is below bridge {b}, which hides requester IDs"),
            Rule::PhantomFunction => write!(f, "{a} also issues requests as {b}, its phantom function"),
            Rule::Multifunction { at, missing } => write!(
                f,
                "{a} and {b} are functions of one device, whose functions {at} can reach: it {missing}"
            ),
            Rule::Companion => write!(f, "{a} drives ports of the USB controller {b}"),
            Rule::OpenSwitch { at, missing } => write!(
                f,
                "{a} is a port of switch {b}, whose ports {at} can reach: it {missing}"
            ),
            Rule::OpenNeighbour { port, at, missing } => write!(
                f,
                "{a} is below {b}, and {at} can reach what is below {port}: it {missing}"
            ),
            Rule::NoAcs { at, missing } => write!(
                f,
                "{a} is below {b} and open to its peers there: {at} {missing}"
            ),
        }
    }
}
