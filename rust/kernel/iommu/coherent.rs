// SPDX-License-Identifier: GPL-2.0

//! Memory of coherent buffers: zeroed pages, one behind the other for the CPU.
//!
//! A buffer is one physically contiguous block where the page allocator has one, else single
//! pages that `vmap` puts in a row. Either way each page is its own, so that it can be freed,
//! inserted into a user mapping or listed alone.

use kernel::{
    bindings,
    error::code::*,
    ffi::{
        c_int,
        c_uint,
        c_ulong,
        c_void, //
    },
    page::PAGE_SIZE,
    prelude::*, //
};

mod ffi {
    #![expect(improper_ctypes)]
    use super::*;

    extern "C" {
        // Exported to modules, without a Rust binding.
        pub(super) fn vmap(
            pages: *mut *mut bindings::page,
            count: c_uint,
            flags: c_ulong,
            prot: bindings::pgprot_t,
        ) -> *mut c_void;
        pub(super) fn vunmap(addr: *const c_void);
        // rust/helpers/iommu.c
        pub(super) fn rust_helper_iommu_page_to_phys(page: *mut bindings::page) -> u64;
        pub(super) fn rust_helper_iommu_page_address(page: *mut bindings::page) -> *mut c_void;
        pub(super) fn rust_helper_iommu_virt_to_page(virt: *const c_void) -> *mut bindings::page;
        pub(super) fn rust_helper_iommu_pgprot_kernel() -> bindings::pgprot_t;
    }
}

const NORETRY: bindings::gfp_t = 1 << bindings::___GFP_NORETRY_BIT;
const MAY_SLEEP: bindings::gfp_t = 1 << bindings::___GFP_DIRECT_RECLAIM_BIT;
/// The page allocator's largest block.
const MAX_ORDER: u32 = 10;
/// `VM_MAP`: the area is made of pages that belong to someone.
const VM_MAP: c_ulong = 4;

/// Pages a buffer of `size` bytes takes.
fn pages_of(size: usize) -> usize {
    size.div_ceil(PAGE_SIZE)
}

/// The order of the smallest block that holds `size` bytes.
pub(crate) fn order_of(size: usize) -> u32 {
    pages_of(size).max(1).next_power_of_two().trailing_zeros()
}

/// The physical address of a page.
pub(crate) fn page_phys(page: *mut bindings::page) -> u64 {
    // SAFETY: callers pass pages they have allocated.
    unsafe { ffi::rust_helper_iommu_page_to_phys(page) }
}

/// A buffer that the CPU sees in one row.
///
/// # Invariants
///
/// `virt` is the start of `pages_of(size)` single zeroed pages, either in the linear map or in an
/// area made by `vmap`, owned by this object.
pub(crate) struct Buffer {
    virt: *mut c_void,
    size: usize,
}

impl Buffer {
    /// Allocates a zeroed buffer; `gfp` says whether it may sleep.
    pub(crate) fn new(size: usize, gfp: bindings::gfp_t) -> Result<Self> {
        let count = pages_of(size);
        let order = order_of(size);
        if count == 0 {
            return Err(EINVAL);
        }
        let gfp = gfp | bindings::__GFP_ZERO | bindings::__GFP_NOWARN;
        if order <= MAX_ORDER {
            let eager = if order > 0 { NORETRY } else { 0 };
            // SAFETY: an FFI call without requirements.
            let page = unsafe { bindings::alloc_pages(gfp | eager, order) };
            if !page.is_null() {
                // SAFETY: the block is new and not compound; after the split each page is its
                // own, and what the buffer does not need goes back.
                unsafe {
                    bindings::split_page(page, order);
                    for i in count..(1 << order) {
                        bindings::__free_pages(page.add(i), 0);
                    }
                }
                // INVARIANT: the linear map has the block in a row.
                return Ok(Self {
                    // SAFETY: the page was just allocated from the linear map.
                    virt: unsafe { ffi::rust_helper_iommu_page_address(page) },
                    size,
                });
            }
        }
        if gfp & MAY_SLEEP == 0 {
            return Err(ENOMEM);
        }
        Self::scattered(size, count, gfp)
    }

    /// Allocates page by page and maps the pages in a row. Sleeps.
    fn scattered(size: usize, count: usize, gfp: bindings::gfp_t) -> Result<Self> {
        let nr = c_uint::try_from(count).map_err(|_| ENOMEM)?;
        let mut pages = KVVec::with_capacity(count, GFP_KERNEL)?;
        let mut virt = core::ptr::null_mut();
        for _ in 0..count {
            // SAFETY: an FFI call without requirements.
            let page = unsafe { bindings::alloc_pages(gfp, 0) };
            if page.is_null() {
                break;
            }
            pages.push(page, GFP_KERNEL)?;
        }
        if pages.len() == count {
            // SAFETY: `pages` holds `nr` single pages; vmap copies the list.
            virt = unsafe {
                ffi::vmap(
                    pages.as_mut_ptr(),
                    nr,
                    VM_MAP,
                    ffi::rust_helper_iommu_pgprot_kernel(),
                )
            };
        }
        if virt.is_null() {
            for page in pages.iter() {
                // SAFETY: allocated above, not in use.
                unsafe { bindings::__free_pages(*page, 0) };
            }
            return Err(ENOMEM);
        }
        // INVARIANT: `vmap` has put the pages in a row.
        Ok(Self { virt, size })
    }

    /// Takes a buffer back.
    ///
    /// # Safety
    ///
    /// `virt` must come from [`Buffer::into_raw`] of a buffer of the same size, once.
    pub(crate) unsafe fn from_raw(virt: *mut c_void, size: usize) -> Self {
        // INVARIANT: by contract.
        Self { virt, size }
    }

    /// Gives the buffer away.
    pub(crate) fn into_raw(self) -> *mut c_void {
        let virt = self.virt;
        core::mem::forget(self);
        virt
    }

    fn is_scattered(&self) -> bool {
        // SAFETY: an FFI call without requirements.
        unsafe { bindings::is_vmalloc_addr(self.virt) }
    }

    /// The physical address of a contiguous buffer.
    pub(crate) fn contiguous(&self) -> Option<u64> {
        (!self.is_scattered()).then(|| page_phys(self.page(0)))
    }

    /// The page at `index` pages into the buffer.
    fn page(&self, index: usize) -> *mut bindings::page {
        let virt = self.virt.wrapping_byte_add(index * PAGE_SIZE);
        // SAFETY: inside the buffer, which is mapped by the type invariant.
        unsafe {
            if self.is_scattered() {
                bindings::vmalloc_to_page(virt)
            } else {
                ffi::rust_helper_iommu_virt_to_page(virt)
            }
        }
    }

    /// All pages in order.
    fn pages(&self) -> Result<KVVec<*mut bindings::page>> {
        let count = pages_of(self.size);
        let mut pages = KVVec::with_capacity(count, GFP_KERNEL)?;
        for i in 0..count {
            pages.push(self.page(i), GFP_KERNEL)?;
        }
        Ok(pages)
    }

    /// The physical addresses of all pages in order. Sleeps.
    pub(crate) fn page_addresses(&self) -> Result<KVVec<u64>> {
        let count = pages_of(self.size);
        let mut addrs = KVVec::with_capacity(count, GFP_KERNEL)?;
        for i in 0..count {
            addrs.push(page_phys(self.page(i)), GFP_KERNEL)?;
        }
        Ok(addrs)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let scattered = self.is_scattered();
        let count = pages_of(self.size);
        if scattered {
            // A scattered buffer is freed page by page before its area goes, so that no list has
            // to be allocated to free memory; the area maps the pages until `vunmap`.
            for i in 0..count {
                let page = self.page(i);
                // SAFETY: a page of ours; nothing touches it through the area any more.
                unsafe { bindings::__free_pages(page, 0) };
            }
            // SAFETY: the area came from `vmap`.
            unsafe { ffi::vunmap(self.virt) };
            return;
        }
        for i in 0..count {
            // SAFETY: a page of ours.
            unsafe { bindings::__free_pages(self.page(i), 0) };
        }
    }
}

/// Maps a buffer into a user's address space.
///
/// # Safety
///
/// `virt` and `size` must name a live [`Buffer`]; `vma` must be the area of an mmap call.
pub(crate) unsafe fn map_to_user(
    vma: *mut bindings::vm_area_struct,
    virt: *mut c_void,
    size: usize,
) -> c_int {
    // SAFETY: by contract; not dropped here.
    let buf = core::mem::ManuallyDrop::new(unsafe { Buffer::from_raw(virt, size) });
    match buf.pages() {
        // SAFETY: the list holds the buffer's pages; the core checks the area against its length.
        Ok(mut pages) => unsafe {
            bindings::vm_map_pages(vma, pages.as_mut_ptr(), pages.len() as c_ulong)
        },
        Err(e) => e.to_errno(),
    }
}

/// Lists a buffer's pages in a new scatter table.
///
/// # Safety
///
/// `virt` and `size` must name a live [`Buffer`]; `table` must be a table to initialise.
pub(crate) unsafe fn fill_sg_table(
    table: *mut bindings::sg_table,
    virt: *mut c_void,
    size: usize,
) -> c_int {
    // SAFETY: by contract; not dropped here.
    let buf = core::mem::ManuallyDrop::new(unsafe { Buffer::from_raw(virt, size) });
    match buf.pages() {
        // CAST: the number of pages of one buffer fits 32 bits, checked when it was made.
        // SAFETY: the list holds the buffer's pages.
        Ok(mut pages) => unsafe {
            bindings::sg_alloc_table_from_pages_segment(
                table,
                pages.as_mut_ptr(),
                pages.len() as c_uint,
                0,
                size as c_ulong,
                c_uint::MAX,
                bindings::GFP_KERNEL,
            )
        },
        Err(e) => e.to_errno(),
    }
}
