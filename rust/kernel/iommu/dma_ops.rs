// SPDX-License-Identifier: GPL-2.0

//! The DMA API of a device served by its IOMMU driver.
//!
//! A driver implements [`DmaDriver`]; [`install`] puts the C function table on a device. Memory
//! for coherent buffers comes from here, addresses from the driver.
//!
//! C header: [`include/linux/dma-map-ops.h`](srctree/include/linux/dma-map-ops.h)

use core::marker::PhantomData;

use kernel::{
    bindings,
    device::Device,
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

use super::{
    coherent,
    device::as_raw,
    driver::Driver,
    ops::DeviceBox, //
};

mod ffi {
    #![expect(improper_ctypes)]
    use super::*;

    extern "C" {
        // rust/helpers/iommu.c
        pub(super) fn rust_helper_iommu_set_dma_ops(dev: *mut bindings::device, ops: *const Table);
        pub(super) fn rust_helper_iommu_has_dma_ops() -> bool;
        pub(super) fn rust_helper_iommu_sg_phys(sg: *mut bindings::scatterlist) -> u64;
        pub(super) fn rust_helper_iommu_sg_set_dma(
            sg: *mut bindings::scatterlist,
            addr: u64,
            len: c_uint,
        );
    }
}

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    /// The device reads memory.
    pub device_reads: bool,
    /// The device writes memory.
    pub device_writes: bool,
}

impl Direction {
    /// Both ways.
    pub const BOTH: Self = Self {
        device_reads: true,
        device_writes: true,
    };

    fn from_raw(dir: bindings::dma_data_direction) -> Option<Self> {
        match dir {
            bindings::dma_data_direction::DMA_BIDIRECTIONAL => Some(Self::BOTH),
            bindings::dma_data_direction::DMA_TO_DEVICE => Some(Self {
                device_reads: true,
                device_writes: false,
            }),
            bindings::dma_data_direction::DMA_FROM_DEVICE => Some(Self {
                device_reads: false,
                device_writes: true,
            }),
            _ => None,
        }
    }
}

/// One call's worth of what a driver maps.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The device whose masks and limits count.
    pub dev: &'a Device,
    /// Which way data goes.
    pub dir: Direction,
    /// The coherent mask counts, not the streaming one.
    pub coherent: bool,
}

/// An IOMMU driver that serves the DMA API itself. All methods but those of [`Driver`] may run in
/// any context and must not sleep.
pub trait DmaDriver: Driver {
    /// Maps `len_bytes` bytes at `phys`; returns the DMA address of the first byte.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if addresses or tables ran out, `EINVAL` for an impossible request.
    fn dma_map(
        &self,
        req: Request<'_>,
        data: &Self::Device,
        domain: &Self::Domain,
        phys: u64,
        len_bytes: usize,
    ) -> Result<u64>;

    /// Unmaps what [`DmaDriver::dma_map`] returned for `len_bytes`.
    fn dma_unmap(&self, data: &Self::Device, domain: &Self::Domain, addr: u64, len_bytes: usize);

    /// Maps all entries of a list into one range of addresses and stores each entry's address.
    ///
    /// # Errors
    ///
    /// As [`DmaDriver::dma_map`]; nothing stays mapped.
    fn dma_map_list(
        &self,
        req: Request<'_>,
        data: &Self::Device,
        domain: &Self::Domain,
        list: &SgList<'_>,
    ) -> Result;

    /// Maps whole pages at the given physical addresses in one row; returns the DMA address of
    /// the first.
    ///
    /// # Errors
    ///
    /// As [`DmaDriver::dma_map`]; nothing stays mapped.
    fn dma_map_pages(
        &self,
        req: Request<'_>,
        data: &Self::Device,
        domain: &Self::Domain,
        pages: &[u64],
    ) -> Result<u64>;

    /// Can the device be served with addresses up to `mask`?
    fn dma_supported(&self, mask: u64) -> bool;

    /// The largest single mapping, in bytes.
    fn dma_max_mapping(&self) -> usize;
}

/// A scatter list.
pub struct SgList<'a> {
    first: *mut bindings::scatterlist,
    entries: usize,
    _list: PhantomData<&'a mut ()>,
}

/// One entry of a scatter list.
pub struct SgEntry<'a> {
    sg: *mut bindings::scatterlist,
    _list: PhantomData<&'a ()>,
}

impl<'a> SgList<'a> {
    /// # Safety
    ///
    /// `first` must start a list of at least `entries` entries, used by nobody else during `'a`.
    unsafe fn new(first: *mut bindings::scatterlist, entries: usize) -> Self {
        Self {
            first,
            entries,
            _list: PhantomData,
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Is the list empty?
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = SgEntry<'_>> {
        let mut sg = self.first;
        let mut left = self.entries;
        core::iter::from_fn(move || {
            if left == 0 || sg.is_null() {
                return None;
            }
            let entry = SgEntry {
                sg,
                _list: PhantomData,
            };
            left -= 1;
            // SAFETY: `sg` is an entry of the list; null after the last.
            sg = unsafe { bindings::sg_next(sg) };
            Some(entry)
        })
    }

    /// The mapped range from the first entry's start to the last entry's end.
    fn mapped_range(&self) -> Option<(u64, usize)> {
        let first = self.iter().next()?;
        let last = self.iter().last()?;
        // SAFETY: entries of the list, mapped before.
        let (start, end) = unsafe {
            (
                bindings::sg_dma_address(first.sg),
                bindings::sg_dma_address(last.sg)
                    .saturating_add(u64::from(bindings::sg_dma_len(last.sg))),
            )
        };
        usize::try_from(end.checked_sub(start)?)
            .ok()
            .map(|len| (start, len))
    }
}

impl SgEntry<'_> {
    /// Physical address of the first byte.
    pub fn phys(&self) -> u64 {
        // SAFETY: a live entry.
        unsafe { ffi::rust_helper_iommu_sg_phys(self.sg) }
    }

    /// Length in bytes.
    pub fn len_bytes(&self) -> u32 {
        // SAFETY: a live entry.
        unsafe { (*self.sg).length }
    }

    /// Stores the entry's DMA address; the length is the entry's own.
    pub fn set_dma_address(&self, addr: u64) {
        // SAFETY: a live entry that the DMA API call owns.
        unsafe { ffi::rust_helper_iommu_sg_set_dma(self.sg, addr, self.len_bytes()) }
    }
}

type Dev = *mut bindings::device;
type Page = *mut bindings::page;
type Dir = bindings::dma_data_direction;
type Sg = *mut bindings::scatterlist;

/// `struct dma_map_ops`, which has no Rust binding. rust/helpers/iommu.c asserts the layout.
#[repr(C)]
struct Table {
    alloc:
        Option<unsafe extern "C" fn(Dev, usize, *mut u64, bindings::gfp_t, c_ulong) -> *mut c_void>,
    free: Option<unsafe extern "C" fn(Dev, usize, *mut c_void, u64, c_ulong)>,
    alloc_pages_op:
        Option<unsafe extern "C" fn(Dev, usize, *mut u64, Dir, bindings::gfp_t) -> Page>,
    free_pages: Option<unsafe extern "C" fn(Dev, usize, Page, u64, Dir)>,
    mmap: Option<
        unsafe extern "C" fn(
            Dev,
            *mut bindings::vm_area_struct,
            *mut c_void,
            u64,
            usize,
            c_ulong,
        ) -> c_int,
    >,
    get_sgtable: Option<
        unsafe extern "C" fn(
            Dev,
            *mut bindings::sg_table,
            *mut c_void,
            u64,
            usize,
            c_ulong,
        ) -> c_int,
    >,
    map_phys: Option<unsafe extern "C" fn(Dev, u64, usize, Dir, c_ulong) -> u64>,
    unmap_phys: Option<unsafe extern "C" fn(Dev, u64, usize, Dir, c_ulong)>,
    map_sg: Option<unsafe extern "C" fn(Dev, Sg, c_int, Dir, c_ulong) -> c_int>,
    unmap_sg: Option<unsafe extern "C" fn(Dev, Sg, c_int, Dir, c_ulong)>,
    // Coherent devices need no sync calls; null tells the core so.
    sync_single_for_cpu: Option<unsafe extern "C" fn()>,
    sync_single_for_device: Option<unsafe extern "C" fn()>,
    sync_sg_for_cpu: Option<unsafe extern "C" fn()>,
    sync_sg_for_device: Option<unsafe extern "C" fn()>,
    cache_sync: Option<unsafe extern "C" fn()>,
    dma_supported: Option<unsafe extern "C" fn(Dev, u64) -> c_int>,
    get_required_mask: Option<unsafe extern "C" fn(Dev) -> u64>,
    max_mapping_size: Option<unsafe extern "C" fn(Dev) -> usize>,
    opt_mapping_size: Option<unsafe extern "C" fn() -> usize>,
    get_merge_boundary: Option<unsafe extern "C" fn(Dev) -> c_ulong>,
}

/// Carries the table of a driver as a constant, so that it lives as long as the code.
struct TableOf<T>(PhantomData<T>);

impl<T: DmaDriver> TableOf<T> {
    const TABLE: Table = {
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
            get_merge_boundary: None,
        }
    };
}

/// Can a device have its own DMA functions in this kernel?
pub fn available() -> bool {
    // SAFETY: an FFI call without requirements.
    unsafe { ffi::rust_helper_iommu_has_dma_ops() }
}

/// Lets driver `T` serve the DMA API of `dev` instead of the core's own code.
///
/// # Context
///
/// `dev` is attached to a paging domain of `T`, and no driver is using the DMA API meanwhile.
pub fn install<T: DmaDriver>(dev: &Device) {
    // SAFETY: the device is alive; the table lives as long as the module.
    unsafe { ffi::rust_helper_iommu_set_dma_ops(as_raw(dev), &TableOf::<T>::TABLE) }
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

const MAPPING_ERROR: u64 = u64::MAX;

/// Calls `f` with what a DMA API call needs; [`None`] if the device has no paging domain.
///
/// # Safety
///
/// `dev` must be a live device with our table, used by its driver under the rules of the DMA API.
#[inline]
unsafe fn with<T: DmaDriver, R>(
    dev: Dev,
    f: impl FnOnce(&T, &Device, &T::Device, &T::Domain) -> R,
) -> Option<R> {
    // SAFETY: by contract; the table is only on devices of driver `T`.
    let (device, b) = unsafe { (Device::from_raw(dev), DeviceBox::<T>::of(dev)?) };
    Some(f(T::slot().get()?, device, b.data(), b.domain()?))
}

/// # Safety
///
/// For the DMA API for a live device that has this driver's table, under the API's rules.
unsafe extern "C" fn map_phys<T: DmaDriver>(
    dev: Dev,
    phys: u64,
    size: usize,
    dir: Dir,
    _attrs: c_ulong,
) -> u64 {
    let Some(dir) = Direction::from_raw(dir) else {
        return MAPPING_ERROR;
    };
    // SAFETY: the DMA API's contract.
    let addr = unsafe {
        with::<T, _>(dev, |driver, dev, data, domain| {
            let req = Request {
                dev,
                dir,
                coherent: false,
            };
            driver.dma_map(req, data, domain, phys, size)
        })
    };
    match addr {
        Some(Ok(addr)) => addr,
        _ => MAPPING_ERROR,
    }
}

/// # Safety
///
/// For the DMA API for a live device that has this driver's table, under the API's rules.
unsafe extern "C" fn unmap_phys<T: DmaDriver>(
    dev: Dev,
    addr: u64,
    size: usize,
    _dir: Dir,
    _attrs: c_ulong,
) {
    // SAFETY: the DMA API's contract.
    unsafe {
        with::<T, _>(dev, |driver, _, data, domain| {
            driver.dma_unmap(data, domain, addr, size)
        })
    };
}

/// # Safety
///
/// For the DMA API for a live device that has this driver's table, under the API's rules.
unsafe extern "C" fn map_sg<T: DmaDriver>(
    dev: Dev,
    sg: Sg,
    nents: c_int,
    dir: Dir,
    _attrs: c_ulong,
) -> c_int {
    let (Some(dir), Ok(entries)) = (Direction::from_raw(dir), usize::try_from(nents)) else {
        return EINVAL.to_errno();
    };
    // SAFETY: the caller passes a list of `nents` entries.
    let list = unsafe { SgList::new(sg, entries) };
    // SAFETY: the DMA API's contract.
    let mapped = unsafe {
        with::<T, _>(dev, |driver, dev, data, domain| {
            let req = Request {
                dev,
                dir,
                coherent: false,
            };
            driver.dma_map_list(req, data, domain, &list)
        })
    };
    match mapped {
        Some(Ok(())) => nents,
        // The API knows these three; anything else is a bug that the core would report.
        Some(Err(e)) if e == EINVAL || e == ENOMEM => e.to_errno(),
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
    // SAFETY: the caller passes the list it has mapped.
    let list = unsafe { SgList::new(sg, usize::try_from(nents).unwrap_or(0)) };
    if let Some((start, len)) = list.mapped_range() {
        // SAFETY: the DMA API's contract.
        unsafe {
            with::<T, _>(dev, |driver, _, data, domain| {
                driver.dma_unmap(data, domain, start, len)
            })
        };
    }
}

/// # Safety
///
/// For the DMA API for a live device that has this driver's table, under the API's rules.
unsafe extern "C" fn alloc<T: DmaDriver>(
    dev: Dev,
    size: usize,
    handle: *mut u64,
    gfp: bindings::gfp_t,
    _attrs: c_ulong,
) -> *mut c_void {
    // SAFETY: the DMA API's contract.
    let made = unsafe {
        with::<T, _>(dev, |driver, dev, data, domain| {
            let req = Request {
                dev,
                dir: Direction::BOTH,
                coherent: true,
            };
            let buf = coherent::Buffer::new(size, gfp)?;
            let addr = match buf.contiguous() {
                Some(phys) => driver.dma_map(req, data, domain, phys, size)?,
                None => driver.dma_map_pages(req, data, domain, &buf.page_addresses()?)?,
            };
            Ok::<_, Error>((buf.into_raw(), addr))
        })
    };
    match made {
        Some(Ok((virt, addr))) => {
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
unsafe extern "C" fn free<T: DmaDriver>(
    dev: Dev,
    size: usize,
    virt: *mut c_void,
    addr: u64,
    _attrs: c_ulong,
) {
    // SAFETY: the DMA API's contract.
    unsafe {
        with::<T, _>(dev, |driver, _, data, domain| {
            driver.dma_unmap(data, domain, addr, size)
        })
    };
    // SAFETY: the buffer was made by `alloc` with this size and is freed once.
    drop(unsafe { coherent::Buffer::from_raw(virt, size) });
}

/// # Safety
///
/// For the DMA API for a live device that has this driver's table, under the API's rules.
unsafe extern "C" fn alloc_pages<T: DmaDriver>(
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
unsafe extern "C" fn free_pages<T: DmaDriver>(
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
unsafe extern "C" fn mmap(
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
unsafe extern "C" fn get_sgtable(
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

/// # Safety
///
/// For the DMA API for a live device that has this driver's table, under the API's rules.
unsafe extern "C" fn dma_supported<T: DmaDriver>(_dev: Dev, mask: u64) -> c_int {
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
