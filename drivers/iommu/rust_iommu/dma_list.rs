// SPDX-License-Identifier: GPL-2.0

//! Scatter lists: one range of addresses, one invalidation.

use iommu_core::{
    addr::{
        Perm,
        PAGE_SIZE, //
    },
    pt::Format,
    slab::Use, //
};
use kernel::{
    error::code::*,
    prelude::*, //
};
use kernel_iommu::iommu::{
    device::{
        max_segment_size,
        segment_boundary, //
    },
    dma_ops::{
        PageArray,
        Request,
        SgList, //
    }, //
};

use crate::{
    addresses::Object,
    dma::{
        finish,
        give_up,
        limit,
        perm,
        take,
        Flush,
        MAX_MAPPING, //
    },
    domain::PagingDomain,
    glue::{
        this_cpu,
        Space, //
    },
    leaves::Writer, //
};

/// The bytes of the pages that an entry has.
#[inline]
fn bytes_of_pages(offset: u64, len: u32) -> u64 {
    (offset + u64::from(len) + (PAGE_SIZE - 1)) & !(PAGE_SIZE - 1)
}

/// Do so many bytes from `at` on cross the boundary?
#[inline]
fn crosses(at: u64, bytes: u64, boundary: u64) -> bool {
    (at & boundary) + bytes > boundary + 1
}

/// Where an entry of so many bytes goes in the range: at `next`, or after the boundary that it would
/// cross. The range itself starts at a multiple of its size, so its own offsets decide.
#[inline]
fn place(next: u64, bytes: u64, boundary: u64) -> u64 {
    if crosses(next, bytes, boundary) {
        (next | boundary) + 1
    } else {
        next
    }
}

/// Stores the list's segments as they are from the range's start: entries that end and begin at pages
/// make one, as long as the device takes it. Returns the bytes that the range has, and the number of
/// segments.
#[inline]
fn lay_out(list: &SgList<'_>, boundary: u64, most: u32) -> (u64, usize) {
    let mut segments = list.segments();
    let mut next = 0;
    // The segment that is growing: where it begins, its bytes; where it ends.
    let (mut start, mut bytes, mut end) = (0, 0, u64::MAX);
    for e in list.iter() {
        let (offset, len) = (e.offset(), e.len_bytes());
        let whole = bytes_of_pages(offset, len);
        let at = place(next, whole, boundary);
        next = at + whole;
        let (begin, longer) = (at + offset, bytes + u64::from(len));
        if begin == end && longer <= u64::from(most) && !crosses(start, longer, boundary) {
            bytes = longer;
        } else {
            if end != u64::MAX {
                // CAST: not more than `most`, or an entry's own length.
                segments.push(start, bytes as u32);
            }
            (start, bytes) = (begin, u64::from(len));
        }
        end = begin + u64::from(len);
    }
    // CAST: as above.
    segments.push(start, bytes as u32);
    (next, segments.finish())
}

/// Maps all entries of a list into one range and stores its segments. Returns their number.
#[inline]
pub(crate) fn map_list<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    req: Request<'_>,
    list: &SgList<'_>,
) -> Result<usize> {
    match map_singles(unit, domain, &req, list) {
        Some(mapped) => mapped,
        None => map_any(unit, domain, req, list),
    }
}

/// [`map_list`] for what most lists are: entries of one page each, so that one pass over the list is
/// enough. [`None`]: it is not such a list, or there are no addresses at hand; nothing is mapped.
#[inline(always)]
fn map_singles<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    req: &Request<'_>,
    list: &SgList<'_>,
) -> Option<Result<usize>> {
    let order = Space::order_of(u32::try_from(list.len()).ok()?);
    // CAST: u32 fits u64.
    if order > 8 || (PAGE_SIZE << order) - 1 > segment_boundary(req.dev) {
        return None;
    }
    let object = domain
        .space()?
        .alloc_at_hand(this_cpu(), order, limit(domain, req))?;
    let (array, most) = (PageArray::new(), u64::from(max_segment_size(req.dev)));
    let mut segments = list.segments();
    let mut pages = 0;
    let ready = domain.leaf_table(&object).ok().filter(|table| {
        let (first, perm) = (object.first_item(), perm(req.dir));
        let mut at = object.iova;
        // The segment that is growing: where it begins, and its bytes.
        let (mut start, mut bytes) = (0, 0);
        for e in list.iter() {
            let (offset, len) = (e.offset(), u64::from(e.len_bytes()));
            if (offset + len).wrapping_sub(1) >= PAGE_SIZE {
                return false;
            }
            domain.fill(*table, first + pages, e.page_phys(&array), 1, perm);
            pages += 1;
            let begin = at + offset;
            at += PAGE_SIZE;
            if start + bytes == begin && bytes + len <= most {
                bytes += len;
            } else {
                if bytes != 0 {
                    // CAST: not more than `most`, or an entry's own length.
                    segments.push(start, bytes as u32);
                }
                (start, bytes) = (begin, len);
            }
        }
        // CAST: as above.
        segments.push(start, bytes as u32);
        domain.written(*table, first, pages);
        true
    });
    if ready.is_none() {
        // A device may have looked at what was written.
        give_up(unit, domain, &object, pages);
        return None;
    }
    if let Err(e) = finish(unit, domain, &object, pages, Ok(())) {
        return Some(Err(e));
    }
    Some(Ok(segments.finish()))
}

/// [`map_list`] for any list.
#[inline(never)]
fn map_any<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    req: Request<'_>,
    list: &SgList<'_>,
) -> Result<usize> {
    let boundary = (segment_boundary(req.dev) | (PAGE_SIZE - 1)).min(u64::MAX >> 1);
    let (bytes, segments) = lay_out(list, boundary, max_segment_size(req.dev));
    // CAST: usize is not wider than u64.
    if bytes == 0 || bytes > MAX_MAPPING as u64 {
        return Err(EINVAL);
    }
    // CAST: below the largest mapping.
    let pages = (bytes / PAGE_SIZE) as u32;
    let object = take(unit, domain, &req, pages)?;
    let mapped = match object.used_for {
        Use::Objects { .. } => write(domain, &object, perm(req.dir), list, boundary),
        _ => write_run(domain, &object, perm(req.dir), list, boundary),
    };
    // CAST: u32 fits usize.
    finish(unit, domain, &object, pages as usize, mapped)?;
    list.move_segments(segments, object.iova);
    Ok(segments)
}

/// Writes the translations of a list's entries into an object of a chunk.
#[inline]
fn write<F: Format>(
    domain: &PagingDomain<F>,
    object: &Object<'_>,
    perm: Perm,
    list: &SgList<'_>,
    boundary: u64,
) -> Result {
    let array = PageArray::new();
    let table = domain.leaf_table(object)?;
    let first = object.first_item();
    let mut next = 0;
    for e in list.iter() {
        let whole = bytes_of_pages(e.offset(), e.len_bytes());
        let at = place(next, whole, boundary);
        next = at + whole;
        // CAST (both): an object has 1 MiB at most.
        let item = first + (at / PAGE_SIZE) as usize;
        domain.fill(
            table,
            item,
            e.page_phys(&array),
            (whole / PAGE_SIZE) as usize,
            perm,
        );
    }
    // CAST: as above.
    domain.written(table, first, (next / PAGE_SIZE) as usize);
    Ok(())
}

/// Writes the translations of a list's entries into a run.
#[inline(never)]
fn write_run<F: Format>(
    domain: &PagingDomain<F>,
    object: &Object<'_>,
    perm: Perm,
    list: &SgList<'_>,
    boundary: u64,
) -> Result {
    let array = PageArray::new();
    let mut writer = Writer::new(domain);
    let mut next = 0;
    for e in list.iter() {
        let whole = bytes_of_pages(e.offset(), e.len_bytes());
        let at = place(next, whole, boundary);
        next = at + whole;
        writer.put(
            object.iova + at,
            e.page_phys(&array),
            whole / PAGE_SIZE,
            perm,
        )?;
    }
    Ok(())
}
