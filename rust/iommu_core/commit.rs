// SPDX-License-Identifier: GPL-2.0

//! Group commit on a command ring: many submitters, one completion for all that came together, one
//! doorbell.
//!
//! Commands are appended to the *open batch* under the ring's lock. A batch is *closed* by the command
//! that stores its number when all before are done; then the doorbell is rung, without the lock. Only
//! one CPU at a time is between closing and ringing, so the tail that hardware is told never goes
//! back. Who finds another CPU there leaves its commands in the open batch: it is closed by whoever
//! comes next, or by a waiter that finds nobody.
//!
//! Everything here is about who closes; the ring, the lock and the waiting are the caller's.

use crate::slab::{
    Env,
    Word, //
};

/// The number of a batch. Numbers wrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(pub u32);

impl Ticket {
    /// Is the batch among those up to `done`?
    #[inline]
    pub const fn is_done(self, done: u32) -> bool {
        let behind = self.0.wrapping_sub(done);
        // The difference wraps to the upper half.
        behind == 0 || behind > u32::MAX / 2
    }
}

/// What CPUs know of each other. All but [`Commit::rung`] and [`Commit::is_left_open`] run under the
/// ring's lock.
pub struct Commit<E: Env> {
    /// A CPU is between closing a batch and ringing the doorbell.
    ringing: E::Word,
    /// The last batch that was closed.
    closed: E::Word,
}

impl<E: Env> Commit<E> {
    /// Nothing submitted yet.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self {
            ringing: E::Word::new(0),
            closed: E::Word::new(0),
        }
    }

    /// The open batch.
    #[inline]
    pub fn open(&self) -> Ticket {
        // CAST: the lower half is all there is.
        Ticket((self.closed.load() as u32).wrapping_add(1))
    }

    /// Closes the open batch, if nobody is ringing: the caller appends the closing command with the
    /// batch's number, lets go of the lock, rings, and calls [`Commit::rung`].
    #[inline]
    pub fn close(&self) -> Option<Ticket> {
        if self.ringing.load() != 0 {
            return None;
        }
        let open = self.open();
        self.ringing.store(1);
        self.closed.store(open.0.into());
        Some(open)
    }

    /// Is a CPU between closing and ringing?
    #[inline]
    pub fn is_ringing(&self) -> bool {
        self.ringing.load() != 0
    }

    /// The doorbell was rung.
    #[inline]
    pub fn rung(&self) {
        // ORDERING: the doorbell comes before what the next one does.
        self.ringing.store(0);
    }

    /// Is this batch open, and nobody there who would close it?
    #[inline]
    pub fn is_left_open(&self, ticket: Ticket) -> bool {
        // CAST: the lower half is all there is.
        !ticket.is_done(self.closed.load() as u32) && self.ringing.load() == 0
    }
}
