// SPDX-License-Identifier: GPL-2.0

//! The command queue of a unit, of any family: commands in, completion as a rising sequence number
//! in memory.
//!
//! Commands and the one that closes them, which stores the number, are written under one lock with
//! interrupts off and published by one write of the tail register. Waiting happens outside the
//! lock, with interrupts as the caller has them.

use iommu_core::addr::Oa;
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

/// log2 of the ring's entries.
pub(crate) const ENTRIES_LG2: u32 = 9;
pub(crate) const ENTRIES: usize = 1 << ENTRIES_LG2;
/// The most commands of one submission.
pub(crate) const MAX_BATCH: usize = 128;
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
    /// Tells the unit that entries before `tail` are there, after all earlier memory writes.
    fn publish(&self, tail: usize);
    /// Looks for an error that keeps the unit from going on, and removes it if that is possible.
    /// `true` if a closing command may have been lost. `ring` is the queue's memory.
    fn unblock(&self, ring: &HwPages) -> bool;
    /// Says in one line that the unit completes no commands.
    fn complain(&self);
}

struct State {
    /// Next entry to write.
    tail: usize,
    /// Last known place of the unit.
    head: usize,
    /// Last sequence number given out.
    sequence: u32,
}

/// The command ring of one unit.
#[pin_data]
pub(crate) struct Queue {
    ring: HwPages,
    /// 64-bit words of an entry.
    words: usize,
    /// The lower half of word 0: the last completed sequence number.
    done: HwPages,
    broken: Atomic<bool>,
    #[pin]
    state: SpinLockIrq<State>,
}

/// A submission to wait for.
#[must_use]
pub(crate) struct Ticket(u32);

impl Queue {
    /// Makes an empty ring with entries of `words` 64-bit words.
    pub(crate) fn new(words: usize) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            ring: HwPages::new(ENTRIES * words * 8, Gfp::Kernel)?,
            words,
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
    pub(crate) fn base(&self) -> Oa {
        Oa(self.ring.phys())
    }

    /// Empties the ring of a unit that has lost its place in it. Nobody may be waiting.
    pub(crate) fn reset(&self) {
        let mut s = self.state.lock();
        (s.tail, s.head) = (0, 0);
        self.broken.store(false, Relaxed);
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
        self.broken.load(Relaxed)
    }

    /// Queues `commands`, at most [`MAX_BATCH`], and a completion wait.
    ///
    /// # Errors
    ///
    /// `EIO` if the unit is broken or does not make room in time.
    pub(crate) fn submit<R: Ring>(&self, unit: &R, commands: &[R::Command]) -> Result<Ticket> {
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
                    s.head = unit.head() % ENTRIES;
                    used = s.tail.wrapping_sub(s.head) % ENTRIES;
                }
                if used + need < ENTRIES {
                    return self.write(unit, &mut s, commands);
                }
            }
            // The ring is full: let others in while the unit works.
            let now = *start.get_or_insert_with(Instant::now);
            if now.elapsed() > Delta::from_millis(TIMEOUT_MS) {
                self.give_up(unit);
                return Err(EIO);
            }
            self.unblock(unit);
            cpu_relax();
        }
    }

    /// Writes the commands; there is room for them.
    fn write<R: Ring>(&self, unit: &R, s: &mut State, commands: &[R::Command]) -> Result<Ticket> {
        let sequence = s.sequence.wrapping_add(1);
        let closing = R::closing(Oa(self.done.phys()), sequence).ok_or(EIO)?;
        s.sequence = sequence;
        for c in Iterator::chain(commands.iter(), core::iter::once(&closing)) {
            let at = s.tail * self.words;
            let [low, high] = R::words(*c);
            self.ring.write(at, low);
            self.ring.write(at + 1, high);
            for i in 2..self.words {
                self.ring.write(at + i, 0);
            }
            s.tail = (s.tail + 1) % ENTRIES;
        }
        // ORDERING: the register write comes after the ring writes (the accessor orders them);
        // pairs with the unit's fetch.
        unit.publish(s.tail);
        Ok(Ticket(sequence))
    }

    /// Gets a unit going that an error has stopped.
    fn unblock<R: Ring>(&self, unit: &R) {
        let mut s = self.state.lock();
        if unit.unblock(&self.ring) {
            // Nothing but a new closing command; without room for it the waiters time out.
            let used = s.tail.wrapping_sub(unit.head()) % ENTRIES;
            if used + 1 < ENTRIES {
                let _ = self.write(unit, &mut s, &[]);
            }
        }
    }

    /// Waits until everything up to `ticket` is done. Any context; holds nothing.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT`; the unit is marked broken.
    pub(crate) fn wait<R: Ring>(&self, unit: &R, ticket: Ticket) -> Result {
        let mut start: Option<Instant<Monotonic>> = None;
        let mut spins = 0u32;
        loop {
            // CAST: the lower half is what is stored.
            let behind = ticket.0.wrapping_sub(self.done.read(0) as u32);
            // Done if the counter has reached the ticket; the difference wraps to the upper half.
            if behind == 0 || behind > u32::MAX / 2 {
                return Ok(());
            }
            if self.is_broken() {
                return Err(ETIMEDOUT);
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
    }

    /// Marks the unit broken, with one line.
    fn give_up<R: Ring>(&self, unit: &R) {
        if !self.broken.xchg(true, kernel::sync::atomic::Full) {
            unit.complain();
        }
    }
}
