// SPDX-License-Identifier: GPL-2.0

//! Pure logic of the IOMMU driver: tables, entries, page tables, addresses, groups.
//!
//! Nothing here touches hardware, memory it was not given, or the kernel. The same files are
//! built by Kbuild into the module and by cargo for the host tests.
//!
//! # Glossary
//!
//! - *iova*: the address a device puts on the bus; *oa*: the output address it is translated to.
//! - *item*: one 8-byte slot of a table; *entry*: one or more items that act as one; *leaf*: an
//!   entry that translates; *table*: an entry that points to the next lower level.
//! - *level*: 0 holds leaves only, the top level is the one the device entry points at.
//! - *rid*: requester ID, bus:device.function of a PCI request. It need not belong to a device.
//! - *did*: domain ID, the tag of a domain's translations in the unit's caches.
//! - *dte*: AMD device-table entry.
//! - *last*: the inclusive end of a range, so that the last page of a 64-bit space has a name.

#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]
// Host tests may panic: that is how they fail.
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

#[cfg(test)]
extern crate std;

pub mod acpi;
pub mod addr;
pub mod amd;
pub(crate) mod bits;
pub mod commit;
pub mod group;
pub mod id;
pub mod plan;
pub mod pt;
pub mod slab;
pub mod sort;
pub mod vtd;
