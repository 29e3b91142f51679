// SPDX-License-Identifier: GPL-2.0

//! What it costs that interrupts are not remapped: a module comes too late for that, and the parameters that leave
//! the units to it switch it off.

use iommu_core::acpi::madt;
use kernel::prelude::*;
use kernel_iommu::{
    acpi_table::AcpiTable,
    x2apic, //
};

/// One line in the log, two where processors are lost.
pub(crate) fn say_cost() {
    pr_info!("interrupts are not remapped: none are posted to guests, and VFIO needs allow_unsafe_interrupts=1\n");
    if x2apic::is_on() {
        return;
    }
    let Some(table) = AcpiTable::get(b"APIC") else {
        return;
    };
    match madt::processors_beyond_xapic(table.bytes()) {
        Ok(0) | Err(_) => (),
        Ok(n) => pr_warn!(
            "without interrupt remapping there is no x2APIC: {} processors with APIC IDs above 254 are not used\n",
            n
        ),
    }
}
