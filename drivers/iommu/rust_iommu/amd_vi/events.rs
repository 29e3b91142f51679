// SPDX-License-Identifier: GPL-2.0

//! The event log: read in a thread, decoded into words, restarted after an overflow.
//!
//! Source: AMD I/O Virtualization Technology (IOMMU) Specification, 48882, Rev 3.10, 2.5.

use iommu_core::amd::{
    event::Event,
    regs::{
        self,
        control,
        status, //
    }, //
};
use kernel::{
    error::code::*,
    io::poll::read_poll_timeout,
    sync::Arc,
    time::Delta, //
};
use kernel_iommu::irq_line::Handler;

use crate::{
    family::Unit as _,
    glue::Show,
    iommu::Iommu, //
};

use super::{
    unit::{
        Unit,
        EVENTS, //
    },
    AmdVi, //
};

/// Entries read in one run of the thread; more come with the next interrupt.
const RUN: usize = 8 * EVENTS;

/// The interrupt handler of one unit.
pub(crate) struct Events {
    pub(super) driver: Arc<Iommu<AmdVi>>,
    pub(super) unit: Arc<Unit>,
}

impl Handler for Events {
    fn handle_threaded(&self) {
        let io = self.unit.hw.regs.io();
        io.write64(status::EVENT_LOG_INT | status::COM_WAIT_INT, regs::STATUS);
        for _ in 0..RUN {
            let head = io.read64(regs::EVENT_LOG_HEAD) & regs::POINTER;
            let tail = io.read64(regs::EVENT_LOG_TAIL) & regs::POINTER;
            if head == tail {
                break;
            }
            // CAST: the pointer has 19 bits.
            let entry = head as usize / regs::RING_ENTRY_LEN % EVENTS;
            let words = [
                self.unit.events.read(entry * 2),
                self.unit.events.read(entry * 2 + 1),
            ];
            if let Some(event) = Event::decode(words) {
                self.report(&event);
            }
            self.unit.events.write(entry * 2, 0);
            self.unit.events.write(entry * 2 + 1, 0);
            let next = ((entry + 1) % EVENTS * regs::RING_ENTRY_LEN) as u64;
            io.write64(next, regs::EVENT_LOG_HEAD);
        }
        if io.read64(regs::STATUS) & status::EVENT_OVERFLOW != 0 {
            self.restart();
        }
    }
}

impl Events {
    fn report(&self, event: &Event) {
        let segment = self.unit.id.segment;
        let who = event.requester().map(|rid| (segment, rid));
        let memory = match event {
            Event::IoPageFault(f) if !f.flags.interrupt() => Some((f.address.0, f.flags.write())),
            _ => None,
        };
        if who.is_some_and(|(_, rid)| self.driver.count_fault(self.unit.index, rid, memory)) {
            return self.unit.faults.count();
        }
        self.unit.faults.record(self.unit.text(), who, &Show(event));
    }

    /// Restarts the log after an overflow: off, acknowledged, on.
    fn restart(&self) {
        let io = self.unit.hw.regs.io();
        let ctl = io.read64(regs::CONTROL);
        io.write64(
            ctl & !(control::EVENT_LOG_EN | control::EVENT_INT_EN),
            regs::CONTROL,
        );
        let stopped = read_poll_timeout(
            || Ok(io.read64(regs::STATUS)),
            |s| s & status::EVENT_LOG_RUN == 0,
            Delta::from_micros(10),
            Delta::from_millis(100),
        );
        if stopped.is_err_and(|e| e == ETIMEDOUT) {
            kernel::pr_warn_once!(
                "{}: the event log does not stop; going on\n",
                self.unit.text()
            );
        }
        io.write64(status::EVENT_OVERFLOW, regs::STATUS);
        io.write64(ctl, regs::CONTROL);
    }
}
