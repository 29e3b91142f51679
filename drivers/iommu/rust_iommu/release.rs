// SPDX-License-Identifier: GPL-2.0

//! After an unmap: units forget the pages, then their addresses go back, and leaf tables that too many
//! empty chunks hold. What cannot be invalidated is never used again (quarantine).

use iommu_core::{
    addr::{
        Iova,
        PageSpan,
        Range,
        PAGE_SIZE, //
    },
    pt::Format,
    slab, //
};
use kernel::prelude::*;
use kernel_iommu::hw_pages::Gfp;

use crate::{
    addresses::Object,
    dma::{
        report,
        span,
        Flush, //
    },
    domain::PagingDomain,
    glue::{
        Show,
        Space, //
    },
    lazy::put_off,
    leaves::Mismatch, //
};

/// Gives the object at `iova` back, which no unit has translations of.
pub(crate) fn put_back<F: Format>(unit: &impl Flush<F>, domain: &PagingDomain<F>, iova: u64) {
    match domain.space().map(|space| space.object(iova)) {
        Some(Ok(object)) if release_clean(domain, &object) => reclaim(unit, domain),
        Some(Err(e)) => _ = report(iova, Mismatch::Wild(e)),
        _ => {}
    }
}

/// Empty chunks that keep their leaf tables, for the next that need one.
const KEPT: u64 = 64;
/// Chunks that one call gives back: enough to keep up, few enough to stay short.
const RECLAIMED: usize = 2;

/// Gives leaf tables back where too many are empty.
#[cold]
pub(crate) fn reclaim<F: Format>(unit: &impl Flush<F>, domain: &PagingDomain<F>) {
    if domain.space().is_some_and(|s| s.empty_chunks() > KEPT) {
        free_some(unit, domain, RECLAIMED, true);
    }
}

/// Frees leaf tables of empty chunks because others want the memory, `most` at most. Returns their
/// number.
pub(crate) fn free_spare<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    most: usize,
) -> usize {
    let mut freed = domain.reserve.drain(&domain.tables(Gfp::Atomic));
    while freed < most {
        match free_some(unit, domain, most - freed, false) {
            0 => break,
            n => freed += n,
        }
    }
    freed
}

/// Takes leaf tables of empty chunks out of the tree, has every unit forget them, and frees them:
/// `most`, and a few at a time; with `keep` the reserve gets some. Returns their number.
fn free_some<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    most: usize,
    keep: bool,
) -> usize {
    let Some(space) = domain.space() else {
        return 0;
    };
    let mut taken = [None; 8];
    let mut tables = 0;
    for slot in taken.iter_mut().take(most) {
        let Some((chunk, leaf)) = space.reclaim(0) else {
            break;
        };
        let table = (leaf != 0).then(|| domain.detach(chunk)).flatten();
        tables += usize::from(table.is_some());
        *slot = Some((chunk, table));
    }
    // Walk caches, too. What cannot be invalidated is never used again.
    if tables != 0 && unit.forget(domain).is_err() {
        let chunks = taken.iter().flatten().count();
        // CAST (both): 8 at most; u32 to u64 never loses a bit.
        domain.quarantine(chunks as u64 * u64::from(slab::PAGES));
        return 0;
    }
    for (chunk, table) in taken.into_iter().flatten() {
        if let Some(table) = table {
            domain.free_table(table, keep);
        }
        space.reclaimed(chunk);
    }
    tables
}

/// Takes an empty leaf table from where a larger page is to go. `false`: it is not empty, and stays. All
/// that it could map is the caller's.
#[cold]
pub(crate) fn make_way<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    iova: Iova,
) -> bool {
    let Some(table) = domain.detach_empty(iova) else {
        return false;
    };
    // Walk caches, too: before it is freed, and before a device is told of what comes in its place. What a
    // unit may not have forgotten stays as it is, empty.
    if unit.forget(domain).is_ok() {
        domain.free_table(table, false);
    }
    true
}

/// Invalidates the first pages of an object, whose items are clear, and gives it back.
#[inline(always)]
pub(crate) fn release_inline<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    space: &Space,
    object: &Object<'_>,
    pages: usize,
    lazy: bool,
) {
    if lazy && put_off(unit, domain, object.iova, pages) {
        return;
    }
    let span = span(object.iova, pages);
    if unit.after_unmap_inline(domain, span).is_err() {
        return domain.quarantine(span.pages);
    }
    match space.free(object) {
        Err(e) => _ = report(object.iova, Mismatch::Wild(e)),
        Ok(true) => reclaim(unit, domain),
        Ok(false) => {}
    }
}

/// [`release_inline`] at once, where it need not be fast.
#[inline(never)]
pub(crate) fn release<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    object: &Object<'_>,
    pages: usize,
) {
    if let Some(space) = domain.space() {
        release_inline(unit, domain, space, object, pages, false);
    }
}

/// Gives an object back that no unit has translations of. `true`: its chunk is empty now.
#[inline(never)]
pub(crate) fn release_clean<F: Format>(domain: &PagingDomain<F>, object: &Object<'_>) -> bool {
    match domain.space().map(|space| space.free(object)) {
        Some(Ok(empty)) => empty,
        Some(Err(e)) => report(object.iova, Mismatch::Wild(e)),
        None => false,
    }
}

/// Clears what is mapped in a part of a run, invalidates it, and gives the run back.
#[cold]
pub(crate) fn release_run<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    object: &Object<'_>,
    iova: u64,
    len: u64,
) {
    let mut done = 0;
    let mut cleared: Option<Range> = None;
    while done < len {
        let u = domain.unmap(iova + done, len - done);
        if let Some(c) = u.cleared {
            cleared = match cleared {
                None => Some(c),
                Some(r) => Range::new(r.first().min(c.first()), r.last().max(c.last())),
            };
        }
        // A hole is one page at least.
        done += u.bytes.max(PAGE_SIZE);
    }
    match cleared.map_or(Ok(()), |c| unit.after_unmap(domain, PageSpan::of(&c))) {
        Ok(()) => _ = release_clean(domain, object),
        Err(_) => {
            if let Some(c) = cleared {
                pr_debug!("quarantined {}\n", Show(c));
            }
            domain.quarantine(len / PAGE_SIZE);
        }
    }
}
