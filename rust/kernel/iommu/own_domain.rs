// SPDX-License-Identifier: GPL-2.0

//! A domain of a device's own, below a group that is passed through.
//!
//! A driver says with its DMA masks what its device reaches, and it says so when the group has its
//! type long since. So a device of a passed-through group gets, when a driver binds, a domain in
//! reserve and a function table that waits: masks that reach all memory remove both; the first
//! mapping before that moves the device to its domain, where every address is within its masks.
//! For the core the device stays in the identity domain; it returns there when the driver is gone.
//!
//! C header: [`include/linux/dma-map-ops.h`](srctree/include/linux/dma-map-ops.h)

use core::ptr::{
    null_mut,
    NonNull, //
};

use kernel::{
    bindings,
    device::Device,
    error::code::*,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    prelude::*,
    sync::atomic::{
        Acquire,
        Full,
        Release, //
    }, //
};

use super::{
    device::{
        as_raw,
        dma_limit, //
    },
    dma_memory,
    dma_ops::DmaDriver,
    dma_table::{
        self,
        Dev,
        Dir,
        Page,
        Sg,
        Table,
        TableOf,
        MAPPING_ERROR, //
    },
    domain_box::DomainBox,
    ops::{
        DeviceBox,
        IOMMU_DOMAIN_DMA_API, //
    }, //
};

impl<T: DmaDriver> TableOf<T> {
    /// The table that waits for the first mapping.
    const WAITING: Table = Table {
        alloc: Some(alloc::<T>),
        alloc_pages_op: Some(alloc_pages::<T>),
        map_phys: Some(map_phys::<T>),
        map_sg: Some(map_sg::<T>),
        dma_supported: Some(dma_supported::<T>),
        get_required_mask: Some(get_required_mask::<T>),
        ..Self::TABLE
    };
}

/// Keeps a domain in reserve for a passed-through device whose driver is about to be probed; `fill`
/// gets it first.
///
/// # Errors
///
/// `ENOMEM`, or what `fill` returns; nothing has changed then.
///
/// # Context
///
/// The driver core is binding a driver: the group's domain does not change.
pub fn reserve<T: DmaDriver>(
    dev: &Device,
    fill: impl FnOnce(&T::Device, &T::Domain) -> Result,
) -> Result {
    // SAFETY: the device is alive; see `ops::attached` for devices of other drivers.
    let b = unsafe { DeviceBox::<T>::of(as_raw(dev)) }.ok_or(ENODEV)?;
    let driver = T::slot().get().ok_or(ENODEV)?;
    withdraw::<T>(dev);
    let own = DomainBox::<T>::new(driver, b.data(), |data, _| {
        fill(b.data(), data)?;
        Ok(bindings::iommu_domain {
            type_: IOMMU_DOMAIN_DMA_API,
            ..Default::default()
        })
    })?;
    b.set_own(own.as_ptr());
    dma_table::set(dev, &TableOf::<T>::WAITING);
    Ok(())
}

/// The driver is gone: its device is passed through again.
pub fn withdraw<T: DmaDriver>(dev: &Device) {
    // SAFETY: the device is alive; see `ops::attached` for devices of other drivers.
    let Some(b) = (unsafe { DeviceBox::<T>::of(as_raw(dev)) }) else {
        return;
    };
    let (Some(driver), Some(own)) = (T::slot().get(), b.own()) else {
        return;
    };
    b.translated.store(false, Release);
    driver.pass_through(b.data(), &own.data);
    let ptr: *const DomainBox<T> = own;
    // The core may have attached another domain by now: that stays, and so does its table.
    let _ = b.domain.cmpxchg(ptr.cast_mut(), null_mut(), Full);
    if b.domain.load(Acquire).is_null() {
        // SAFETY: the device is alive and has no driver.
        unsafe { dma_table::uninstall(as_raw(dev)) };
    }
}

/// The core has attached the identity domain again, as after a reset: a device that was in its own
/// domain goes back there.
///
/// # Errors
///
/// As [`DmaDriver::translate`].
///
/// # Safety
///
/// `dev` must be a live device of driver `T`, whose group's mutex is held.
pub(super) unsafe fn resume<T: DmaDriver>(dev: *mut bindings::device) -> Result {
    // SAFETY: by contract.
    let (device, b) = unsafe { (Device::from_raw(dev), DeviceBox::<T>::of(dev)) };
    let (Some(driver), Some(b)) = (T::slot().get(), b) else {
        return Ok(());
    };
    if let Some(own) = b.own().filter(|_| b.was_translated()) {
        enter(driver, device, b, own)?;
    }
    Ok(())
}

fn enter<T: DmaDriver>(driver: &T, dev: &Device, b: &DeviceBox<T>, own: &DomainBox<T>) -> Result {
    driver.translate(dev, b.data(), &own.data)?;
    let ptr: *const DomainBox<T> = own;
    b.set_domain(ptr.cast_mut());
    b.set_translated();
    dma_table::set(dev, &TableOf::<T>::TABLE);
    Ok(())
}

/// Moves the device to its own domain before its first mapping.
///
/// # Safety
///
/// `dev` must be a live device with the waiting table of driver `T`, used by its driver.
unsafe fn first<T: DmaDriver>(dev: Dev) -> bool {
    // SAFETY: by contract.
    let (device, b) = unsafe { (Device::from_raw(dev), DeviceBox::<T>::of(dev)) };
    let (Some(driver), Some(b)) = (T::slot().get(), b) else {
        return false;
    };
    b.own()
        .is_some_and(|own| enter(driver, device, b, own).is_ok())
}

/// # Safety
///
/// For the DMA API for a live device that has this driver's table, under the API's rules.
unsafe extern "C" fn map_phys<T: DmaDriver>(
    dev: Dev,
    phys: u64,
    size: usize,
    dir: Dir,
    attrs: c_ulong,
) -> u64 {
    // SAFETY: the DMA API's contract.
    unsafe {
        if first::<T>(dev) {
            dma_table::map_phys::<T>(dev, phys, size, dir, attrs)
        } else {
            MAPPING_ERROR
        }
    }
}

/// # Safety
///
/// For the DMA API for a live device that has this driver's table, under the API's rules.
unsafe extern "C" fn map_sg<T: DmaDriver>(
    dev: Dev,
    sg: Sg,
    nents: c_int,
    dir: Dir,
    attrs: c_ulong,
) -> c_int {
    // SAFETY: the DMA API's contract.
    unsafe {
        if first::<T>(dev) {
            dma_table::map_sg::<T>(dev, sg, nents, dir, attrs)
        } else {
            EIO.to_errno()
        }
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
    attrs: c_ulong,
) -> *mut c_void {
    // SAFETY: the DMA API's contract.
    unsafe {
        if first::<T>(dev) {
            dma_memory::alloc::<T>(dev, size, handle, gfp, attrs)
        } else {
            null_mut()
        }
    }
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
    // SAFETY: the DMA API's contract.
    unsafe {
        if first::<T>(dev) {
            dma_memory::alloc_pages::<T>(dev, size, handle, dir, gfp)
        } else {
            null_mut()
        }
    }
}

/// One of the masks becomes `mask`; which one, the API does not say. Once both reach all memory the
/// device has no need of a domain.
///
/// # Safety
///
/// For the DMA API for a live device that has this driver's table, under the API's rules.
unsafe extern "C" fn dma_supported<T: DmaDriver>(dev: Dev, mask: u64) -> c_int {
    // SAFETY: the DMA API's contract.
    let (device, b) = unsafe { (Device::from_raw(dev), DeviceBox::<T>::of(dev)) };
    if let (Some(driver), Some(b)) = (T::slot().get(), b) {
        let last = driver.last_address();
        let other = [false, true].map(|coherent| dma_limit(device, coherent));
        if mask >= last && other.iter().any(|limit| *limit >= last) {
            // SAFETY: the device's driver is being probed and has mapped nothing.
            unsafe { dma_table::uninstall(dev) };
            b.drop_own();
            return 1;
        }
    }
    // SAFETY: the DMA API's contract.
    unsafe { dma_table::dma_supported::<T>(dev, mask) }
}

/// Drivers ask what mask is of use before they declare one: one that reaches all memory is.
///
/// # Safety
///
/// For the DMA API for a live device that has this driver's table, under the API's rules.
unsafe extern "C" fn get_required_mask<T: DmaDriver>(_dev: Dev) -> u64 {
    let last = T::slot().get().map_or(u64::MAX, |d| d.last_address());
    u64::MAX
        .checked_shr(last.leading_zeros())
        .unwrap_or(u64::MAX)
}

impl<T: DmaDriver> DeviceBox<T> {
    /// The domain in reserve.
    fn own(&self) -> Option<&DomainBox<T>> {
        // ORDERING: pairs with the release in `set_own`.
        let ptr = self.own.load(Acquire);
        // SAFETY: a box of ours; it goes only when a driver is bound or probed, by calls that the
        // driver core serialises, or with the device.
        unsafe { ptr.as_ref() }
    }

    fn set_own(&self, own: *mut DomainBox<T>) {
        self.translated.store(false, Release);
        let old = self.own.xchg(own, Full);
        if let Some(old) = NonNull::new(old) {
            // SAFETY: made by `reserve`, and nobody's any more: the device left it when the last
            // driver was gone.
            unsafe { DomainBox::free(old) };
        }
    }

    fn drop_own(&self) {
        self.set_own(null_mut());
    }

    fn set_translated(&self) {
        self.translated.store(true, Release);
    }

    fn was_translated(&self) -> bool {
        self.translated.load(Acquire)
    }
}
