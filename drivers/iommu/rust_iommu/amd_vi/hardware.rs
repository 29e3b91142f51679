// SPDX-License-Identifier: GPL-2.0

//! The registers of one AMD IOMMU: claimed, read, and put back as they were found.
//!
//! Source: AMD I/O Virtualization Technology (IOMMU) Specification, 48882, Rev 3.10, section 3.4.

use iommu_core::{
    acpi::ivrs::Ivhd,
    addr::Oa,
    amd::{
        cmd::Command,
        efr::Features,
        regs::{
            self,
            control,
            status, //
        }, //
    }, //
};
use kernel::{
    error::code::*,
    io::poll::read_poll_timeout_atomic,
    prelude::*,
    sync::atomic::{
        Atomic,
        Full,
        Relaxed, //
    },
    time::Delta, //
};
use kernel_iommu::{
    hw_pages::HwPages,
    io_unmanaged::IoUnmanaged,
    pci_topology::PciDev, //
};

use crate::{
    glue::Show,
    queue::Ring, //
};

/// The registers of a unit.
type Regs = IoUnmanaged<{ regs::MMIO_LEN }>;

/// Capability header bit: the unit caches entries that are not present.
const CAP_NP_CACHE: u32 = 1 << 26;

/// Registers that point into memory, or that we overwrite, beside the control register.
const BORROWED: [usize; 5] = [
    regs::DEV_TAB_BASE,
    regs::CMD_BUF_BASE,
    regs::EVENT_LOG_BASE,
    regs::EXCL_BASE,
    regs::EXCL_LIMIT,
];

/// The hardware of a unit: its registers, and what they were before us. Stops on drop.
pub(super) struct Hardware {
    pub(super) regs: Regs,
    /// The header of the unit's capability, if it can be read.
    pub(super) header: Option<u32>,
    control: u64,
    borrowed: [u64; BORROWED.len()],
    enabled: Atomic<bool>,
}

impl Ring for Hardware {
    type Command = Command;

    #[inline]
    fn words(command: Command) -> [u64; 2] {
        command.0
    }

    #[inline]
    fn closing(done: Oa, sequence: u32) -> Option<Command> {
        Command::completion_wait_store(done, sequence.into(), false)
    }

    fn head(&self) -> usize {
        // CAST: the register's pointer has 19 bits.
        (self.regs.io().read64(regs::CMD_BUF_HEAD) & regs::POINTER) as usize / regs::RING_ENTRY_LEN
    }

    #[inline]
    fn publish(&self, tail: u64) {
        self.regs.io().write64(tail, regs::CMD_BUF_TAIL);
    }

    fn unblock(&self, _ring: &HwPages) -> bool {
        // A command buffer stops at an illegal command only, which is logged as an event.
        false
    }

    fn complain(&self) {
        let io = self.regs.io();
        pr_err!(
            "amd-vi at {:#x} does not complete commands (head {:#x} tail {:#x} status {:#x}); \
             what it may still translate is not reused\n",
            self.regs.phys(),
            io.read64(regs::CMD_BUF_HEAD),
            io.read64(regs::CMD_BUF_TAIL),
            io.read64(regs::STATUS),
        );
    }
}

impl Hardware {
    /// Was the unit translating when we found it?
    pub(super) fn was_enabled(&self) -> bool {
        self.control & control::IOMMU_EN != 0
    }

    /// Turns off what reads or writes memory on its own, so that its pointers may change, and
    /// leaves translation as it is. Returns what the control register is then.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT`: a ring goes on; the unit is as it was.
    pub(super) fn quiesce(&self) -> Result<u64> {
        let rings = control::CMD_BUF_EN
            | control::EVENT_LOG_EN
            | control::EVENT_INT_EN
            | control::COM_WAIT_INT_EN
            | control::PPR_LOG_EN
            | control::PPR_INT_EN
            | control::PPR_EN
            | control::GA_LOG_EN
            | control::GA_INT_EN;
        let io = self.regs.io();
        let was = io.read64(regs::CONTROL);
        let off = was & !rings;
        io.write64(off, regs::CONTROL);
        let running =
            status::CMD_BUF_RUN | status::EVENT_LOG_RUN | status::PPR_LOG_RUN | status::GA_LOG_RUN;
        // 100 ms.
        let stopped = read_poll_timeout_atomic(
            || Ok(io.read64(regs::STATUS)),
            |s| s & running == 0,
            Delta::from_micros(10),
            10_000,
        );
        stopped.map(|_| off).inspect_err(|_| {
            io.write64(was, regs::CONTROL);
        })
    }

    /// Does the unit use our tables?
    pub(super) fn is_enabled(&self) -> bool {
        self.enabled.load(Relaxed)
    }

    /// Enables the unit, with the rest of its control register.
    pub(super) fn enable(&self, ctl: u64) {
        self.enabled.store(true, Relaxed);
        self.regs
            .io()
            .write64(ctl | control::IOMMU_EN, regs::CONTROL);
    }

    /// Disables the unit and puts its registers back as they were found; but a unit that was
    /// found enabled stays disabled, as its old tables may be gone by now.
    ///
    /// The pointers go back, too: our tables are freed, and a unit that is disabled for DMA may
    /// still look for an interrupt's remapping table in the device table (QEMU's does).
    pub(super) fn stop(&self) {
        if !self.enabled.xchg(false, Full) {
            return;
        }
        let io = self.regs.io();
        let rings = control::CMD_BUF_EN | control::EVENT_LOG_EN | control::PPR_LOG_EN;
        let off = self.control & !(control::IOMMU_EN | rings);
        io.write64(off, regs::CONTROL);
        for (reg, value) in BORROWED.iter().zip(self.borrowed) {
            io.write64(value, *reg);
        }
        if !self.was_enabled() {
            io.write64(self.control, regs::CONTROL);
        }
    }
}

impl Drop for Hardware {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What can be known of a unit before it is touched.
pub(super) struct Found {
    pub(super) hw: Hardware,
    pub(super) features: Features,
    /// New mappings have to be invalidated, too.
    pub(super) np_cache: bool,
}

/// Claims and reads a unit; changes nothing but one register, which is put back.
///
/// # Errors
///
/// - `EBUSY`: a C driver has the registers.
/// - `ENODEV`: nothing answers there, or it cannot translate.
pub(super) fn find(ivhd: &Ivhd<'_>) -> Result<Found> {
    let range = ivhd.registers().map_err(|e| {
        pr_err!("{}; the unit is left alone\n", Show(e));
        ENODEV
    })?;
    let regs = Regs::new(range.first(), c"rust_iommu")?;
    let io = regs.io();
    let efr = io.read64(regs::EFR);
    let control = io.read64(regs::CONTROL);
    let borrowed = BORROWED.map(|reg| io.read64(reg));
    // A register that keeps what is written tells a unit from a hole in the address map. The
    // table base matters only while the unit is enabled, and then it need not be asked.
    let answers = control != u64::MAX && efr != u64::MAX && {
        control & control::IOMMU_EN != 0 || {
            let probe = 0x0000_0000_1234_5000;
            let base = io.read64(regs::DEV_TAB_BASE);
            io.write64(probe, regs::DEV_TAB_BASE);
            let kept = io.read64(regs::DEV_TAB_BASE);
            io.write64(base, regs::DEV_TAB_BASE);
            kept == probe
        }
    };
    if !answers {
        pr_err!(
            "no IOMMU answers at {}; the unit is left alone\n",
            Show(range)
        );
        return Err(ENODEV);
    }
    let features = Features::decode(efr, io.read64(regs::EFR2));
    if features.host_levels().is_none() {
        pr_err!(
            "IOMMU at {} cannot translate (HATS); it is left alone\n",
            Show(range)
        );
        return Err(ENODEV);
    }
    let (bus, devfn) = (ivhd.unit.rid.bus(), ivhd.unit.rid.devfn());
    let header = PciDev::find(ivhd.unit.segment, bus, devfn)
        .and_then(|dev| dev.read_config(ivhd.capability));
    // A unit whose function cannot be read is treated as one that caches: slower, never wrong.
    let np_cache = header.is_none_or(|header| header & CAP_NP_CACHE != 0);
    Ok(Found {
        hw: Hardware {
            regs,
            header,
            control,
            borrowed,
            enabled: Atomic::new(false),
        },
        features,
        np_cache,
    })
}
