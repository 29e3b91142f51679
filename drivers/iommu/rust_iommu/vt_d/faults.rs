// SPDX-License-Identifier: GPL-2.0

//! The fault interrupt: records are read in a thread, decoded into words, and freed.
//!
//! Source: Intel Virtualization Technology for Directed I/O, D51397-016 (revision 4.1), 7.3.

use kernel::sync::Arc;
use kernel_iommu::{
    irq_line::Handler,
    unit_irq::UnitInterrupt, //
};

use super::{
    unit::Unit,
    VtD,
    VtdFormat, //
};
use crate::{
    family::Unit as _,
    glue::Show,
    iommu::Iommu, //
};

/// Rounds over the records in one run of the thread; more come with the next interrupt.
const ROUNDS: usize = 64;

/// The interrupt handler of one unit.
pub(crate) struct Faults<F: VtdFormat> {
    pub(super) iommu: Arc<Iommu<VtD<F>>>,
    pub(super) unit: Arc<Unit>,
}

impl<F: VtdFormat> Handler for Faults<F> {
    fn handle_threaded(&self) {
        let unit = &self.unit;
        for _ in 0..ROUNDS {
            let mut seen = false;
            for index in 0..unit.hw.caps.nr_fault_records {
                let Some(fault) = unit.hw.take_fault(index) else {
                    continue;
                };
                seen = true;
                let memory = (!fault.is_interrupt()).then_some((fault.address, !fault.read));
                if self.iommu.count_fault(unit.index(), fault.rid, memory) {
                    unit.faults().count();
                    continue;
                }
                let who = Some((unit.segment, fault.rid));
                unit.faults().record(unit.text(), who, &Show(fault));
            }
            if unit.hw.lost_faults() {
                unit.faults().lost(unit.text());
                seen = true;
            }
            if !seen {
                break;
            }
        }
    }
}

impl<F: VtdFormat> UnitInterrupt for Faults<F> {
    fn write_message(&self, address: u64, data: u32) {
        self.unit.hw.set_fault_message(address, data);
    }

    fn set_masked(&self, masked: bool) {
        self.unit.hw.mask_faults(masked);
    }
}
