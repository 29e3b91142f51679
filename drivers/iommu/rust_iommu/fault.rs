// SPDX-License-Identifier: GPL-2.0

//! Faults: one line each while they are few, counted always, the last ones kept.

use crate::glue::Show;
use iommu_core::id::Rid;
use kernel::{
    fmt,
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex, //
    }, //
};
use kernel_iommu::ratelimit::{
    RateLimit,
    Verdict, //
};

/// Lines printed in a window of [`WINDOW_MS`] milliseconds.
const BURST: u32 = 10;
const WINDOW_MS: i64 = 5000;
/// Faults kept for debugfs.
const KEPT: usize = 64;

/// The fault log of one unit.
#[pin_data]
pub(crate) struct FaultLog {
    total: Atomic<u64>,
    #[pin]
    limit: RateLimit,
    #[pin]
    last: Mutex<KVec<CString>>,
}

impl FaultLog {
    /// An empty log.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            total: Atomic::new(0),
            limit <- RateLimit::new(BURST, WINDOW_MS),
            last <- new_mutex!(KVec::new()),
        })
    }

    /// Faults since load.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }

    /// Counts a fault that somebody has dealt with. Any context.
    pub(crate) fn count(&self) {
        self.total.fetch_add(1u64, Relaxed);
    }

    /// Records a fault of `unit`. Process context.
    pub(crate) fn record(&self, unit: &str, who: Option<(u16, Rid)>, what: &dyn fmt::Display) {
        self.count();
        match self.limit.ask() {
            Verdict::Drop => return,
            Verdict::Print(dropped) => {
                if dropped > 0 {
                    pr_err!("{}: {} more faults were not shown\n", unit, dropped);
                }
            }
        }
        let line = match who {
            Some((segment, rid)) => {
                CString::try_from_fmt(fmt!("{}: {:04x}:{} {}", unit, segment, Show(rid), what))
            }
            None => CString::try_from_fmt(fmt!("{}: {}", unit, what)),
        };
        // A line that cannot be allocated is printed short.
        let Ok(line) = line else {
            pr_err!("{}: fault\n", unit);
            return;
        };
        pr_err!("{}\n", line.to_str().unwrap_or("fault"));
        let mut last = self.last.lock();
        if last.len() >= KEPT {
            // Cannot fail: the log is not empty.
            let _ = last.remove(0);
        }
        // A full memory costs the record, not the fault.
        let _ = last.push(line, GFP_KERNEL);
    }

    /// Records that `unit` had more faults than it could keep. Process context.
    pub(crate) fn lost(&self, unit: &str) {
        self.record(unit, None, &"more faults than the unit could record");
    }

    /// Writes the kept lines.
    pub(crate) fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.last.lock().iter() {
            writeln!(f, "{}", line.to_str().unwrap_or(""))?;
        }
        Ok(())
    }
}
