// SPDX-License-Identifier: GPL-2.0

//! A bound on how many lines a source may print in a time.

use kernel::{
    new_spinlock_irq,
    prelude::*,
    sync::SpinLockIrq,
    time::{
        Delta,
        Instant,
        Monotonic, //
    }, //
};

struct State {
    window_start: Option<Instant<Monotonic>>,
    printed: u32,
    dropped: u64,
}

/// Allows `burst` lines in `interval_ms`, counts the rest.
#[pin_data]
pub struct RateLimit {
    burst: u32,
    interval_ms: i64,
    #[pin]
    state: SpinLockIrq<State>,
}

/// What to do with a line.
pub enum Verdict {
    /// Print it; that many were dropped before it.
    Print(u64),
    /// Drop it.
    Drop,
}

impl RateLimit {
    /// Makes a limiter of `burst` lines in `interval_ms` milliseconds.
    pub fn new(burst: u32, interval_ms: i64) -> impl PinInit<Self> {
        pin_init!(Self {
            burst,
            interval_ms,
            state <- new_spinlock_irq!(State {
                window_start: None,
                printed: 0,
                dropped: 0,
            }),
        })
    }

    /// Asks for one line. Any context.
    pub fn ask(&self) -> Verdict {
        let now = Instant::now();
        let mut s = self.state.lock();
        let fresh = match s.window_start {
            Some(start) => now - start > Delta::from_millis(self.interval_ms),
            None => true,
        };
        if fresh {
            s.window_start = Some(now);
            s.printed = 0;
        }
        if s.printed >= self.burst {
            s.dropped = s.dropped.saturating_add(1);
            return Verdict::Drop;
        }
        s.printed = s.printed.saturating_add(1);
        Verdict::Print(core::mem::take(&mut s.dropped))
    }
}
