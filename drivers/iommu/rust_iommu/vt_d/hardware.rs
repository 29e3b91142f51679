// SPDX-License-Identifier: GPL-2.0

//! The registers of one VT-d unit: claimed, read, commanded, and put back as they were found.
//!
//! Source: Intel Virtualization Technology for Directed I/O, D51397-016 (revision 4.1), chapter 11.

use iommu_core::{
    acpi::dmar::Drhd,
    addr::Oa,
    vtd::{
        cap::Capabilities,
        desc::Descriptor,
        fault::{
            Fault,
            VALID, //
        },
        regs::{
            self,
            fsts,
            global, //
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
    io_unmanaged::{
        IoUnmanaged,
        Registers, //
    }, //
};

use crate::{
    glue::Show,
    queue::{
        Ring,
        ENTRIES,
        ENTRIES_LG2, //
    }, //
};

/// How often the status is read until a unit has done what its command register says, and how long
/// that may take: 500 ms.
const POLL: Delta = Delta::from_micros(2);
const POLLS: usize = 250_000;

/// What the registers were before us.
struct Before {
    status: u32,
    root: u64,
    queue: u64,
    protected_memory: u32,
    fault_control: u32,
    /// FEDATA, FEADDR, FEUADDR.
    fault_message: [u32; 3],
}

/// The hardware of a unit. Stops on drop.
pub(super) struct Hardware {
    regs: IoUnmanaged<{ regs::MMIO_LEN }>,
    pub(super) version: u32,
    /// CAP and ECAP as read.
    pub(super) words: [u64; 2],
    pub(super) caps: Capabilities,
    before: Before,
    /// The unit reads our tables.
    enabled: Atomic<bool>,
    /// Address and data of the fault interrupt's message, and whether it is masked: a unit without
    /// power forgets them.
    message: [Atomic<u64>; 2],
    masked: Atomic<bool>,
}

impl Ring for Hardware {
    type Command = Descriptor;

    #[inline]
    fn words(command: Descriptor) -> [u64; 2] {
        command.0
    }

    #[inline]
    fn closing(done: Oa, sequence: u32) -> Option<Descriptor> {
        Descriptor::wait_store(done, sequence)
    }

    fn head(&self) -> usize {
        // CAST: the register's offset has 19 bits.
        self.io().read64(regs::IQH) as usize / self.descriptor_len()
    }

    #[inline]
    fn publish(&self, tail: u64) {
        self.io().write64(tail, regs::IQT);
    }

    /// A wrong descriptor is replaced by the one that drops all translations; a device that does not
    /// answer costs the waits behind it.
    fn unblock(&self, ring: &HwPages) -> bool {
        let io = self.io();
        let status = io.read32(regs::FSTS);
        if status & fsts::QUEUE == 0 {
            return false;
        }
        if status & fsts::IQE != 0 {
            let at = self.head() % ENTRIES;
            let words = self.descriptor_len() / 8;
            let wrong = [ring.read(at * words), ring.read(at * words + 1)];
            pr_err!(
                "vt-d at {:#x}: refused descriptor {:016x} {:016x}; dropping all translations instead\n",
                self.phys(),
                wrong[1],
                wrong[0]
            );
            for (i, word) in Descriptor::all_translations().0.iter().enumerate() {
                ring.write(at * words + i, *word);
            }
        }
        if status & fsts::ITE != 0 {
            pr_err!(
                "vt-d at {:#x}: a device did not answer an invalidation\n",
                self.phys()
            );
        }
        io.write32(status & fsts::QUEUE, regs::FSTS);
        status & fsts::ITE != 0
    }

    fn complain(&self) {
        let io = self.io();
        pr_err!(
            "vt-d at {:#x} does not complete commands (head {:#x} tail {:#x} status {:#x} faults {:#x}); \
             what it may still translate is not reused\n",
            self.phys(),
            io.read64(regs::IQH),
            io.read64(regs::IQT),
            io.read32(regs::GSTS),
            io.read32(regs::FSTS),
        );
    }
}

impl Hardware {
    /// Claims and reads a unit; changes nothing.
    ///
    /// # Errors
    ///
    /// - `EBUSY`: a C driver has the registers.
    /// - `ENODEV`: nothing answers there, or it cannot translate, or it is used for interrupts.
    pub(super) fn find(drhd: &Drhd<'_>) -> Result<Self> {
        let range = drhd.registers().map_err(|_| ENODEV)?;
        let mmio = IoUnmanaged::new(range.first(), c"rust_iommu")?;
        let io = mmio.io();
        let (version, cap, ecap) = (
            io.read32(regs::VER),
            io.read64(regs::CAP),
            io.read64(regs::ECAP),
        );
        let refuse = |why: &str| {
            pr_err!("IOMMU at {} {}; it is left alone\n", Show(range), why);
            Err(ENODEV)
        };
        if version == u32::MAX || version & 0xff == 0 || cap == u64::MAX || ecap == u64::MAX {
            return refuse("does not answer");
        }
        let caps = Capabilities::decode(cap, ecap);
        if caps.levels().is_none() {
            return refuse("cannot translate (SAGAW)");
        }
        if !caps.queue {
            return refuse("has no invalidation queue");
        }
        let records = caps.nr_fault_records * 16;
        if caps.fault_records + records > regs::MMIO_LEN {
            return refuse("has its fault records beyond its first page");
        }
        let before = Before {
            status: io.read32(regs::GSTS),
            root: io.read64(regs::RTADDR),
            queue: io.read64(regs::IQA),
            protected_memory: io.read32(regs::PMEN),
            fault_control: io.read32(regs::FECTL),
            fault_message: [regs::FEDATA, regs::FEADDR, regs::FEUADDR].map(|r| io.read32(r)),
        };
        Ok(Self {
            regs: mmio,
            version,
            words: [cap, ecap],
            caps,
            before,
            enabled: Atomic::new(false),
            message: [const { Atomic::new(0) }; 2],
            masked: Atomic::new(true),
        })
    }

    fn io(&self) -> Registers<'_, { regs::MMIO_LEN }> {
        self.regs.io()
    }

    /// Where the registers are.
    pub(super) fn phys(&self) -> u64 {
        self.regs.phys()
    }

    /// Bytes of a descriptor.
    fn descriptor_len(&self) -> usize {
        if self.caps.mode().is_scalable() {
            32
        } else {
            16
        }
    }

    /// 64-bit words of a descriptor.
    pub(super) fn descriptor_words(caps: &Capabilities) -> usize {
        if caps.mode().is_scalable() {
            4
        } else {
            2
        }
    }

    /// Was the unit translating when we found it?
    pub(super) fn was_enabled(&self) -> bool {
        self.before.status & global::TE != 0
    }

    /// Does the unit read our tables?
    pub(super) fn is_enabled(&self) -> bool {
        self.enabled.load(Relaxed)
    }

    /// Gives a command and waits until the status says that it is done.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT`.
    fn command(&self, set: u32, clear: u32, is_done: impl Fn(u32) -> bool) -> Result {
        let io = self.io();
        let keep = io.read32(regs::GSTS) & global::KEEP & !clear;
        io.write32(keep | set, regs::GCMD);
        read_poll_timeout_atomic(|| Ok(io.read32(regs::GSTS)), |s| is_done(*s), POLL, POLLS)?;
        Ok(())
    }

    fn on(&self, bit: u32) -> Result {
        self.command(bit, 0, |s| s & bit != 0)
    }

    fn off(&self, bit: u32) -> Result {
        self.command(0, bit, |s| s & bit == 0)
    }

    /// Writes go through, where the unit has a buffer for them. Any context.
    #[inline(always)]
    pub(super) fn flush_write_buffer(&self) -> Result {
        match self.caps.write_buffer {
            true => self.empty_write_buffer(),
            false => Ok(()),
        }
    }

    #[cold]
    fn empty_write_buffer(&self) -> Result {
        let io = self.io();
        io.write32(
            io.read32(regs::GSTS) & global::KEEP | global::WBF,
            regs::GCMD,
        );
        // At most a few microseconds; the bound is for a unit that is gone.
        for _ in 0..1_000_000 {
            if io.read32(regs::GSTS) & global::WBF == 0 {
                return Ok(());
            }
            kernel::processor::cpu_relax();
        }
        Err(ETIMEDOUT)
    }

    /// Points the unit at our queue and our root table. What it translated, if anything, it goes on
    /// to translate until the root table is taken over; `flush` then drops all it has cached.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT`; the unit is disabled then.
    pub(super) fn start(&self, ring: Oa, root: Oa, flush: impl FnOnce() -> Result) -> Result {
        let started = self.try_start(ring, root, flush);
        if started.is_err() {
            self.stop();
        }
        started
    }

    fn try_start(&self, ring: Oa, root: Oa, flush: impl FnOnce() -> Result) -> Result {
        let io = self.io();
        let scalable = self.caps.mode().is_scalable();
        let root = regs::rtaddr(root, scalable).ok_or(EINVAL)?;
        let queue = regs::iqa(ring, ENTRIES_LG2, scalable).ok_or(EINVAL)?;
        self.enabled.store(true, Relaxed);
        io.write32(io.read32(regs::FECTL) | regs::FECTL_IM, regs::FECTL);
        self.clear_faults();
        let status = io.read32(regs::GSTS);
        if status & global::QIE != 0 {
            self.off(global::QIE)?;
        }
        // The layout of its tables may change only while it is off.
        if status & global::TE != 0 && (io.read64(regs::RTADDR) ^ root) & 0xc00 != 0 {
            self.off(global::TE)?;
        }
        io.write64(0, regs::IQT);
        io.write64(queue, regs::IQA);
        self.on(global::QIE)?;
        self.flush_write_buffer()?;
        io.write64(root, regs::RTADDR);
        self.on(global::SRTP)?;
        flush()?;
        self.on(global::TE)?;
        if self.before.protected_memory & regs::PMEN_EPM != 0 {
            self.protect(0)?;
        }
        Ok(())
    }

    /// Sets the protected memory regions' enable bit as in `value`.
    fn protect(&self, value: u32) -> Result {
        let io = self.io();
        let wanted = value & regs::PMEN_EPM;
        let rest = io.read32(regs::PMEN) & !regs::PMEN_EPM;
        io.write32(rest | wanted, regs::PMEN);
        read_poll_timeout_atomic(
            || Ok(io.read32(regs::PMEN)),
            |v| (v & regs::PMEN_PRS != 0) == (wanted != 0),
            POLL,
            POLLS,
        )?;
        Ok(())
    }

    /// Disables the unit and puts its registers back as they were found; but a unit that was found
    /// enabled stays disabled, as its old tables may be gone by now.
    pub(super) fn stop(&self) {
        if !self.enabled.xchg(false, Full) {
            return;
        }
        let io = self.io();
        let was = &self.before;
        if self.off(global::TE).is_err() || self.off(global::QIE).is_err() {
            pr_err!("vt-d at {:#x} does not stop\n", self.phys());
        }
        io.write64(was.root, regs::RTADDR);
        // Our root table goes; nobody else's is there.
        if self.on(global::SRTP).is_err() {
            pr_err!("vt-d at {:#x} keeps its root table\n", self.phys());
        }
        io.write64(0, regs::IQT);
        io.write64(was.queue, regs::IQA);
        let message = [regs::FEDATA, regs::FEADDR, regs::FEUADDR];
        for (reg, value) in message.iter().zip(was.fault_message) {
            io.write32(value, *reg);
        }
        io.write32(was.fault_control, regs::FECTL);
        if was.protected_memory & regs::PMEN_EPM != 0 && self.protect(regs::PMEN_EPM).is_err() {
            pr_err!(
                "vt-d at {:#x} does not protect firmware's memory again\n",
                self.phys()
            );
        }
    }

    /// Writes the message of the fault interrupt.
    pub(super) fn set_fault_message(&self, address: u64, data: u32) {
        let [kept_address, kept_data] = &self.message;
        kept_address.store(address, Relaxed);
        kept_data.store(data.into(), Relaxed);
        let io = self.io();
        io.write32(data, regs::FEDATA);
        // CAST (two): the halves.
        io.write32(address as u32, regs::FEADDR);
        io.write32((address >> 32) as u32, regs::FEUADDR);
    }

    /// Masks the fault interrupt or unmasks it; what waits is sent then.
    pub(super) fn mask_faults(&self, masked: bool) {
        self.masked.store(masked, Relaxed);
        let value = if masked { regs::FECTL_IM } else { 0 };
        self.io().write32(value, regs::FECTL);
    }

    /// Writes the fault interrupt's registers once more.
    pub(super) fn restore_fault_message(&self) {
        let [address, data] = &self.message;
        // CAST: it was stored from 32 bits.
        self.set_fault_message(address.load(Relaxed), data.load(Relaxed) as u32);
        self.mask_faults(self.masked.load(Relaxed));
    }

    /// Takes the fault record number `index`, and frees it.
    pub(super) fn take_fault(&self, index: usize) -> Option<Fault> {
        let io = self.io();
        let at = self.caps.fault_records + index * 16;
        let fault = Fault::decode([io.read64(at), io.read64(at + 8)])?;
        // The upper half of the second word alone: writing it all at once is not allowed everywhere.
        io.write32((VALID >> 32) as u32, at + 12);
        Some(fault)
    }

    /// Were faults lost since the last call?
    pub(super) fn lost_faults(&self) -> bool {
        let io = self.io();
        let lost = io.read32(regs::FSTS) & fsts::PFO != 0;
        if lost {
            io.write32(fsts::PFO, regs::FSTS);
        }
        lost
    }

    fn clear_faults(&self) {
        for index in 0..self.caps.nr_fault_records {
            // What happened before us is not ours to tell.
            let _ = self.take_fault(index);
        }
        let errors = fsts::PFO | fsts::QUEUE;
        self.io().write32(errors, regs::FSTS);
    }
}

impl Drop for Hardware {
    fn drop(&mut self) {
        self.stop();
    }
}
