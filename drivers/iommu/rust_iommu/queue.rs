// SPDX-License-Identifier: GPL-2.0

//! The command queue of a unit, of any family: commands in, completion as a rising sequence number
//! in memory.
//!
//! Commands and the one that closes them, which stores the number, are written under one lock with
//! interrupts off and published by one write of the tail register, after the lock. What comes while
//! another CPU writes that register is closed and published together (see `iommu_core::commit`).
//! Waiting happens with interrupts as the caller has them, and with nothing held.

use iommu_core::{
    addr::Oa,
    commit::{
        Commit,
        Ticket, //
    }, //
};
use kernel::{
    error::code::*,
    new_spinlock,
    prelude::*,
    processor::cpu_relax,
    sync::SpinLock,
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};
use kernel_iommu::{
    hw_pages::{
        Gfp,
        HwPages, //
    },
    irq_saved::IrqSaved,
    shared_word::SharedWord, //
};

use crate::glue::Kernel;

/// log2 of the ring's entries.
pub(crate) const ENTRIES_LG2: u32 = 9;
pub(crate) const ENTRIES: usize = 1 << ENTRIES_LG2;
/// The most commands of one submission.
pub(crate) const MAX_BATCH: usize = 64;
/// How often a waiter looks for someone to publish its commands together with their own, once it could
/// do so itself: about the time from one unmap to the next.
const GRACE: u32 = 32;
/// How long a unit may take; then it is broken. Source: srctree/drivers/iommu/amd waits 100 ms.
const TIMEOUT_MS: i64 = 1000;

/// A unit's side of its queue.
pub(crate) trait Ring {
    /// A command.
    type Command: Copy;

    /// The first two words of a command; the others of an entry, if it has more, are zero.
    fn words(command: Self::Command) -> [u64; 2];
    /// The command that stores `sequence` at `done`, 8-byte aligned, when all earlier ones are done.
    fn closing(done: Oa, sequence: u32) -> Option<Self::Command>;
    /// The entry the unit takes next.
    fn head(&self) -> usize;
    /// Tells the unit that entries before the one `tail` bytes from the ring's start are there, after all
    /// earlier memory writes.
    fn publish(&self, tail: u64);
    /// Looks for an error that keeps the unit from going on, and removes it if that is possible.
    /// `true` if a closing command may have been lost. `ring` is the queue's memory.
    fn unblock(&self, ring: &HwPages) -> bool;
    /// Says in one line that the unit completes no commands.
    fn complain(&self);
}

/// Places in the ring, in words.
struct State {
    /// Next entry to write.
    tail: usize,
    /// Last known place of the unit.
    head: usize,
}

/// The command ring of one unit.
#[pin_data]
pub(crate) struct Queue {
    ring: HwPages,
    /// The 64-bit words of an entry.
    entry: usize,
    /// Those of the ring, less one.
    mask: usize,
    /// The lower half of word 0: the last completed sequence number.
    done: HwPages,
    /// Its address.
    done_at: Oa,
    broken: SharedWord,
    commit: Commit<Kernel>,
    /// Taken with interrupts off only.
    #[pin]
    state: SpinLock<State>,
}

impl Queue {
    /// Makes an empty ring with entries of `words` 64-bit words, two or four.
    pub(crate) fn new(words: usize) -> impl PinInit<Self, Error> {
        let done = HwPages::new(8, Gfp::Kernel);
        let done_at = Oa(done.as_ref().map_or(0, |d| d.phys()));
        try_pin_init!(Self {
            ring: HwPages::new(ENTRIES * words * 8, Gfp::Kernel)?,
            entry: words,
            mask: ENTRIES * words - 1,
            done: done?,
            done_at,
            broken: SharedWord::new(0),
            commit: Commit::new(),
            state <- new_spinlock!(State { tail: 0, head: 0 }),
        }? Error)
    }

    /// Address of the ring.
    pub(crate) fn base(&self) -> Oa {
        Oa(self.ring.phys())
    }

    /// Empties the ring of a unit that has lost its place in it. Nobody may be waiting.
    pub(crate) fn reset(&self) {
        let _irq = IrqSaved::new();
        let mut s = self.state.lock();
        (s.tail, s.head) = (0, 0);
        self.commit.rung();
        self.broken.store(0);
    }

    /// What a map reports whose invalidation ended with `done`. A unit that completes no commands may
    /// still hold "absent" for the addresses: then the device faults. But what was in use before is
    /// never used again, so most likely it walks the table and all is well, while a map that fails
    /// for ever would stop the machine's disks.
    #[inline]
    pub(crate) fn mapped(&self, done: Result) -> Result {
        if self.is_broken() {
            return Ok(());
        }
        done
    }

    /// Its state in a word.
    pub(crate) fn state_text(&self) -> &'static str {
        if self.is_broken() {
            "broken"
        } else {
            "ok"
        }
    }

    /// Did a wait time out?
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load() != 0
    }

    /// Queues `commands`, at most [`MAX_BATCH`], and waits until they are done. Any context; holds nothing
    /// while it waits.
    ///
    /// # Errors
    ///
    /// `EIO` if the unit is broken or does not make room in time, `ETIMEDOUT` if it does not answer; it is
    /// marked broken then.
    #[inline]
    pub(crate) fn run<R: Ring>(&self, unit: &R, commands: &[R::Command]) -> Result {
        if self.is_broken() {
            return Err(EIO);
        }
        let ticket = match self.append(unit, commands) {
            Some(ticket) => ticket,
            None => self.append_when_full(unit, commands)?,
        };
        self.wait(unit, ticket)
    }

    /// [`Self::run`] for one command.
    #[inline(always)]
    pub(crate) fn run_one<R: Ring>(&self, unit: &R, command: R::Command) -> Result {
        if self.is_broken() {
            return Err(EIO);
        }
        let ticket = match self.append(unit, &[command]) {
            Some(ticket) => ticket,
            None => self.append_when_full(unit, &[command])?,
        };
        self.wait(unit, ticket)
    }

    /// Appends commands, and publishes them unless another CPU is about to publish. [`None`]: there is no
    /// room.
    #[inline(always)]
    fn append<R: Ring>(&self, unit: &R, commands: &[R::Command]) -> Option<Ticket> {
        let irq = IrqSaved::new();
        let (ticket, closed) = {
            let mut s = self.state.lock();
            if !self.has_room(unit, &mut s, commands.len()) {
                return None;
            }
            for c in commands {
                self.write::<R>(&mut s, *c);
            }
            (self.commit.open(), self.close::<R>(&mut s))
        };
        if let Some(tail) = closed {
            // ORDERING: the register write comes after the ring writes (the accessor orders them);
            // pairs with the unit's fetch.
            unit.publish(tail);
            self.commit.rung();
        }
        drop(irq);
        Some(ticket)
    }

    /// Is there room for so many commands, the one that closes them and the one that closes what others
    /// append meanwhile?
    #[inline(always)]
    fn has_room<R: Ring>(&self, unit: &R, s: &mut State, commands: usize) -> bool {
        let need = (commands + 2) * self.entry;
        (s.tail.wrapping_sub(s.head) & self.mask) + need <= self.mask
            || self.has_room_by_now(unit, s, need)
    }

    #[cold]
    fn has_room_by_now<R: Ring>(&self, unit: &R, s: &mut State, need: usize) -> bool {
        s.head = unit.head() % ENTRIES * self.entry;
        (s.tail.wrapping_sub(s.head) & self.mask) + need <= self.mask
    }

    /// Closes the open batch; the tail to publish, in bytes, or [`None`] if another CPU is publishing.
    #[inline(always)]
    fn close<R: Ring>(&self, s: &mut State) -> Option<u64> {
        let ticket = self.commit.close()?;
        match R::closing(self.done_at, ticket.0) {
            Some(closing) => self.write::<R>(s, closing),
            // Its address is a page's.
            None => return None,
        }
        // CAST: 16 KiB at most.
        Some((s.tail * 8) as u64)
    }

    /// Writes a command; there is room for it.
    #[inline]
    fn write<R: Ring>(&self, s: &mut State, command: R::Command) {
        // The other words of larger entries stay zero.
        self.ring.write_two(s.tail, R::words(command));
        s.tail = (s.tail + self.entry) & self.mask;
    }

    /// Lets others in while the unit works on a full ring.
    #[cold]
    fn append_when_full<R: Ring>(&self, unit: &R, commands: &[R::Command]) -> Result<Ticket> {
        let start: Instant<Monotonic> = Instant::now();
        loop {
            if start.elapsed() > Delta::from_millis(TIMEOUT_MS) {
                self.give_up(unit);
                return Err(EIO);
            }
            self.unblock(unit);
            cpu_relax();
            if let Some(ticket) = self.append(unit, commands) {
                return Ok(ticket);
            }
        }
    }

    /// Closes and publishes what has been left open.
    #[cold]
    fn flush<R: Ring>(&self, unit: &R, ticket: Ticket) {
        let _irq = IrqSaved::new();
        let closed = {
            let mut s = self.state.lock();
            if !self.commit.is_left_open(ticket) {
                return;
            }
            self.close::<R>(&mut s)
        };
        if let Some(tail) = closed {
            unit.publish(tail);
            self.commit.rung();
        }
    }

    /// Gets a unit going that an error has stopped.
    #[cold]
    fn unblock<R: Ring>(&self, unit: &R) {
        let _irq = IrqSaved::new();
        let mut s = self.state.lock();
        // Another CPU is about to write the tail: next time.
        if self.commit.is_ringing() || !unit.unblock(&self.ring) {
            return;
        }
        // Nothing but a new closing command; without room for it the waiters time out.
        if self.has_room(unit, &mut s, 0) {
            if let Some(tail) = self.close::<R>(&mut s) {
                unit.publish(tail);
                self.commit.rung();
            }
        }
    }

    /// Waits until everything up to `ticket` is done. Any context; holds nothing.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT`; the unit is marked broken.
    #[inline]
    fn wait<R: Ring>(&self, unit: &R, ticket: Ticket) -> Result {
        // CAST: the lower half is what is stored.
        if ticket.is_done(self.done.read(0) as u32) {
            return Ok(());
        }
        self.wait_longer(unit, ticket)
    }

    #[cold]
    fn wait_longer<R: Ring>(&self, unit: &R, ticket: Ticket) -> Result {
        let mut start: Option<Instant<Monotonic>> = None;
        let (mut spins, mut alone) = (0u32, 0u32);
        // CAST: as in `wait`.
        while !ticket.is_done(self.done.read(0) as u32) {
            if self.is_broken() {
                return Err(ETIMEDOUT);
            }
            if self.commit.is_left_open(ticket) {
                alone += 1;
                if alone > GRACE {
                    self.flush(unit, ticket);
                }
            }
            spins = spins.wrapping_add(1);
            if spins % 256 == 0 {
                let now = *start.get_or_insert_with(Instant::now);
                if now.elapsed() > Delta::from_millis(TIMEOUT_MS) {
                    self.give_up(unit);
                    return Err(ETIMEDOUT);
                }
                self.unblock(unit);
            }
            cpu_relax();
        }
        Ok(())
    }

    /// Marks the unit broken, with one line.
    fn give_up<R: Ring>(&self, unit: &R) {
        if self.broken.swap(1) == 0 {
            unit.complain();
        }
    }
}
