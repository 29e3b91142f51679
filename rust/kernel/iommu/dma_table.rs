// SPDX-License-Identifier: GPL-2.0

//! The C function table of the DMA API, and its functions: each turns what the API passes into the
//! driver's own types and calls the [`DmaDriver`].
//!
//! C header: [`include/linux/dma-map-ops.h`](srctree/include/linux/dma-map-ops.h)

use core::marker::PhantomData;

use kernel::{
    bindings,
    device::Device,
    error::code::*,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    page::PAGE_SIZE, //
};

use super::{
    device::as_raw,
    dma_memory::*,
    dma_ops::{
        Direction,
        DmaDriver,
        Request,
        SgList, //
    },
    driver::Driver,
    ops::DeviceBox,
    trace, //
};

mod ffi {
    #![expect(improper_ctypes)]
    use super::*;

    extern "C" {
        // rust/helpers/iommu.c
        pub(super) fn rust_helper_iommu_set_dma_ops(dev: *mut bindings::device, ops: *const Table);
        pub(super) fn rust_helper_iommu_has_dma_ops() -> bool;
        pub(super) fn rust_helper_iommu_has_own_dma_ops(dev: *mut bindings::device) -> bool;
        pub(super) fn rust_helper_iommu_uses_dma_iommu(dev: *mut bindings::device) -> bool;
    }
}

pub(super) type Dev = *mut bindings::device;
pub(super) type Page = *mut bindings::page;
pub(super) type Dir = bindings::dma_data_direction;
pub(super) type Sg = *mut bindings::scatterlist;

/// `struct dma_map_ops`, which has no Rust binding. rust/helpers/iommu.c asserts the layout.
#[repr(C)]
pub(super) struct Table {
    pub(super) alloc:
        Option<unsafe extern "C" fn(Dev, usize, *mut u64, bindings::gfp_t, c_ulong) -> *mut c_void>,
    pub(super) free: Option<unsafe extern "C" fn(Dev, usize, *mut c_void, u64, c_ulong)>,
    pub(super) alloc_pages_op:
        Option<unsafe extern "C" fn(Dev, usize, *mut u64, Dir, bindings::gfp_t) -> Page>,
    pub(super) free_pages: Option<unsafe extern "C" fn(Dev, usize, Page, u64, Dir)>,
    pub(super) mmap: Option<
        unsafe extern "C" fn(
            Dev,
            *mut bindings::vm_area_struct,
            *mut c_void,
            u64,
            usize,
            c_ulong,
        ) -> c_int,
    >,
    pub(super) get_sgtable: Option<
        unsafe extern "C" fn(
            Dev,
            *mut bindings::sg_table,
            *mut c_void,
            u64,
            usize,
            c_ulong,
        ) -> c_int,
    >,
    pub(super) map_phys: Option<unsafe extern "C" fn(Dev, u64, usize, Dir, c_ulong) -> u64>,
    pub(super) unmap_phys: Option<unsafe extern "C" fn(Dev, u64, usize, Dir, c_ulong)>,
    pub(super) map_sg: Option<unsafe extern "C" fn(Dev, Sg, c_int, Dir, c_ulong) -> c_int>,
    pub(super) unmap_sg: Option<unsafe extern "C" fn(Dev, Sg, c_int, Dir, c_ulong)>,
    // Coherent devices need no sync calls; null tells the core so.
    pub(super) sync_single_for_cpu: Option<unsafe extern "C" fn()>,
    pub(super) sync_single_for_device: Option<unsafe extern "C" fn()>,
    pub(super) sync_sg_for_cpu: Option<unsafe extern "C" fn()>,
    pub(super) sync_sg_for_device: Option<unsafe extern "C" fn()>,
    pub(super) cache_sync: Option<unsafe extern "C" fn()>,
    pub(super) dma_supported: Option<unsafe extern "C" fn(Dev, u64) -> c_int>,
    pub(super) get_required_mask: Option<unsafe extern "C" fn(Dev) -> u64>,
    pub(super) max_mapping_size: Option<unsafe extern "C" fn(Dev) -> usize>,
    pub(super) opt_mapping_size: Option<unsafe extern "C" fn() -> usize>,
    pub(super) get_merge_boundary: Option<unsafe extern "C" fn(Dev) -> c_ulong>,
}

/// Carries the table of a driver as a constant, so that it lives as long as the code.
pub(super) struct TableOf<T>(PhantomData<T>);

impl<T: DmaDriver> TableOf<T> {
    pub(super) const TABLE: Table = {
        Table {
            alloc: Some(alloc::<T>),
            free: Some(free::<T>),
            alloc_pages_op: Some(alloc_pages::<T>),
            free_pages: Some(free_pages::<T>),
            mmap: Some(mmap),
            get_sgtable: Some(get_sgtable),
            map_phys: Some(map_phys::<T>),
            unmap_phys: Some(unmap_phys::<T>),
            map_sg: Some(map_sg::<T>),
            unmap_sg: Some(unmap_sg::<T>),
            sync_single_for_cpu: None,
            sync_single_for_device: None,
            sync_sg_for_cpu: None,
            sync_sg_for_device: None,
            cache_sync: None,
            dma_supported: Some(dma_supported::<T>),
            get_required_mask: None,
            max_mapping_size: Some(max_mapping_size::<T>),
            opt_mapping_size: None,
            get_merge_boundary: Some(get_merge_boundary),
        }
    };
}

/// Can a device have its own DMA functions in this kernel?
pub fn available() -> bool {
    // SAFETY: an FFI call without requirements.
    unsafe { ffi::rust_helper_iommu_has_dma_ops() }
}

/// Who answers a device's DMA API calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// Functions of the device's own: those of its IOMMU driver.
    Driver,
    /// The core's dma-iommu, on the domain that the device is attached to.
    Core,
    /// dma-direct: addresses are physical.
    Direct,
}

impl Server {
    /// That of a device; it may change at once if nothing holds the device's driver.
    pub fn of(dev: &Device) -> Self {
        // SAFETY: the device is alive; two plain fields are read.
        let (own, core) = unsafe {
            (
                ffi::rust_helper_iommu_has_own_dma_ops(as_raw(dev)),
                ffi::rust_helper_iommu_uses_dma_iommu(as_raw(dev)),
            )
        };
        match (own, core) {
            (true, _) => Self::Driver,
            (false, true) => Self::Core,
            (false, false) => Self::Direct,
        }
    }
}

/// Lets driver `T` serve the DMA API of `dev` instead of the core's own code.
///
/// # Context
///
/// `dev` is attached to a paging domain of `T`, and no driver is using the DMA API meanwhile.
pub fn install<T: DmaDriver>(dev: &Device) {
    set(dev, &TableOf::<T>::TABLE)
}

/// Puts a table on a device.
pub(super) fn set(dev: &Device, table: &'static Table) {
    // SAFETY: the device is alive; the table lives as long as the module.
    unsafe { ffi::rust_helper_iommu_set_dma_ops(as_raw(dev), table) }
}

/// Takes the table away again, without choosing who serves the device next.
///
/// # Safety
///
/// `dev` must be a live device whose driver, if any, is not using the DMA API.
pub(crate) unsafe fn uninstall(dev: *mut bindings::device) {
    // SAFETY: by contract.
    unsafe { ffi::rust_helper_iommu_set_dma_ops(dev, core::ptr::null()) }
}

pub(super) const MAPPING_ERROR: u64 = u64::MAX;

/// What a DMA API call needs.
type Parts<'a, T> = (
    &'a T,
    Request<'a>,
    &'a <T as Driver>::Device,
    &'a <T as Driver>::Domain,
);

/// What a DMA API call needs; [`None`] if the device has no paging domain.
///
/// # Safety
///
/// `dev` must be a live device with our table, used by its driver under the rules of the DMA API, and stay so
/// during `'a`.
#[inline(always)]
pub(super) unsafe fn parts<'a, T: DmaDriver>(dev: Dev, dir: Direction) -> Option<Parts<'a, T>> {
    // SAFETY: by contract; the table is only on devices of driver `T`.
    let (dev, b) = unsafe { (Device::from_raw(dev), DeviceBox::<T>::of(dev)?) };
    let driver = T::slot().get()?;
    Some((driver, Request { dev, dir }, b.data(), b.domain()?))
}

/// Unmaps.
///
/// # Safety
///
/// As [`with`].
#[inline(always)]
unsafe fn unmap<T: DmaDriver>(dev: Dev, addr: u64, len_bytes: Option<usize>) {
    // SAFETY: by contract; the table is only on devices of driver `T`.
    let Some(b) = (unsafe { DeviceBox::<T>::of(dev) }) else {
        return;
    };
    if let (Some(driver), Some((domain, lazy))) = (T::slot().get(), b.domain_and_mode()) {
        driver.dma_unmap(b.data(), domain, addr, len_bytes, lazy);
    }
}

// Each function that has an event asks first whether somebody listens, and leaves everything to another one
// then: nothing has to be kept for the event where nobody does.

/// # Safety
///
/// For the DMA API for a live device that has this driver's table, under the API's rules.
pub(super) unsafe extern "C" fn map_phys<T: DmaDriver>(
    dev: Dev,
    phys: u64,
    size: usize,
    dir: Dir,
    _attrs: c_ulong,
) -> u64 {
    // SAFETY: the DMA API's contract.
    unsafe {
        match trace::maps() {
            false => map_one::<T>(dev, phys, size, dir),
            true => map_traced::<T>(dev, phys, size, dir),
        }
    }
}

/// # Safety
///
/// As [`map_phys`].
#[cold]
unsafe fn map_traced<T: DmaDriver>(dev: Dev, phys: u64, size: usize, dir: Dir) -> u64 {
    // SAFETY: by contract.
    let addr = unsafe { map_one::<T>(dev, phys, size, dir) };
    if addr != MAPPING_ERROR {
        trace::map(addr, phys, size);
    }
    addr
}

/// # Safety
///
/// As [`map_phys`].
#[inline(always)]
unsafe fn map_one<T: DmaDriver>(dev: Dev, phys: u64, size: usize, dir: Dir) -> u64 {
    let Some(dir) = Direction::from_raw(dir) else {
        return MAPPING_ERROR;
    };
    // SAFETY: the DMA API's contract.
    let Some((driver, req, data, domain)) = (unsafe { parts::<T>(dev, dir) }) else {
        return MAPPING_ERROR;
    };
    driver
        .dma_map(req, data, domain, phys, size)
        .unwrap_or(MAPPING_ERROR)
}

/// # Safety
///
/// For the DMA API for a live device that has this driver's table, under the API's rules.
pub(super) unsafe extern "C" fn unmap_phys<T: DmaDriver>(
    dev: Dev,
    addr: u64,
    size: usize,
    _dir: Dir,
    _attrs: c_ulong,
) {
    // SAFETY: the DMA API's contract.
    unsafe {
        match trace::unmaps() {
            false => unmap::<T>(dev, addr, Some(size)),
            true => unmap_traced::<T>(dev, addr, size),
        }
    }
}

/// # Safety
///
/// As [`unmap_phys`].
#[cold]
unsafe fn unmap_traced<T: DmaDriver>(dev: Dev, addr: u64, size: usize) {
    trace::unmap(addr, size);
    // SAFETY: by contract.
    unsafe { unmap::<T>(dev, addr, Some(size)) }
}

/// # Safety
///
/// For the DMA API for a live device that has this driver's table, under the API's rules.
pub(super) unsafe extern "C" fn map_sg<T: DmaDriver>(
    dev: Dev,
    sg: Sg,
    nents: c_int,
    dir: Dir,
    _attrs: c_ulong,
) -> c_int {
    // SAFETY: the DMA API's contract.
    unsafe {
        match trace::maps() {
            false => map_list::<T>(dev, sg, nents, dir),
            true => map_list_traced::<T>(dev, sg, nents, dir),
        }
    }
}

/// # Safety
///
/// As [`map_sg`].
#[cold]
unsafe fn map_list_traced<T: DmaDriver>(dev: Dev, sg: Sg, nents: c_int, dir: Dir) -> c_int {
    // SAFETY: by contract.
    let mapped = unsafe { map_list::<T>(dev, sg, nents, dir) };
    if mapped > 0 {
        // SAFETY: the caller passes a list of `nents` entries, which is mapped now.
        trace::map_list(&unsafe { SgList::new(sg, usize::try_from(nents).unwrap_or(0)) });
    }
    mapped
}

/// # Safety
///
/// As [`map_sg`].
#[inline(always)]
unsafe fn map_list<T: DmaDriver>(dev: Dev, sg: Sg, nents: c_int, dir: Dir) -> c_int {
    let (Some(dir), Ok(entries)) = (Direction::from_raw(dir), usize::try_from(nents)) else {
        return EINVAL.to_errno();
    };
    // SAFETY: the caller passes a list of `nents` entries.
    let list = unsafe { SgList::new(sg, entries) };
    // SAFETY: the DMA API's contract.
    let Some((driver, req, data, domain)) = (unsafe { parts::<T>(dev, dir) }) else {
        return EIO.to_errno();
    };
    match driver.dma_map_list(req, data, domain, &list) {
        // CAST: not more than `nents`.
        Ok(segments) => segments as c_int,
        // The API knows these three; anything else is a bug that the core would report.
        Err(e) if e == EINVAL || e == ENOMEM => e.to_errno(),
        _ => EIO.to_errno(),
    }
}

/// # Safety
///
/// For the DMA API for a live device that has this driver's table, under the API's rules.
unsafe extern "C" fn unmap_sg<T: DmaDriver>(
    dev: Dev,
    sg: Sg,
    nents: c_int,
    _dir: Dir,
    _attrs: c_ulong,
) {
    // SAFETY: the DMA API's contract.
    unsafe {
        match trace::unmaps() {
            false => unmap_list::<T>(dev, sg, nents),
            true => unmap_list_traced::<T>(dev, sg, nents),
        }
    }
}

/// # Safety
///
/// As [`unmap_sg`].
#[cold]
unsafe fn unmap_list_traced<T: DmaDriver>(dev: Dev, sg: Sg, nents: c_int) {
    // SAFETY: the caller passes the list it has mapped.
    trace::unmap_list(&unsafe { SgList::new(sg, usize::try_from(nents).unwrap_or(0)) });
    // SAFETY: by contract.
    unsafe { unmap_list::<T>(dev, sg, nents) }
}

/// # Safety
///
/// As [`unmap_sg`].
#[inline(always)]
unsafe fn unmap_list<T: DmaDriver>(dev: Dev, sg: Sg, nents: c_int) {
    // SAFETY: the caller passes the list it has mapped.
    let list = unsafe { SgList::new(sg, usize::try_from(nents).unwrap_or(0)) };
    if let Some(start) = list.mapped_at() {
        // SAFETY: the DMA API's contract.
        unsafe { unmap::<T>(dev, start, None) };
    }
}

/// # Safety
///
/// For the DMA API for a live device that has this driver's table, under the API's rules.
pub(super) unsafe extern "C" fn dma_supported<T: DmaDriver>(_dev: Dev, mask: u64) -> c_int {
    T::slot()
        .get()
        .is_some_and(|d| d.dma_supported(mask))
        .into()
}

/// # Safety
///
/// For the DMA API for a live device that has this driver's table, under the API's rules.
unsafe extern "C" fn max_mapping_size<T: DmaDriver>(_dev: Dev) -> usize {
    T::slot().get().map_or(PAGE_SIZE, |d| d.dma_max_mapping())
}

/// Entries that end and begin at pages become one segment.
///
/// # Safety
///
/// For the DMA API for a live device that has this driver's table, under the API's rules.
unsafe extern "C" fn get_merge_boundary(_dev: Dev) -> c_ulong {
    // CAST: usize and c_ulong are of one size.
    (PAGE_SIZE - 1) as c_ulong
}
