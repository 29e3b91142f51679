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
    /// Firmware says that `a` uses `b` as its requester ID.
    FirmwareAlias,
    /// All requests of `a` carry the requester ID of `b`.
    RealDma,
    /// The bridge `a` puts `b` on requests from below.
    BridgeAlias,
    /// `a` is below the bridge `b`, which puts its own requester ID on requests.
    SharedBus,
    /// `a` and `b` are functions of one slot, and neither isolates.
    Multifunction {
        /// What `b` is missing.
        missing: Missing,
    },
    /// `b` is the port above `a`, and the path up from it is open to peers.
    NoAcs {
        /// The nearest port that does not isolate: `b` or one above.
        at: Sbdf,
        /// What that port is missing.
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

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { a, b, rule } = *self;
        match rule {
            Rule::DmaAlias => write!(f, "{a} also issues requests as {b}"),
            Rule::FirmwareAlias => write!(f, "firmware says that {a} issues requests as {b}"),
            Rule::RealDma => write!(f, "{a} issues its requests as {b}"),
            Rule::BridgeAlias => write!(f, "bridge {a} forwards requests as {b}"),
            Rule::SharedBus => write!(f, "{a} is below bridge {b}, which hides requester IDs"),
            Rule::Multifunction { missing } => write!(
                f,
                "{a} and {b} are functions of one slot and not isolated: {b} {missing}"
            ),
            Rule::NoAcs { at, missing } => write!(
                f,
                "{a} is below {b} and open to its peers there: {at} {missing}"
            ),
        }
    }
}
