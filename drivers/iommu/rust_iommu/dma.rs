// SPDX-License-Identifier: GPL-2.0

//! The DMA API on our own allocator and mapper, for any format and any unit.
//!
//! Every mapping is page granular; strict, but for lazy mode (see `lazy`): when an unmap returns, no
//! unit reaches the memory any more. What could not be invalidated keeps its addresses for ever
//! (quarantine).

use iommu_core::{
    addr::{
        PageSpan,
        Perm,
        PAGE_SIZE, //
    },
    pt::Format,
    slab::{
        Refusal,
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
    addresses::{
        refused,
        Object, //
    },
    domain::{
        map_errno,
        PagingDomain, //
    },
    glue::this_cpu,
    lazy,
    leaves::{
        Mismatch,
        Writer, //
    },
    release::{
        put_back,
        release,
        release_clean,
        release_inline,
        release_run, //
    }, //
};

/// The largest mapping.
// CAST (both): u32 fits usize.
pub(crate) const MAX_MAPPING: usize = MOST_PAGES as usize * PAGE_SIZE as usize;
/// Bytes of a chunk less one: where a superpage begins.
const IN_CHUNK: u64 = (1 << CHUNK_SHIFT) - 1;

/// What a unit family does for the DMA API.
pub(crate) trait Flush<F: Format> {
    /// Is [`Self::after_map`] needed at all?
    fn hears_of_maps(&self) -> bool;
    /// Makes new mappings visible where a unit caches absent entries.
    fn after_map(&self, domain: &PagingDomain<F>, span: PageSpan) -> Result;
    /// [`Self::after_unmap`] where it is called from a short path.
    fn after_unmap_inline(&self, domain: &PagingDomain<F>, span: PageSpan) -> Result;
    /// Drops everything that units hold of a domain, walk caches included.
    fn forget(&self, domain: &PagingDomain<F>) -> Result;
    /// Makes pages unreachable before it returns.
    fn after_unmap(&self, domain: &PagingDomain<F>, span: PageSpan) -> Result;
    /// [`Self::after_unmap`] for several ranges, [`lazy::MAX_SPANS`] at most.
    fn after_unmaps(&self, domain: &PagingDomain<F>, spans: &[PageSpan]) -> Result;
}

#[inline]
pub(crate) fn perm(dir: Direction) -> Perm {
    Perm {
        read: dir.device_reads(),
        write: dir.device_writes(),
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
    Ok((offset, (offset + len as u64).div_ceil(PAGE_SIZE) as u32))
}

/// `pages` pages from `first` on.
#[inline]
pub(crate) fn span(first: u64, pages: usize) -> PageSpan {
    PageSpan {
        first,
        // CAST: usize is not wider than u64.
        pages: pages as u64,
    }
}

/// The last address that a request's device reaches.
#[inline(always)]
pub(crate) fn limit<F: Format>(domain: &PagingDomain<F>, req: &Request<'_>) -> u64 {
    dma_limit(req.dev, req.is_coherent()).min(domain.last_iova())
}

/// Takes addresses for so many pages, below the limit of the request's device.
#[inline]
pub(crate) fn take<'a, F: Format>(
    unit: &impl Flush<F>,
    domain: &'a PagingDomain<F>,
    req: &Request<'_>,
    pages: u32,
) -> Result<Object<'a>> {
    let space = domain.space().ok_or(EINVAL)?;
    let limit = limit(domain, req);
    space
        .alloc(this_cpu(), pages, limit)
        .or_else(|e| match e {
            // Some may wait for their invalidation.
            Refusal::Full if lazy::settle_all(unit, domain) => {
                space.alloc(this_cpu(), pages, limit)
            }
            e => Err(e),
        })
        .map_err(refused)
}

/// Do `len` bytes at `at` lie in one page?
#[inline]
fn is_in_page(at: u64, len: usize) -> bool {
    // CAST (both): what does not fit is no page.
    let room = PAGE_SIZE as usize - (at & (PAGE_SIZE - 1)) as usize;
    len.wrapping_sub(1) < room
}

/// Maps a buffer in one page, if this CPU has addresses at hand; returns its DMA address. [`None`]: nothing
/// is done, and [`map`] is to be called.
#[inline(always)]
pub(crate) fn map_at_hand<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    req: &Request<'_>,
    cpu: usize,
    phys: u64,
    len: usize,
) -> Option<u64> {
    if !is_in_page(phys, len) {
        return None;
    }
    let limit = limit(domain, req);
    let object = domain.space()?.alloc_at_hand(cpu, 0, limit)?;
    let offset = phys & (PAGE_SIZE - 1);
    // Not by way of the object from here on: it would have to be in memory for the cold paths alone.
    let (iova, item) = (object.iova, object.first_item());
    let Some(table) = domain.known_leaf_table(&object) else {
        put_back(unit, domain, iova);
        return None;
    };
    domain.fill_one(table, item, phys - offset, perm(req.dir));
    if unit.hears_of_maps() && tell(unit, domain, iova).is_err() {
        return None;
    }
    Some(iova | offset)
}

/// Makes the mapping of a page visible to units that hear of maps; nothing of it is left if that fails.
#[inline(never)]
fn tell<F: Format>(unit: &impl Flush<F>, domain: &PagingDomain<F>, iova: u64) -> Result {
    unit.after_map(domain, span(iova, 1)).inspect_err(|_| {
        if let Some(object) = domain.space().and_then(|s| s.page_object(iova)) {
            give_up(unit, domain, &object, 1);
        }
    })
}

/// Maps one physically contiguous buffer; returns the DMA address of its first byte.
///
/// # Errors
///
/// `ENOMEM`: no addresses or tables. `EINVAL`: no bytes, or too many. What a unit answers.
#[inline(never)]
pub(crate) fn map<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    req: Request<'_>,
    phys: u64,
    len: usize,
) -> Result<u64> {
    let (offset, pages) = pages_around(phys, len)?;
    // CAST (both): below 512.
    if pages > IN_CHUNK as u32 / PAGE_SIZE as u32 {
        return map_large(unit, domain, req, phys, pages).map(|iova| iova | offset);
    }
    let object = take(unit, domain, &req, pages)?;
    let piece = (phys - offset, u64::from(pages));
    map_pieces(
        unit,
        domain,
        &object,
        perm(req.dir),
        core::iter::once(piece),
    )?;
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
    let object = take(unit, domain, &req, pages + (skip / PAGE_SIZE) as u32)?;
    let (iova, len) = (object.iova + skip, u64::from(pages) * PAGE_SIZE);
    let mapped = domain
        .map(iova, phys, len, perm(req.dir), Gfp::Atomic)
        .map_err(|e| map_errno(&e))
        .and_then(|()| unit.after_map(domain, span(iova, pages as usize)));
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
    if mapped.is_ok() && !unit.hears_of_maps() {
        return Ok(());
    }
    finish_heard(unit, domain, object, pages, mapped)
}

#[inline(never)]
fn finish_heard<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    object: &Object<'_>,
    pages: usize,
    mapped: Result,
) -> Result {
    mapped
        .and_then(|()| unit.after_map(domain, span(object.iova, pages)))
        .inspect_err(|_| give_up(unit, domain, object, pages))
}

/// Takes back what a failed mapping has done.
#[cold]
pub(crate) fn give_up<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    object: &Object<'_>,
    pages: usize,
) {
    match object.used_for {
        Use::Objects { .. } => match domain.clear_all(object) {
            Ok(n) => release(unit, domain, object, n),
            // Nothing was written.
            Err(_) => _ = release_clean(domain, object),
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
    let object = take(unit, domain, &req, count)?;
    let pieces = pages.iter().map(|phys| (*phys, 1));
    map_pieces(unit, domain, &object, perm(req.dir), pieces)?;
    Ok(object.iova)
}

/// Maps pieces of whole pages into an object, one after the other: each the address of its first page
/// and its pages.
#[inline]
fn map_pieces<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    object: &Object<'_>,
    perm: Perm,
    pieces: impl Iterator<Item = (u64, u64)>,
) -> Result {
    let mut iova = object.iova;
    let mapped = (|| {
        let mut writer = match object.used_for {
            Use::Objects { .. } => Writer::to_object(domain, object)?,
            _ => Writer::new(domain),
        };
        for (phys, pages) in pieces {
            writer.put(iova, phys, pages, perm)?;
            iova += pages * PAGE_SIZE;
        }
        Ok(())
    })();
    // CAST: usize is as wide as u64 where there are IOMMUs.
    finish(
        unit,
        domain,
        object,
        ((iova - object.iova) / PAGE_SIZE).max(1) as usize,
        mapped,
    )
}

/// Unmaps `len` bytes at the DMA address `addr`, or all that was mapped there at once. Returns `false`
/// if nothing was.
#[inline(always)]
pub(crate) fn unmap<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    addr: u64,
    len: Option<usize>,
    lazy: bool,
) -> bool {
    let Some(space) = domain.space() else {
        return false;
    };
    let Some(len) = len else {
        // Most lists have an object of a chunk.
        let object = match space.object(addr & !(PAGE_SIZE - 1)) {
            Ok(object) => object,
            Err(e) => return report(addr, Mismatch::Wild(e)),
        };
        let Use::Objects { .. } = object.used_for else {
            return unmap_run(unit, domain, object.iova, addr & !(PAGE_SIZE - 1), None);
        };
        return match domain.clear_all(&object) {
            Ok(n) => {
                release_inline(unit, domain, space, &object, n, lazy);
                true
            }
            Err(e) => report(addr, e),
        };
    };
    if is_in_page(addr, len) {
        if let Some(object) = space.page_object(addr) {
            return match domain.clear_one(&object) {
                Ok(()) => {
                    release_inline(unit, domain, space, &object, 1, lazy);
                    true
                }
                Err(e) => report(addr, e),
            };
        }
    }
    unmap_more(unit, domain, addr, len, lazy)
}

/// [`unmap`] for more than a page.
#[inline(never)]
fn unmap_more<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    addr: u64,
    len: usize,
    lazy: bool,
) -> bool {
    let Some(space) = domain.space() else {
        return false;
    };
    let Ok((_, pages)) = pages_around(addr, len) else {
        return report(addr, Mismatch::Longer);
    };
    // CAST: u32 fits usize.
    let pages = pages as usize;
    let object = match space.object(addr & !(PAGE_SIZE - 1)) {
        Ok(object) => object,
        Err(e) => return report(addr, Mismatch::Wild(e)),
    };
    let Use::Objects { .. } = object.used_for else {
        return unmap_run(
            unit,
            domain,
            object.iova,
            addr & !(PAGE_SIZE - 1),
            Some(pages),
        );
    };
    match domain.clear(&object, pages) {
        Ok(n) => {
            release_inline(unit, domain, space, &object, n, lazy);
            true
        }
        Err(e) => report(addr, e),
    }
}

/// Says once that a driver unmaps what it has not mapped.
#[cold]
pub(crate) fn report(addr: u64, e: Mismatch) -> bool {
    kernel::pr_warn_once!(
        "DMA API: unmap of {:#x} that does not match a mapping: {:?}\n",
        addr,
        e
    );
    false
}

/// Unmaps the run at `run`, in which the mapping begins at `iova`.
#[cold]
fn unmap_run<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    run: u64,
    iova: u64,
    pages: Option<usize>,
) -> bool {
    let object = match domain.space().map(|space| space.object(run)) {
        Some(Ok(object)) => object,
        Some(Err(e)) => return report(iova, Mismatch::Wild(e)),
        None => return false,
    };
    let end = object.iova + u64::from(object.pages()) * PAGE_SIZE;
    if domain.lookup(iova).is_none() {
        return report(iova, Mismatch::NotMapped);
    }
    // CAST (both): usize is not wider than u64.
    let mut len = pages.map_or(end - iova, |n| n as u64 * PAGE_SIZE);
    if len > end - iova {
        return report(iova, Mismatch::Longer);
    }
    if iova + len < end && domain.lookup(iova + len).is_some() {
        domain.report_partial(iova, pages.unwrap_or(0));
        len = end - iova;
    }
    release_run(unit, domain, &object, iova, len);
    true
}
