// SPDX-License-Identifier: GPL-2.0

//! The DMA API on our own allocator and mapper, for any format and any unit.
//!
//! Every mapping is page granular; strict: when an unmap returns, no unit reaches the memory any
//! more. What could not be invalidated keeps its addresses for ever (quarantine).

use iommu_core::{
    addr::{
        Perm,
        Range,
        PAGE_SIZE, //
    },
    pt::Format,
    slab::{
        Use,
        CHUNK_SHIFT,
        MOST_PAGES, //
    }, //
};
use kernel::{
    error::code::*,
    prelude::*, //
};
use kernel_iommu::{
    hw_pages::Gfp,
    iommu::{
        device::dma_limit,
        dma_ops::{
            Direction,
            Request, //
        }, //
    }, //
};

use crate::{
    domain::{
        map_errno,
        refused,
        Mismatch,
        Object,
        PagingDomain, //
    },
    glue::{
        this_cpu,
        Show, //
    }, //
};

/// The largest mapping.
// CAST (both): u32 fits usize.
pub(crate) const MAX_MAPPING: usize = MOST_PAGES as usize * PAGE_SIZE as usize;
/// Bytes of a chunk less one: where a superpage begins.
const IN_CHUNK: u64 = (1 << CHUNK_SHIFT) - 1;

/// What a unit family does for the DMA API.
pub(crate) trait Flush<F: Format> {
    /// Makes new mappings visible where a unit caches absent entries.
    fn after_map(&self, domain: &PagingDomain<F>, range: Range) -> Result;
    /// Makes a range unreachable before it returns.
    fn after_unmap(&self, domain: &PagingDomain<F>, range: Range) -> Result;
}

#[inline]
pub(crate) fn perm(dir: Direction) -> Perm {
    Perm {
        read: dir.device_reads,
        write: dir.device_writes,
    }
}

/// The whole pages around `len` bytes at `at`: offset in the first page, number of pages.
///
/// # Errors
///
/// `EINVAL`: none, or too many for any mapping.
#[inline]
pub(crate) fn pages_around(at: u64, len: usize) -> Result<(u64, u32)> {
    let offset = at & (PAGE_SIZE - 1);
    if len.wrapping_sub(1) >= MAX_MAPPING {
        return Err(EINVAL);
    }
    // CAST (both): a mapping has some million pages at most.
    Ok((
        offset,
        ((offset + len as u64 + PAGE_SIZE - 1) / PAGE_SIZE) as u32,
    ))
}

/// The range of `pages` pages from `iova` on.
#[inline]
fn range(iova: u64, pages: usize) -> Result<Range> {
    // CAST: usize is not wider than u64.
    Range::with_len(iova, pages as u64 * PAGE_SIZE).ok_or(EINVAL)
}

/// Takes addresses for so many pages, below the limit of the request's device.
#[inline]
pub(crate) fn take<'a, F: Format>(
    domain: &'a PagingDomain<F>,
    req: &Request<'_>,
    pages: u32,
) -> Result<Object<'a>> {
    let limit = dma_limit(req.dev, req.coherent).min(domain.last_iova());
    let space = domain.space().ok_or(EINVAL)?;
    space.alloc(this_cpu(), pages, limit).map_err(refused)
}

/// Maps one physically contiguous buffer; returns the DMA address of its first byte.
#[inline]
pub(crate) fn map<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    req: Request<'_>,
    phys: u64,
    len: usize,
) -> Result<u64> {
    let (offset, pages) = pages_around(phys, len)?;
    if pages > IN_CHUNK as u32 / PAGE_SIZE as u32 {
        return map_large(unit, domain, req, phys, pages).map(|iova| iova | offset);
    }
    let object = take(domain, &req, pages)?;
    // CAST: u32 fits usize.
    let count = pages as usize;
    let mapped = match object.used_for {
        Use::Objects { .. } => domain.leaf_table(&object).map(|table| {
            let item = object.first_item();
            domain.fill(table, item, phys - offset, count, perm(req.dir));
            domain.written(table, item, count);
        }),
        _ => domain
            .map(
                object.iova,
                phys - offset,
                u64::from(pages) * PAGE_SIZE,
                perm(req.dir),
                Gfp::Atomic,
            )
            .map_err(|e| map_errno(&e)),
    };
    finish(unit, domain, &object, count, mapped)?;
    Ok(object.iova | offset)
}

/// Maps a buffer of 2 MiB at least so that its superpages are the IOMMU's, too.
#[cold]
fn map_large<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    req: Request<'_>,
    phys: u64,
    pages: u32,
) -> Result<u64> {
    let phys = phys & !(PAGE_SIZE - 1);
    let skip = phys & IN_CHUNK;
    // CAST (both): 9 bits; u32 fits usize.
    let object = take(domain, &req, pages + (skip / PAGE_SIZE) as u32)?;
    let (iova, len) = (object.iova + skip, u64::from(pages) * PAGE_SIZE);
    let mapped = domain
        .map(iova, phys, len, perm(req.dir), Gfp::Atomic)
        .map_err(|e| map_errno(&e))
        .and_then(|()| unit.after_map(domain, range(iova, pages as usize)?));
    if let Err(e) = mapped {
        release_run(unit, domain, &object, iova, len);
        return Err(e);
    }
    Ok(iova)
}

/// Ends a mapping: units see it, or nothing of it is left.
#[inline]
pub(crate) fn finish<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    object: &Object<'_>,
    pages: usize,
    mapped: Result,
) -> Result {
    mapped
        .and_then(|()| unit.after_map(domain, range(object.iova, pages)?))
        .inspect_err(|_| give_up(unit, domain, object, pages))
}

/// Takes back what a failed mapping has done.
#[cold]
fn give_up<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    object: &Object<'_>,
    pages: usize,
) {
    match object.used_for {
        Use::Objects { .. } => match domain.clear(object, None) {
            Ok(n) => release(unit, domain, object, n),
            // Nothing was written.
            Err(_) => release_clean(domain, object),
        },
        // CAST: usize is not wider than u64.
        _ => release_run(unit, domain, object, object.iova, pages as u64 * PAGE_SIZE),
    }
}

/// Maps single pages in a row.
pub(crate) fn map_pages<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    req: Request<'_>,
    pages: &[u64],
) -> Result<u64> {
    let count = u32::try_from(pages.len()).map_err(|_| EINVAL)?;
    let object = take(domain, &req, count)?;
    let pieces = pages
        .iter()
        .zip((0u64..).step_by(PAGE_SIZE as usize))
        .map(|(phys, at)| (at, *phys, PAGE_SIZE));
    map_pieces(unit, domain, &object, perm(req.dir), pages.len(), pieces)?;
    Ok(object.iova)
}

/// Maps pieces of whole pages into an object. `pieces` gives for each its place there, the address
/// of its first page and its length.
#[inline]
pub(crate) fn map_pieces<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    object: &Object<'_>,
    perm: Perm,
    pages: usize,
    mut pieces: impl Iterator<Item = (u64, u64, u64)>,
) -> Result {
    let mapped = match object.used_for {
        Use::Objects { .. } => domain.leaf_table(object).map(|table| {
            let item = object.first_item();
            for (at, phys, len) in pieces {
                // CAST (both): an object has 1 MiB at most.
                let (at, count) = ((at / PAGE_SIZE) as usize, (len / PAGE_SIZE) as usize);
                domain.fill(table, item + at, phys, count, perm);
            }
            domain.written(table, item, pages);
        }),
        _ => pieces.try_for_each(|(at, phys, len)| {
            domain
                .map(object.iova + at, phys, len, perm, Gfp::Atomic)
                .map_err(|e| map_errno(&e))
        }),
    };
    finish(unit, domain, object, pages, mapped)
}

/// Unmaps `len` bytes at the DMA address `addr`, or all that was mapped there at once. Returns `false`
/// if nothing was.
#[inline]
pub(crate) fn unmap<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    addr: u64,
    len: Option<usize>,
) -> bool {
    let Some(space) = domain.space() else {
        return false;
    };
    let pages = match len.map(|len| pages_around(addr, len)) {
        // CAST: u32 fits usize.
        Some(Ok((_, pages))) => Some(pages as usize),
        Some(Err(_)) => return report(addr, Mismatch::Longer),
        None => None,
    };
    let object = match space.object(addr & !(PAGE_SIZE - 1)) {
        Ok(object) => object,
        Err(e) => return report(addr, Mismatch::Wild(e)),
    };
    match object.used_for {
        Use::Objects { .. } => match domain.clear(&object, pages) {
            Ok(n) => release(unit, domain, &object, n),
            Err(e) => return report(addr, e),
        },
        _ => return unmap_run(unit, domain, &object, addr & !(PAGE_SIZE - 1), pages),
    }
    true
}

/// Says once that a driver unmaps what it has not mapped.
#[cold]
fn report(addr: u64, e: Mismatch) -> bool {
    kernel::pr_warn_once!(
        "DMA API: unmap of {:#x} that does not match a mapping: {:?}\n",
        addr,
        e
    );
    false
}

/// Invalidates the first pages of an object, whose items are clear, and gives it back.
#[inline]
fn release<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    object: &Object<'_>,
    pages: usize,
) {
    match range(object.iova, pages).and_then(|r| unit.after_unmap(domain, r)) {
        Ok(()) => release_clean(domain, object),
        // CAST: usize is not wider than u64.
        Err(_) => domain.quarantine(pages as u64),
    }
}

/// Gives an object back that no unit has translations of.
#[inline]
fn release_clean<F: Format>(domain: &PagingDomain<F>, object: &Object<'_>) {
    if let Some(Err(e)) = domain.space().map(|space| space.free(object)) {
        report(object.iova, Mismatch::Wild(e));
    }
}

/// Unmaps a run, of which `iova` is where the mapping begins.
#[cold]
fn unmap_run<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    object: &Object<'_>,
    iova: u64,
    pages: Option<usize>,
) -> bool {
    let end = object.iova + u64::from(object.pages()) * PAGE_SIZE;
    if domain.lookup(iova).is_none() {
        return report(iova, Mismatch::NotMapped);
    }
    // CAST (both): usize is not wider than u64.
    let mut len = pages.map_or(end - iova, |n| n as u64 * PAGE_SIZE);
    if len > end - iova {
        return report(iova, Mismatch::Longer);
    }
    if domain.lookup(iova + len).is_some() && iova + len < end {
        domain.report_partial(iova, pages.unwrap_or(0));
        len = end - iova;
    }
    release_run(unit, domain, object, iova, len);
    true
}

/// Clears what is mapped in a part of a run, invalidates it, and gives the run back.
#[cold]
fn release_run<F: Format>(
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
    match cleared.map_or(Ok(()), |c| unit.after_unmap(domain, c)) {
        Ok(()) => release_clean(domain, object),
        Err(_) => {
            if let Some(c) = cleared {
                pr_debug!("quarantined {}\n", Show(c));
            }
            domain.quarantine(len / PAGE_SIZE);
        }
    }
}
