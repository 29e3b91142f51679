// SPDX-License-Identifier: GPL-2.0

//! Lazy mode (`DMA-FQ`): what is unmapped waits for an invalidation that does many at once, for a
//! millisecond at most. Until then a device may reach the memory; nobody else gets the addresses.

use iommu_core::{
    addr::PageSpan,
    pt::Format,
    slab::{
        defer::{
            Alarm,
            Batch,
            Deferred,
            Put,
            Spans,
            BATCH, //
        },
        Wild, //
    }, //
};
use kernel::{
    cpu,
    prelude::*,
    time::Delta, //
};
use kernel_iommu::{
    hw_pages::Gfp,
    once_box::OnceBox, //
};

use crate::{
    dma::{
        report,
        Flush, //
    },
    domain::PagingDomain,
    glue::{
        this_cpu,
        Kernel, //
    },
    leaves::Mismatch,
    release::reclaim, //
};

/// How long unmapped memory may stay within a device's reach.
const WINDOW_MS: i64 = 1;
/// Ranges of one invalidation; more cost more than the domain's refill.
pub(crate) const MAX_SPANS: usize = 8;

/// What all CPUs have put off.
pub(crate) struct Lazy {
    batches: KVVec<OnceBox<Batch<Kernel>>>,
    alarm: Alarm<Kernel>,
}

impl Lazy {
    /// Nothing put off.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        // CAST: u32 fits usize.
        let cpus = cpu::nr_cpu_ids() as usize;
        let mut batches = KVVec::with_capacity(cpus, GFP_KERNEL)?;
        for _ in 0..cpus {
            batches.push(OnceBox::new(), GFP_KERNEL)?;
        }
        Ok(Self {
            batches,
            alarm: Alarm::new(),
        })
    }

    /// Pages that wait. Exact while nothing is unmapped.
    pub(crate) fn waiting(&self) -> u64 {
        let batches = self.batches.iter().filter_map(OnceBox::get);
        batches.map(Batch::pages).sum()
    }
}

/// Puts off what has to happen before the object at `iova` is used again, whose first `pages` items are
/// clear. `false`: that is not possible now, the caller does it at once.
#[inline(never)]
pub(crate) fn put_off<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    iova: u64,
    pages: usize,
) -> bool {
    let Some(lazy) = domain.lazy() else {
        return false;
    };
    // CAST: usize is not wider than u64.
    let (Some(link), Some(deferred)) = (
        lazy.batches.get(this_cpu()),
        Deferred::new(iova, pages as u64),
    ) else {
        return false;
    };
    let Some(batch) = link.get_or_make(Gfp::Atomic, Batch::new) else {
        return false;
    };
    match batch.put(deferred) {
        Put::Refused => return false,
        Put::Kept if lazy.alarm.is_wanted() => domain.start_timer(Delta::from_millis(WINDOW_MS)),
        Put::Kept => {}
        Put::Filled => settle(unit, domain, batch),
    }
    true
}

/// Does all that was put off. Any context. `false`: there was nothing.
#[cold]
pub(crate) fn settle_all<F: Format>(unit: &impl Flush<F>, domain: &PagingDomain<F>) -> bool {
    let Some(lazy) = domain.lazy().filter(|lazy| lazy.alarm.rings()) else {
        return false;
    };
    for batch in lazy.batches.iter().filter_map(OnceBox::get) {
        settle(unit, domain, batch);
    }
    true
}

/// Does what a CPU has put off: one invalidation, then all the addresses go back.
#[inline(never)]
fn settle<F: Format>(unit: &impl Flush<F>, domain: &PagingDomain<F>, batch: &Batch<Kernel>) {
    let mut objects = [None; BATCH];
    for (slot, object) in objects.iter_mut().zip(batch.take()) {
        *slot = Some(object);
    }
    let all = || objects.iter().flatten().copied();
    let mut spans = [PageSpan { first: 0, pages: 0 }; MAX_SPANS];
    let (mut ranges, mut count) = (Spans::of(all()), 0);
    for (slot, range) in spans.iter_mut().zip(&mut ranges) {
        *slot = range;
        count += 1;
    }
    let done = match spans.get(..count) {
        Some([]) => return,
        Some(spans) if ranges.next().is_none() => unit.after_unmaps(domain, spans),
        _ => unit.forget(domain),
    };
    if done.is_err() {
        return domain.quarantine(all().map(|d| d.span().pages).sum());
    }
    match domain
        .space()
        .map(|s| s.free_all(all().map(Deferred::iova)))
    {
        Some(Ok(true)) => reclaim(unit, domain),
        Some(Err(iova)) => _ = report(iova, Mismatch::Wild(Wild::Free)),
        _ => {}
    }
}
