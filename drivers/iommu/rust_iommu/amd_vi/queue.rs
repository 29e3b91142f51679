// SPDX-License-Identifier: GPL-2.0

//! The command buffer: commands in, completion as a rising sequence number in memory.
//!
//! Commands and the COMPLETION_WAIT that closes them are written under one lock with interrupts
//! off and published by one write of the tail register. Waiting happens outside the lock, with
//! interrupts as the caller has them.
//!
//! Source: AMD I/O Virtualization Technology (IOMMU) Specification, 48882, Rev 3.10, 2.4.

use iommu_core::{
    addr::Oa,
    amd::{
        cmd::Command,
        regs, //
    }, //
};
use kernel::{
    error::code::*,
    new_spinlock_irq,
    prelude::*,
    processor::cpu_relax,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        SpinLockIrq, //
    },
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};
use kernel_iommu::hw_pages::{
    Gfp,
    HwPages, //
};

use super::hardware::Regs;

/// log2 of the ring's entries.
pub(super) const ENTRIES_LG2: u32 = 9;
const ENTRIES: usize = 1 << ENTRIES_LG2;
/// The most commands of one submission.
pub(super) const MAX_BATCH: usize = 128;
/// How long a unit may take; then it is broken. Source: srctree/drivers/iommu/amd waits 100 ms.
const TIMEOUT_MS: i64 = 1000;

struct State {
    /// Next entry to write.
    tail: usize,
    /// Last known place of the unit.
    head: usize,
    /// Last sequence number given out.
    sequence: u64,
}

/// The command ring of one unit.
#[pin_data]
pub(super) struct Queue {
    ring: HwPages,
    /// Word 0: the last completed sequence number.
    done: HwPages,
    broken: Atomic<bool>,
    #[pin]
    state: SpinLockIrq<State>,
}

/// A submission to wait for.
#[must_use]
pub(super) struct Ticket(u64);

impl Queue {
    /// Makes an empty ring.
    pub(super) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            ring: HwPages::new(ENTRIES * regs::RING_ENTRY_LEN, Gfp::Kernel)?,
            done: HwPages::new(8, Gfp::Kernel)?,
            broken: Atomic::new(false),
            state <- new_spinlock_irq!(State {
                tail: 0,
                head: 0,
                sequence: 0,
            }),
        }? Error)
    }

    /// Address of the ring.
    pub(super) fn base(&self) -> Oa {
        Oa(self.ring.phys())
    }

    /// Did a wait time out?
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Relaxed)
    }

    /// Queues `commands`, at most [`MAX_BATCH`], and a completion wait.
    ///
    /// # Errors
    ///
    /// `EIO` if the unit is broken or does not make room in time.
    pub(super) fn submit(&self, io: &Regs, commands: &[Command]) -> Result<Ticket> {
        if self.is_broken() {
            return Err(EIO);
        }
        let need = commands.len() + 1;
        let mut start: Option<Instant<Monotonic>> = None;
        loop {
            {
                let mut s = self.state.lock();
                let mut used = s.tail.wrapping_sub(s.head) % ENTRIES;
                if used + need >= ENTRIES {
                    // CAST: the register's pointer has 19 bits.
                    let head = io.io().read64(regs::CMD_BUF_HEAD) & regs::POINTER;
                    s.head = (head as usize / regs::RING_ENTRY_LEN) % ENTRIES;
                    used = s.tail.wrapping_sub(s.head) % ENTRIES;
                }
                if used + need < ENTRIES {
                    return self.write(io, &mut s, commands);
                }
            }
            // The ring is full: let others in while the unit works.
            let now = *start.get_or_insert_with(Instant::now);
            if now.elapsed() > Delta::from_millis(TIMEOUT_MS) {
                self.give_up(io);
                return Err(EIO);
            }
            cpu_relax();
        }
    }

    /// Writes the commands; there is room for them.
    fn write(&self, io: &Regs, s: &mut State, commands: &[Command]) -> Result<Ticket> {
        let sequence = s.sequence.wrapping_add(1);
        let wait =
            Command::completion_wait_store(Oa(self.done.phys()), sequence, false).ok_or(EIO)?;
        s.sequence = sequence;
        for c in Iterator::chain(commands.iter(), core::iter::once(&wait)) {
            self.ring.write(s.tail * 2, c.0[0]);
            self.ring.write(s.tail * 2 + 1, c.0[1]);
            s.tail = (s.tail + 1) % ENTRIES;
        }
        // ORDERING: the register write comes after the ring writes (writeq orders them); pairs
        // with the unit's fetch.
        // CAST: an offset of at most 8 KiB.
        io.io()
            .write64((s.tail * regs::RING_ENTRY_LEN) as u64, regs::CMD_BUF_TAIL);
        Ok(Ticket(sequence))
    }

    /// Waits until everything up to `ticket` is done. Any context; holds nothing.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT`; the unit is marked broken.
    pub(super) fn wait(&self, io: &Regs, ticket: Ticket) -> Result {
        let mut start: Option<Instant<Monotonic>> = None;
        let mut spins = 0u32;
        loop {
            let behind = ticket.0.wrapping_sub(self.done.read(0));
            // Done if the counter has reached the ticket; the difference wraps to the upper half.
            if behind == 0 || behind > u64::MAX / 2 {
                return Ok(());
            }
            if self.is_broken() {
                return Err(ETIMEDOUT);
            }
            spins = spins.wrapping_add(1);
            if spins % 256 == 0 {
                let now = *start.get_or_insert_with(Instant::now);
                if now.elapsed() > Delta::from_millis(TIMEOUT_MS) {
                    self.give_up(io);
                    return Err(ETIMEDOUT);
                }
            }
            cpu_relax();
        }
    }

    /// Marks the unit broken, with one line.
    fn give_up(&self, io: &Regs) {
        if !self.broken.xchg(true, kernel::sync::atomic::Full) {
            pr_err!(
                "amd-vi at {:#x} does not complete commands (head {:#x} tail {:#x} status {:#x}); \
                 what it may still translate is not reused\n",
                io.phys(),
                io.io().read64(regs::CMD_BUF_HEAD),
                io.io().read64(regs::CMD_BUF_TAIL),
                io.io().read64(regs::STATUS),
            );
        }
    }
}
