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
    pt::Format, //
};
use kernel::{
    error::code::*,
    prelude::*, //
};
use kernel_iommu::{
    hw_pages::Gfp,
    iommu::{
        device::{
            dma_limit,
            segment_boundary, //
        },
        dma_ops::{
            Direction,
            Request,
            SgList, //
        }, //
    }, //
};

use crate::{
    domain::{
        map_errno,
        PagingDomain, //
    },
    glue::Show, //
};

/// The largest mapping: one window of the allocator.
pub(crate) const MAX_MAPPING: usize = 128 << 20;

/// What a unit family does for the DMA API.
pub(crate) trait Flush<F: Format> {
    /// Makes new mappings visible where a unit caches absent entries.
    fn after_map(&self, domain: &PagingDomain<F>, range: Range) -> Result;
    /// Makes a range unreachable before it returns.
    fn after_unmap(&self, domain: &PagingDomain<F>, range: Range) -> Result;
}

fn perm(dir: Direction) -> Perm {
    Perm {
        read: dir.device_reads,
        write: dir.device_writes,
    }
}

/// The whole pages around `len` bytes at `at`: offset in the first page, number of pages.
#[inline]
fn pages_around(at: u64, len: usize) -> Result<(u64, u32)> {
    let offset = at & (PAGE_SIZE - 1);
    // CAST: usize is not wider than u64.
    let bytes = offset.checked_add(len as u64).ok_or(EINVAL)?;
    let pages = u32::try_from(bytes.div_ceil(PAGE_SIZE)).map_err(|_| EINVAL)?;
    if len == 0 {
        return Err(EINVAL);
    }
    Ok((offset, pages))
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
    let bytes = u64::from(pages) * PAGE_SIZE;
    let iova = domain.alloc_iova(pages, dma_limit(req.dev, req.coherent), u64::MAX)?;
    let range = Range::with_len(iova, bytes).ok_or(EINVAL)?;
    let mapped = domain
        .map(
            iova,
            phys & !(PAGE_SIZE - 1),
            bytes,
            perm(req.dir),
            Gfp::Atomic,
        )
        .map_err(|e| map_errno(&e))
        .and_then(|()| unit.after_map(domain, range));
    match mapped {
        Ok(()) => Ok(iova | offset),
        Err(e) => {
            give_up(unit, domain, range);
            Err(e)
        }
    }
}

/// Maps pieces of whole pages into one range. `pieces` gives for each its place in the range, its
/// first byte's page address and its length, both in whole pages.
fn map_pieces<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    req: Request<'_>,
    pages: u32,
    pieces: impl Iterator<Item = (u64, u64, u64)>,
) -> Result<u64> {
    let limit = dma_limit(req.dev, req.coherent);
    let iova = domain.alloc_iova(pages, limit, u64::MAX)?;
    let range = Range::with_len(iova, u64::from(pages) * PAGE_SIZE).ok_or(EINVAL)?;
    let mut mapped = Ok(());
    for (at, phys, len) in pieces {
        mapped = domain.map(iova + at, phys, len, perm(req.dir), Gfp::Atomic);
        if mapped.is_err() {
            break;
        }
    }
    let mapped = mapped
        .map_err(|e| map_errno(&e))
        .and_then(|()| unit.after_map(domain, range));
    match mapped {
        Ok(()) => Ok(iova),
        Err(e) => {
            give_up(unit, domain, range);
            Err(e)
        }
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
    let pieces = pages
        .iter()
        .zip((0u64..).step_by(PAGE_SIZE as usize))
        .map(|(phys, at)| (at, *phys, PAGE_SIZE));
    map_pieces(unit, domain, req, count, pieces)
}

/// Where the entries of a scatter list go in one range: each on a page of its own, none across
/// the device's segment boundary.
struct Layout {
    boundary: u64,
    next: u64,
}

impl Layout {
    fn new(boundary: u64) -> Self {
        Self { boundary, next: 0 }
    }

    /// Places an entry of `len` bytes at `phys`: the start of its first page in the range, the
    /// number of bytes of its pages.
    fn place(&mut self, phys: u64, len: u32) -> Result<(u64, u64)> {
        // CAST: u32 fits usize.
        let (_, pages) = pages_around(phys, (len as usize).max(1))?;
        let bytes = u64::from(pages) * PAGE_SIZE;
        let last = self.next.checked_add(bytes - 1).ok_or(EINVAL)?;
        // The range itself starts at a multiple of its size, so its own offsets decide.
        if (self.next & !self.boundary) != (last & !self.boundary) {
            self.next = (self.next | self.boundary).checked_add(1).ok_or(EINVAL)?;
        }
        let at = self.next;
        self.next = at.checked_add(bytes).ok_or(EINVAL)?;
        Ok((at, bytes))
    }
}

/// Maps a scatter list into one range and stores the entries' addresses.
pub(crate) fn map_list<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    req: Request<'_>,
    list: &SgList<'_>,
) -> Result {
    let boundary = segment_boundary(req.dev) | (PAGE_SIZE - 1);
    let mut layout = Layout::new(boundary);
    for e in list.iter() {
        layout.place(e.phys(), e.len_bytes())?;
    }
    let pages = u32::try_from(layout.next / PAGE_SIZE).map_err(|_| EINVAL)?;
    let mut layout = Layout::new(boundary);
    let pieces = list.iter().filter_map(|e| {
        let phys = e.phys();
        let (at, bytes) = layout.place(phys, e.len_bytes()).ok()?;
        Some((at, phys & !(PAGE_SIZE - 1), bytes))
    });
    let iova = map_pieces(unit, domain, req, pages, pieces)?;
    let mut layout = Layout::new(boundary);
    for e in list.iter() {
        let phys = e.phys();
        let (at, _) = layout.place(phys, e.len_bytes())?;
        e.set_dma_address(iova + at + (phys & (PAGE_SIZE - 1)));
    }
    Ok(())
}

/// Unmaps `len` bytes at the DMA address `addr`, holes of a scatter list's layout included.
/// Returns `false` if nothing was mapped there.
#[inline]
pub(crate) fn unmap<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    addr: u64,
    len: usize,
) -> bool {
    let Ok((_, pages)) = pages_around(addr, len) else {
        return false;
    };
    match Range::with_len(addr & !(PAGE_SIZE - 1), u64::from(pages) * PAGE_SIZE) {
        Some(range) => give_up(unit, domain, range),
        None => false,
    }
}

/// Clears what is mapped in `range`, invalidates it, and frees the addresses.
fn give_up<F: Format>(unit: &impl Flush<F>, domain: &PagingDomain<F>, range: Range) -> bool {
    let len = range.len_bytes();
    let mut done = 0;
    let mut cleared: Option<Range> = None;
    while done < len {
        let u = domain.unmap(range.first() + done, len - done);
        if let Some(c) = u.cleared {
            cleared = match cleared {
                None => Some(c),
                Some(r) => Range::new(r.first().min(c.first()), r.last().max(c.last())),
            };
        }
        // A hole is one page at least.
        done += u.bytes.max(PAGE_SIZE);
    }
    let flushed = match cleared {
        Some(c) => unit.after_unmap(domain, c),
        None => Ok(()),
    };
    if flushed.is_err() {
        domain.quarantine(len / PAGE_SIZE);
        return cleared.is_some();
    }
    if let Err(e) = domain.free_iova(range) {
        kernel::pr_warn_once!(
            "DMA API: unmap of {} that does not match a mapping: {:?}\n",
            Show(range),
            e
        );
        return false;
    }
    cleared.is_some()
}
