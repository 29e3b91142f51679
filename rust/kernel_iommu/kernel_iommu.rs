// SPDX-License-Identifier: GPL-2.0

//! Out-of-tree crate root of the IOMMU abstractions.
//!
//! Each module below is shaped like a file of the `kernel` crate and would move there as it is;
//! this list is all that would go away.

#![deny(missing_docs)]
#![deny(unsafe_op_in_unsafe_fn)]

#[path = "../kernel/acpi_table.rs"]
pub mod acpi_table;
#[path = "../kernel/bus_notifier.rs"]
pub mod bus_notifier;
#[path = "../kernel/control.rs"]
pub mod control;
#[path = "../kernel/hw_pages.rs"]
pub mod hw_pages;
#[path = "../kernel/io_unmanaged.rs"]
pub mod io_unmanaged;
#[path = "../kernel/irq_line.rs"]
pub mod irq_line;
#[path = "../kernel/irq_saved.rs"]
pub mod irq_saved;
#[path = "../kernel/module_string.rs"]
pub mod module_string;
#[path = "../kernel/once_box.rs"]
pub mod once_box;
#[path = "../kernel/pci_topology.rs"]
pub mod pci_topology;
#[path = "../kernel/per_cpu_counters.rs"]
pub mod per_cpu_counters;
#[path = "../kernel/ratelimit.rs"]
pub mod ratelimit;
#[path = "../kernel/shared_word.rs"]
pub mod shared_word;
#[path = "../kernel/shrinker.rs"]
pub mod shrinker;
#[path = "../kernel/syscore.rs"]
pub mod syscore;
#[path = "../kernel/unit_irq.rs"]
pub mod unit_irq;
#[path = "../kernel/x2apic.rs"]
pub mod x2apic;

/// The IOMMU core's side.
#[path = "../kernel/iommu"]
pub mod iommu {
    mod callbacks;
    pub(crate) mod coherent;
    pub mod device;
    mod dma_memory;
    pub mod dma_ops;
    mod dma_table;
    mod domain_box;
    mod domain_timer;
    pub mod driver;
    pub mod fault;
    pub mod group;
    pub mod ops;
    pub mod own_domain;
    pub mod resv;
    mod sg_list;
    pub mod table;
    mod trace;
    pub mod unit_sysfs;
}
