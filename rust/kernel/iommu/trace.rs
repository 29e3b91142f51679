// SPDX-License-Identifier: GPL-2.0

//! The core's events `iommu:map`, `iommu:unmap` and `iommu:io_page_fault` for what does not go through the
//! core. Nobody listening costs one instruction.
//!
//! C header: [`include/trace/events/iommu.h`](srctree/include/trace/events/iommu.h)

use kernel::page::PAGE_SIZE;
#[cfg(CONFIG_TRACEPOINTS)]
use kernel::{
    bindings,
    jump_label::static_branch_unlikely, //
};

use super::sg_list::SgList;

mod ffi {
    #![cfg_attr(CONFIG_TRACEPOINTS, expect(improper_ctypes))]
    #[cfg(CONFIG_TRACEPOINTS)]
    use super::*;

    extern "C" {
        #[cfg(CONFIG_TRACEPOINTS)]
        pub(super) static __tracepoint_map: bindings::tracepoint;
        #[cfg(CONFIG_TRACEPOINTS)]
        pub(super) static __tracepoint_unmap: bindings::tracepoint;
        // rust/helpers/trace.c
        pub(super) fn rust_helper_iommu_trace_map(iova: u64, phys: u64, len: usize);
        pub(super) fn rust_helper_iommu_trace_unmap(iova: u64, len: usize);
    }
}

/// Does somebody listen to `iommu:map`?
#[inline(always)]
pub(super) fn maps() -> bool {
    #[cfg(CONFIG_TRACEPOINTS)]
    // SAFETY: the key of a tracepoint that the kernel exports.
    unsafe {
        static_branch_unlikely!(ffi::__tracepoint_map, bindings::tracepoint, key)
    }
    #[cfg(not(CONFIG_TRACEPOINTS))]
    false
}

/// Does somebody listen to `iommu:unmap`?
#[inline(always)]
pub(super) fn unmaps() -> bool {
    #[cfg(CONFIG_TRACEPOINTS)]
    // SAFETY: as in `maps`.
    unsafe {
        static_branch_unlikely!(ffi::__tracepoint_unmap, bindings::tracepoint, key)
    }
    #[cfg(not(CONFIG_TRACEPOINTS))]
    false
}

// CAST (all below): a page's size; usize is 64 bits wide on every machine with these units.
const IN_PAGE: u64 = PAGE_SIZE as u64 - 1;

/// The bytes of the pages that hold `len_bytes` bytes from `at` on.
fn whole(at: u64, len_bytes: u64) -> usize {
    ((at & IN_PAGE) + len_bytes + IN_PAGE & !IN_PAGE) as usize
}

/// Memory in a row was mapped, as whole pages.
#[cold]
pub(super) fn map(iova: u64, phys: u64, len_bytes: usize) {
    let len = whole(phys, len_bytes as u64);
    // SAFETY: an FFI call without requirements.
    unsafe { ffi::rust_helper_iommu_trace_map(iova & !IN_PAGE, phys & !IN_PAGE, len) };
}

/// Pages were mapped in a row.
#[cold]
pub(super) fn map_pages(iova: u64, pages: &[u64]) {
    for (at, phys) in (iova..).step_by(PAGE_SIZE).zip(pages) {
        map(at, *phys, PAGE_SIZE);
    }
}

/// A list was mapped: an event for each run of memory, as the core has it.
#[cold]
pub(super) fn map_list(list: &SgList<'_>) {
    let mut run: Option<(u64, u64, u64)> = None;
    list.for_each_mapped(|iova, phys, len_bytes| {
        let (iova, start) = (iova & !IN_PAGE, phys & !IN_PAGE);
        let len = whole(phys, len_bytes.into()) as u64;
        match &mut run {
            Some((i, p, l)) if *i + *l == iova && *p + *l == start => *l += len,
            _ => {
                if let Some((i, p, l)) = run.replace((iova, start, len)) {
                    map(i, p, l as usize);
                }
            }
        }
    });
    if let Some((i, p, l)) = run {
        map(i, p, l as usize);
    }
}

/// What was mapped in a row is about to be unmapped, as whole pages. Not after: somebody may have the
/// addresses by then, and the event of that map would come first.
#[cold]
pub(super) fn unmap(iova: u64, len_bytes: usize) {
    let len = whole(iova, len_bytes as u64);
    // SAFETY: an FFI call without requirements.
    unsafe { ffi::rust_helper_iommu_trace_unmap(iova & !IN_PAGE, len) };
}

/// As [`unmap`], for a list.
#[cold]
pub(super) fn unmap_list(list: &SgList<'_>) {
    if let Some((start, end)) = list.mapped_range() {
        // CAST: as above.
        unmap(start, (end - start) as usize);
    }
}
