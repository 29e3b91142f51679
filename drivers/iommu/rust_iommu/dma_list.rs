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
    dma::{
        finish,
        perm,
        take,
        Flush,
        MAX_MAPPING, //
    },
    domain::{
        Object,
        PagingDomain,
        Writer, //
    }, //
};

/// The bytes of the pages that an entry has; one page at least.
#[inline]
fn bytes_of_pages(offset: u64, len: u32) -> u64 {
    (offset + u64::from(len.max(1)) + (PAGE_SIZE - 1)) & !(PAGE_SIZE - 1)
}

/// Where an entry of so many bytes goes in the range: at `next`, or after the boundary that it would
/// cross. The range itself starts at a multiple of its size, so its own offsets decide.
#[inline]
fn place(next: u64, bytes: u64, boundary: u64) -> u64 {
    if (next ^ (next + bytes - 1)) & !boundary == 0 {
        next
    } else {
        (next | boundary) + 1
    }
}

/// The bytes that the list takes.
#[inline]
fn extent(list: &SgList<'_>, boundary: u64) -> u64 {
    let mut next = 0;
    for e in list.iter() {
        let bytes = bytes_of_pages(e.offset(), e.len_bytes());
        next = place(next, bytes, boundary) + bytes;
    }
    next
}

/// Maps all entries of a list into one range and stores its segments. Returns their number.
pub(crate) fn map_list<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    req: Request<'_>,
    list: &SgList<'_>,
) -> Result<usize> {
    let boundary = segment_boundary(req.dev) | (PAGE_SIZE - 1);
    let bytes = extent(list, boundary);
    // CAST: usize is not wider than u64.
    if bytes == 0 || bytes > MAX_MAPPING as u64 {
        return Err(EINVAL);
    }
    // CAST (both): below the largest mapping.
    let pages = (bytes / PAGE_SIZE) as u32;
    let object = take(domain, &req, pages)?;
    let limits = (boundary, max_segment_size(req.dev));
    let mapped = write(domain, &object, perm(req.dir), list, limits);
    let segments = mapped.as_ref().map_or(0, |n| *n);
    finish(unit, domain, &object, pages as usize, mapped.map(|_| ()))?;
    Ok(segments)
}

/// Writes the translations of a list's entries, and its segments: entries that end and begin at pages
/// make one, as long as the device takes it.
#[inline]
fn write<F: Format>(
    domain: &PagingDomain<F>,
    object: &Object<'_>,
    perm: Perm,
    list: &SgList<'_>,
    (boundary, most): (u64, u32),
) -> Result<usize> {
    let array = PageArray::new();
    let mut writer = match object.used_for {
        Use::Objects { .. } => Writer::to_object(domain, object)?,
        _ => Writer::new(domain),
    };
    let mut segments = list.segments();
    let mut next = 0;
    // The segment that is growing: where it begins, its bytes, where it ends.
    let (mut start, mut len, mut end) = (0u64, 0u32, u64::MAX);
    for e in list.iter() {
        let (offset, more) = (e.offset(), e.len_bytes());
        let bytes = bytes_of_pages(offset, more);
        let at = place(next, bytes, boundary);
        next = at + bytes;
        writer.put(object.iova + at, e.page_phys(&array), bytes / PAGE_SIZE, perm)?;
        let begin = object.iova + at + offset;
        let longer = u64::from(len) + u64::from(more);
        let fits = longer <= u64::from(most) && (start ^ (start + longer - 1)) & !boundary == 0;
        if begin == end && fits {
            // CAST: not more than `most`.
            len = longer as u32;
        } else {
            if end != u64::MAX {
                segments.push(start, len);
            }
            (start, len) = (begin, more);
        }
        end = begin + u64::from(more);
    }
    segments.push(start, len);
    Ok(segments.finish())
}
