// SPDX-License-Identifier: GPL-2.0

//! Functions that isolate although their ACS capability does not say so: facts by device ID.
//!
//! Each is a statement of the vendor that the kernel's own table carries, which modules cannot ask
//! (`pci_dev_specific_acs_enabled()` is not exported). The facts are taken from Linux 7.3,
//! `drivers/pci/quirks.c`, where each has its reference; a hardened policy does without all of them.

use super::Kind;

/// What the facts are about.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// What the function is.
    pub kind: Kind,
    /// It is an endpoint integrated into the root complex.
    pub integrated: bool,
    /// It is one of several functions of a device on a root bus.
    pub on_root_bus_of_many: bool,
    /// The kernel has switched on what the chip set has instead of ACS.
    pub enabled_by_kernel: bool,
}

const AMD: u16 = 0x1022;
const ATI: u16 = 0x1002;
const INTEL: u16 = 0x8086;
const BROADCOM: u16 = 0x14e4;
const CAVIUM: u16 = 0x177d;
const ZHAOXIN: u16 = 0x1d17;
const WANGXUN: u16 = 0x8088;

/// Functions of AMD south bridges on machines with an AMD IOMMU: requests go up, not across.
const SOUTH_BRIDGES: &[(u16, &[u16])] = &[
    (ATI, &[0x4383, 0x4384, 0x4385, 0x4399, 0x439c, 0x439d]),
    (AMD, &[0x7809, 0x780f]),
];

/// Functions of cards whose vendors say that the functions do not send to each other.
const ENDPOINTS: &[(u16, &[u16])] = &[
    // Solarflare.
    (0x1924, &[0x0903, 0x0923, 0x0a03]),
    (
        INTEL,
        &[
            // 82598, 82599, X520, X540.
            0x10c6, 0x10db, 0x10dd, 0x10e1, 0x10f1, 0x10f7, 0x10f8, 0x10f9, 0x10fa, 0x10fb, 0x10fc,
            0x1507, 0x1514, 0x151c, 0x1529, 0x152a, 0x154d, 0x154f, 0x1551, 0x1558,
            // 82580.
            0x1509, 0x150e, 0x150f, 0x1510, 0x1511, 0x1516, 0x1527, // 82576.
            0x10c9, 0x10e6, 0x10e7, 0x10e8, 0x150a, 0x150d, 0x1518, 0x1526, // 82575.
            0x10a7, 0x10a9, 0x10d6, // I350.
            0x1521, 0x1522, 0x1523, 0x1524,
            // 82571; its cards with four ports have a switch without ACS.
            0x105e, 0x105f, 0x1060, 0x10d9, // I219.
            0x15b7, 0x15b8,
        ],
    ),
    // Emulex BE3-R, Skyhawk-R.
    (0x19a2, &[0x0710]),
    (0x10df, &[0x0720]),
    (CAVIUM, &[0xa026, 0xa059, 0xa060]),
    (
        BROADCOM,
        &[
            0x16d7, 0x1750, 0x1751, 0x1752, 0x1760, 0x1761, 0x1762, 0x1763,
        ],
    ),
    (ZHAOXIN, &[0x3038, 0x3104, 0x9083]),
];

/// Root ports that pass nothing from one to another, without saying so.
const ROOT_PORTS: &[(u16, &[u16])] = &[
    // Qualcomm QDF2xxx, SA8775P, Hamoa, Glymur; HXT SD4800.
    (0x17cb, &[0x0111, 0x0115, 0x0120, 0x0400, 0x0401]),
    (0x1dbf, &[0x0401]),
    // Applied Micro X-Gene, Ampere.
    (0x10e8, &[0xe004]),
    (
        0x1def,
        &[
            0xe005, 0xe006, 0xe007, 0xe008, 0xe009, 0xe00a, 0xe00b, 0xe00c,
        ],
    ),
    (BROADCOM, &[0xd714]),
    // Loongson.
    (
        0x0014,
        &[
            0x3c09, 0x3c19, 0x3c29, 0x7a09, 0x7a19, 0x7a29, 0x7a39, 0x7a49, 0x7a59, 0x7a69,
        ],
    ),
    // Amazon Annapurna Labs.
    (0x1c36, &[0x0031]),
    // NXP LX2xx0 and LX2xx2.
    (
        0x1957,
        &[
            0x8d80, 0x8d81, 0x8d82, 0x8d83, 0x8d88, 0x8d89, 0x8d8a, 0x8d8b, 0x8d90, 0x8d91, 0x8d92,
            0x8d93, 0x8d98, 0x8d99, 0x8d9a, 0x8d9b, 0x8da0, 0x8da1, 0x8da8, 0x8da9, 0x8db0, 0x8db1,
            0x8db8, 0x8db9,
        ],
    ),
];

fn is_in(table: &[(u16, &[u16])], s: &Subject) -> bool {
    table
        .iter()
        .any(|(vendor, devices)| *vendor == s.vendor && devices.contains(&s.device))
}

/// Intel chip-set root ports before Sunrise Point: a control of their own instead of ACS, which the
/// kernel switches on.
const fn is_intel_pch_port(device: u16) -> bool {
    matches!(
        device,
        // Ibex Peak, Cougar Point, Panther Point, Lynx Point, Lynx Point LP, Wildcat Point.
        0x3b42..=0x3b51 | 0x1c10..=0x1c1f | 0x1e10..=0x1e1f | 0x8c10..=0x8c1f | 0x9c10..=0x9c1b
            | 0x9c90..=0x9c9b
            // Wellsburg.
            | 0x8d10..=0x8d1e
            // Patsburg, Lynx Point of the 9 series: even numbers only.
            | 0x1d10 | 0x1d12 | 0x1d14 | 0x1d16 | 0x1d18 | 0x1d1a | 0x1d1c | 0x1d1e
            | 0x8c90 | 0x8c92 | 0x8c94 | 0x8c96 | 0x8c98 | 0x8c9a | 0x8c9c | 0x8c9e
    )
}

/// Does the ACS capability of this root port have registers of 32 bits (Intel Sunrise Point and its
/// kin, an erratum)?
pub const fn has_wide_acs(vendor: u16, device: u16) -> bool {
    vendor == INTEL
        && matches!(
            device,
            0xa110..=0xa11f | 0xa167..=0xa16a | 0xa290..=0xa29f | 0xa2e7..=0xa2ee | 0x9d10..=0x9d1b
        )
}

/// Says whether a fact makes the function isolating; [`None`] if there is none, and its ACS
/// capability decides.
pub fn isolation(s: &Subject) -> Option<bool> {
    let root_port = s.kind == Kind::RootPort;
    let port = root_port || s.kind == Kind::DownstreamPort;
    if s.on_root_bus_of_many && is_in(SOUTH_BRIDGES, s) {
        return Some(true);
    }
    if is_in(ENDPOINTS, s) || (root_port && is_in(ROOT_PORTS, s)) {
        return Some(true);
    }
    match (s.vendor, s.device) {
        // Intel VT-d specification 3.1, 3.16: they send to peers by translated address only.
        (INTEL, _) if s.integrated => Some(true),
        (INTEL, device) if root_port && is_intel_pch_port(device) => Some(s.enabled_by_kernel),
        (CAVIUM, 0xa000..=0xa7ff | 0xaf84 | 0xb884) if root_port => Some(true),
        (ZHAOXIN, 0x0710..=0x071e | 0x0721 | 0x0723..=0x0752) if port => Some(true),
        (
            WANGXUN,
            0x0100..=0x010f | 0x1001 | 0x2001 | 0x5010 | 0x5025 | 0x5040 | 0x5110 | 0x5125 | 0x5140,
        ) => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Subject = Subject {
        vendor: 0,
        device: 0,
        kind: Kind::Endpoint,
        integrated: false,
        on_root_bus_of_many: false,
        enabled_by_kernel: false,
    };

    #[test]
    fn facts_hold_for_what_they_are_about_only() {
        let of = |vendor, device| Subject {
            vendor,
            device,
            ..NOTHING
        };
        let port = |s: Subject| Subject {
            kind: Kind::RootPort,
            ..s
        };
        assert_eq!(isolation(&of(INTEL, 0x1521)), Some(true));
        assert_eq!(isolation(&of(INTEL, 0x10d3)), None);
        let integrated = Subject {
            integrated: true,
            ..of(INTEL, 0x10d3)
        };
        assert_eq!(isolation(&integrated), Some(true));
        assert_eq!(isolation(&of(0x17cb, 0x0400)), None);
        assert_eq!(isolation(&port(of(0x17cb, 0x0400))), Some(true));
        assert_eq!(isolation(&port(of(INTEL, 0x1c13))), Some(false));
        let on = Subject {
            enabled_by_kernel: true,
            ..port(of(INTEL, 0x1c13))
        };
        assert_eq!(isolation(&on), Some(true));
        assert_eq!(isolation(&port(of(INTEL, 0x1d11))), None);
        assert_eq!(isolation(&of(ATI, 0x4385)), None);
        let south = Subject {
            on_root_bus_of_many: true,
            ..of(ATI, 0x4385)
        };
        assert_eq!(isolation(&south), Some(true));
        assert_eq!(isolation(&port(of(CAVIUM, 0xa123))), Some(true));
        assert_eq!(isolation(&of(CAVIUM, 0xa123)), None);
        assert_eq!(isolation(&of(WANGXUN, 0x0105)), Some(true));
        assert_eq!(isolation(&port(of(ZHAOXIN, 0x0720))), None);
    }

    #[test]
    fn wide_registers_are_known_by_their_ports() {
        assert!(has_wide_acs(INTEL, 0xa110) && has_wide_acs(INTEL, 0xa2ee));
        assert!(!has_wide_acs(INTEL, 0xa120) && !has_wide_acs(AMD, 0xa110));
    }
}
