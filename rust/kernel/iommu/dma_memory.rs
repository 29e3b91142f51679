// SPDX-License-Identifier: GPL-2.0

//! Memory of the DMA API: what is allocated and mapped at once, and how user space gets at it.
//!
//! C header: [`include/linux/dma-map-ops.h`](srctree/include/linux/dma-map-ops.h)

use kernel::{
    bindings,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    prelude::*, //
};

use super::{
    coherent,
    dma_ops::{
        Direction,
        DmaDriver, //
    },
    dma_table::{
        map_phys,
        parts,
        unmap_phys,
        Dev,
        Dir,
        Page,
        MAPPING_ERROR, //
    },
    trace, //
};

/// # Safety
///
/// For the DMA API for a live device that has this driver's table, under the API's rules.
pub(super) unsafe extern "C" fn alloc<T: DmaDriver>(
    dev: Dev,
    size: usize,
    handle: *mut u64,
    gfp: bindings::gfp_t,
    _attrs: c_ulong,
) -> *mut c_void {
    let made = || {
        // SAFETY: the DMA API's contract.
        let parts = unsafe { parts::<T>(dev, Direction::COHERENT_BOTH) };
        let (driver, req, data, domain) = parts.ok_or(EIO)?;
        let buf = coherent::Buffer::new(size, gfp)?;
        let addr = match buf.contiguous() {
            Some(phys) => {
                let addr = driver.dma_map(req, data, domain, phys, size)?;
                if trace::maps() {
                    trace::map(addr, phys, size);
                }
                addr
            }
            None => {
                let pages = buf.page_addresses()?;
                let addr = driver.dma_map_pages(req, data, domain, &pages)?;
                if trace::maps() {
                    trace::map_pages(addr, &pages);
                }
                addr
            }
        };
        Ok::<_, Error>((buf.into_raw(), addr))
    };
    match made() {
        Ok((virt, addr)) => {
            // SAFETY: the caller passes a valid place for the address.
            unsafe { *handle = addr };
            virt
        }
        _ => core::ptr::null_mut(),
    }
}

/// # Safety
///
/// For the DMA API for a live device that has this driver's table, under the API's rules.
pub(super) unsafe extern "C" fn free<T: DmaDriver>(
    dev: Dev,
    size: usize,
    virt: *mut c_void,
    addr: u64,
    _attrs: c_ulong,
) {
    // SAFETY: the DMA API's contract.
    unsafe { unmap_phys::<T>(dev, addr, size, Dir::DMA_BIDIRECTIONAL, 0) };
    // SAFETY: the buffer was made by `alloc` with this size and is freed once.
    drop(unsafe { coherent::Buffer::from_raw(virt, size) });
}

/// # Safety
///
/// For the DMA API for a live device that has this driver's table, under the API's rules.
pub(super) unsafe extern "C" fn alloc_pages<T: DmaDriver>(
    dev: Dev,
    size: usize,
    handle: *mut u64,
    dir: Dir,
    gfp: bindings::gfp_t,
) -> Page {
    let order = coherent::order_of(size);
    // SAFETY: an FFI call without requirements.
    let page = unsafe { bindings::alloc_pages(gfp, order) };
    if page.is_null() {
        return page;
    }
    // SAFETY: the page was just allocated; the mapping follows the DMA API's contract.
    let addr = unsafe { map_phys::<T>(dev, coherent::page_phys(page), size, dir, 0) };
    if addr == MAPPING_ERROR {
        // SAFETY: undoes the allocation.
        unsafe { bindings::__free_pages(page, order) };
        return core::ptr::null_mut();
    }
    // SAFETY: the caller passes a valid place for the address.
    unsafe { *handle = addr };
    page
}

/// # Safety
///
/// For the DMA API for a live device that has this driver's table, under the API's rules.
pub(super) unsafe extern "C" fn free_pages<T: DmaDriver>(
    dev: Dev,
    size: usize,
    page: Page,
    addr: u64,
    dir: Dir,
) {
    // SAFETY: the DMA API's contract; the pages came from `alloc_pages` with this size.
    unsafe {
        unmap_phys::<T>(dev, addr, size, dir, 0);
        bindings::__free_pages(page, coherent::order_of(size));
    }
}

/// # Safety
///
/// For the DMA API for a live device that has this driver's table, under the API's rules.
pub(super) unsafe extern "C" fn mmap(
    _dev: Dev,
    vma: *mut bindings::vm_area_struct,
    virt: *mut c_void,
    _addr: u64,
    size: usize,
    _attrs: c_ulong,
) -> c_int {
    // SAFETY: the buffer was made by `alloc` with this size; `vma` is the caller's.
    unsafe { coherent::map_to_user(vma, virt, size) }
}

/// # Safety
///
/// For the DMA API for a live device that has this driver's table, under the API's rules.
pub(super) unsafe extern "C" fn get_sgtable(
    _dev: Dev,
    table: *mut bindings::sg_table,
    virt: *mut c_void,
    _addr: u64,
    size: usize,
    _attrs: c_ulong,
) -> c_int {
    // SAFETY: the buffer was made by `alloc` with this size; `table` is the caller's.
    unsafe { coherent::fill_sg_table(table, virt, size) }
}
