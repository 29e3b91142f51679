// SPDX-License-Identifier: GPL-2.0

//! Scatter lists: one range of addresses, one invalidation.

use iommu_core::{
    addr::PAGE_SIZE,
    pt::Format, //
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
        Request,
        SgList, //
    }, //
};

use crate::{
    dma::{
        map_pieces,
        pages_around,
        perm,
        take,
        Flush, //
    },
    domain::PagingDomain, //
};

/// Where the entries of a list go in one range: each on pages of its own, none across the device's
/// segment boundary.
#[derive(Clone, Copy)]
struct Layout {
    boundary: u64,
    next: u64,
}

impl Layout {
    fn new(boundary: u64) -> Self {
        Self { boundary, next: 0 }
    }

    /// Places an entry: the start of its first page in the range, the number of bytes of its pages.
    #[inline]
    fn place(&mut self, phys: u64, len: u32) -> Result<(u64, u64)> {
        // CAST: u32 fits usize.
        let (_, pages) = pages_around(phys, (len as usize).max(1))?;
        let bytes = u64::from(pages) * PAGE_SIZE;
        let last = self.next + (bytes - 1);
        // The range itself starts at a multiple of its size, so its own offsets decide.
        if (self.next ^ last) & !self.boundary != 0 {
            self.next = (self.next | self.boundary).checked_add(1).ok_or(EINVAL)?;
        }
        let at = self.next;
        self.next = at + bytes;
        Ok((at, bytes))
    }
}

/// Maps all entries of a list into one range and stores its segments. Returns their number.
pub(crate) fn map_list<F: Format>(
    unit: &impl Flush<F>,
    domain: &PagingDomain<F>,
    req: Request<'_>,
    list: &SgList<'_>,
) -> Result<usize> {
    let boundary = segment_boundary(req.dev) | (PAGE_SIZE - 1);
    let mut layout = Layout::new(boundary);
    for (phys, len) in list.iter() {
        layout.place(phys, len)?;
    }
    let pages = u32::try_from(layout.next / PAGE_SIZE).map_err(|_| EINVAL)?;
    let object = take(domain, &req, pages)?;
    let mut layout = Layout::new(boundary);
    let most = max_segment_size(req.dev);
    let mut segments = list.segments();
    // The segment that is growing: where it begins, its bytes.
    let (mut start, mut bytes) = (0u64, 0u32);
    let pieces = list.iter().filter_map(|(phys, len)| {
        let (at, whole) = layout.place(phys, len).ok()?;
        let offset = phys & (PAGE_SIZE - 1);
        let begin = object.iova + at + offset;
        let longer = bytes.checked_add(len).filter(|n| *n <= most);
        match longer {
            // It ends where this entry begins, and both are in one window.
            Some(n)
                if bytes != 0
                    && start + u64::from(bytes) == begin
                    && (start ^ (begin + u64::from(len.max(1)) - 1)) & !boundary == 0 =>
            {
                bytes = n;
            }
            _ => {
                if bytes != 0 {
                    segments.push(start, bytes);
                }
                (start, bytes) = (begin, len);
            }
        }
        Some((at, phys - offset, whole))
    });
    // CAST: u32 fits usize.
    map_pieces(unit, domain, &object, perm(req.dir), pages as usize, pieces)?;
    segments.push(start, bytes);
    Ok(segments.finish())
}
