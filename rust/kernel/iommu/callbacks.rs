// SPDX-License-Identifier: GPL-2.0

//! The callbacks of the IOMMU core: each turns what the core passes into the driver's own types
//! and calls the [`Driver`].
//!
//! C header: [`include/linux/iommu.h`](srctree/include/linux/iommu.h)

use core::ptr::NonNull;

use kernel::{
    bindings,
    device::Device,
    error::{
        code::*,
        from_result, //
    },
    ffi::{
        c_int,
        c_ulong, //
    },
    prelude::*,
    sync::atomic::Atomic, //
};

use super::super::hw_pages::Gfp;
use super::{
    device::private,
    dma_ops::DmaDriver,
    dma_table,
    domain_box::DomainBox,
    driver::{
        Capability,
        DomainType,
        Driver,
        Prot,
        StaticDomain, //
    },
    ops::{
        DeviceBox,
        IommuDevice,
        IOMMU_DOMAIN_DMA_API,
        IOMMU_DOMAIN_IDENTITY,
        IOMMU_DOMAIN_UNMANAGED, //
    },
    own_domain,
    resv::ResvRegions, //
};

// The callbacks. All `unsafe` below rests on the core's contract: devices are alive and, but for
// `probe_device`, probed by this driver; domains are live objects made by this driver.

/// Calls `f` with the driver, the device and its data; `default` if there is none.
///
/// # Safety
///
/// `dev` must be a live device probed by driver `T`.
unsafe fn with<T: Driver, R>(
    dev: *mut bindings::device,
    default: R,
    f: impl FnOnce(&T, &Device, &DeviceBox<T>) -> R,
) -> R {
    // SAFETY: by contract.
    let (device, b) = unsafe { (Device::from_raw(dev), DeviceBox::<T>::of(dev)) };
    match (T::slot().get(), b) {
        (Some(driver), Some(b)) => f(driver, device, b),
        _ => default,
    }
}

/// # Safety
///
/// `domain` must be a paging domain of driver `T`.
unsafe fn domain_of<'a, T: Driver>(domain: *mut bindings::iommu_domain) -> &'a DomainBox<T> {
    // SAFETY: the C object is the first field of a `DomainBox<T>`, by contract.
    unsafe { &*domain.cast::<DomainBox<T>>() }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
pub(super) unsafe extern "C" fn probe_device<T: Driver>(
    dev: *mut bindings::device,
) -> *mut bindings::iommu_device {
    // SAFETY: the core passes a live device.
    let device = unsafe { Device::from_raw(dev) };
    let probed = T::slot().get().ok_or(ENODEV).and_then(|driver| {
        let unit = driver.find_unit(device)?;
        // The core probes all devices when the first unit is registered. Those of other units have their
        // turn later: the core reads the unit's function table, which it has not got yet.
        if !(*unit).as_ref().is_registered() {
            return Err(ENODEV);
        }
        let data = driver.probe_device(device, &unit)?;
        Ok(KBox::new(
            DeviceBox::<T> {
                unit,
                data,
                domain: Atomic::new(core::ptr::null_mut()),
                own: Atomic::new(core::ptr::null_mut()),
                translated: Atomic::new(false),
            },
            GFP_KERNEL,
        )?)
    });
    match probed {
        Ok(b) => {
            let unit: &IommuDevice = (*b.unit).as_ref();
            let raw = unit.raw.get();
            // SAFETY: the core holds the probe lock; the box is taken back in `release_device`.
            unsafe { bindings::dev_iommu_priv_set(dev, KBox::into_raw(b).cast()) };
            raw
        }
        Err(e) => e.to_ptr(),
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
pub(super) unsafe extern "C" fn release_device<T: Driver>(dev: *mut bindings::device) {
    // SAFETY: the core passes a device this driver has probed.
    unsafe {
        dma_table::uninstall(dev);
        with::<T, _>(dev, (), |driver, device, b| {
            b.set_domain(core::ptr::null_mut());
            T::fault_reporter(b.data()).attached(core::ptr::null_mut());
            driver.release_device(device, b.data())
        })
    };
    let ptr = private(dev).cast::<DeviceBox<T>>();
    if !ptr.is_null() {
        // The core frees its own part right after this call, so the pointer is not cleared:
        // `dev_iommu_priv_set` asserts a lock that is not always held here.
        // SAFETY: made by `probe_device`, taken back once.
        drop(unsafe { KBox::from_raw(ptr) });
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
pub(super) unsafe extern "C" fn probe_finalize<T: Driver>(dev: *mut bindings::device) {
    // SAFETY: the core's contract.
    unsafe {
        with::<T, _>(dev, (), |driver, device, b| {
            driver.probe_finalize(device, b.data())
        })
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
pub(super) unsafe extern "C" fn device_group<T: Driver>(
    dev: *mut bindings::device,
) -> *mut bindings::iommu_group {
    // SAFETY: the core's contract.
    let group = unsafe {
        with::<T, _>(dev, Err(ENODEV), |driver, device, b| {
            driver.device_group(device, b.data())
        })
    };
    match group {
        Ok(g) => g.into_raw(),
        Err(e) => e.to_ptr(),
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
pub(super) unsafe extern "C" fn def_domain_type<T: Driver>(dev: *mut bindings::device) -> c_int {
    // SAFETY: the core's contract.
    let want = unsafe {
        with::<T, _>(dev, None, |driver, device, b| {
            driver.def_domain_type(device, b.data())
        })
    };
    // CAST: domain types are small flags.
    match want {
        None => 0,
        Some(DomainType::Identity) => IOMMU_DOMAIN_IDENTITY as c_int,
        Some(DomainType::Dma) => (IOMMU_DOMAIN_UNMANAGED | IOMMU_DOMAIN_DMA_API) as c_int,
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
pub(super) unsafe extern "C" fn get_resv_regions<T: Driver>(
    dev: *mut bindings::device,
    head: *mut bindings::list_head,
) {
    // SAFETY: the core's contract.
    unsafe {
        let mut list = ResvRegions::new(dev, head);
        with::<T, _>(dev, (), |driver, _, b| {
            driver.resv_regions(b.data(), &mut list)
        })
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
pub(super) unsafe extern "C" fn capable<T: Driver>(
    dev: *mut bindings::device,
    cap: bindings::iommu_cap,
) -> bool {
    let cap = match cap {
        bindings::iommu_cap_IOMMU_CAP_CACHE_COHERENCY => Capability::CacheCoherency,
        bindings::iommu_cap_IOMMU_CAP_DEFERRED_FLUSH => Capability::DeferredFlush,
        _ => Capability::Other,
    };
    // SAFETY: the core's contract.
    unsafe { with::<T, _>(dev, false, |driver, _, b| driver.capable(b.data(), cap)) }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
pub(super) unsafe extern "C" fn domain_alloc<T: DmaDriver>(
    dev: *mut bindings::device,
    flags: u32,
    user: *const bindings::iommu_user_data,
) -> *mut bindings::iommu_domain {
    if flags != 0 || !user.is_null() {
        return EOPNOTSUPP.to_ptr();
    }
    // SAFETY: the core's contract.
    let made = unsafe {
        with::<T, Result<NonNull<DomainBox<T>>>>(dev, Err(ENODEV), |driver, _, b| {
            DomainBox::<T>::new(driver, b.data(), |_, geometry| {
                Ok(bindings::iommu_domain {
                    // iommufd takes the domain as it is; the core sets both itself, where it asks.
                    type_: IOMMU_DOMAIN_UNMANAGED,
                    ops: paging_ops(dev),
                    // CAST: usize is 64 bits wide on every machine with these units; as below.
                    pgsize_bitmap: geometry.page_sizes as usize,
                    geometry: bindings::iommu_domain_geometry {
                        aperture_start: 0,
                        aperture_end: geometry.last_iova,
                        force_aperture: true,
                    },
                    is_iommupt: true,
                    ..Default::default()
                })
            })
        })
    };
    match made {
        Ok(b) => b.as_ptr().cast(),
        Err(e) => e.to_ptr(),
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
pub(super) unsafe extern "C" fn domain_free<T: Driver>(domain: *mut bindings::iommu_domain) {
    // SAFETY: made by `domain_alloc`; no device is attached any more, by the core's contract.
    unsafe { DomainBox::free(NonNull::new_unchecked(domain.cast::<DomainBox<T>>())) };
}

/// The functions of this driver's paging domains.
///
/// # Safety
///
/// `dev` must be a live device probed by this driver.
unsafe fn paging_ops(dev: *mut bindings::device) -> *const bindings::iommu_domain_ops {
    // SAFETY: by contract: a probed device has its unit, whose table is the registered one.
    unsafe { (*(*(*(*dev).iommu).iommu_dev).ops).default_domain_ops }
}

/// Attaches a static domain.
///
/// # Safety
///
/// As [`with`].
unsafe fn attach_static<T: Driver>(dev: *mut bindings::device, to: StaticDomain) -> c_int {
    // SAFETY: by contract.
    unsafe {
        with::<T, _>(dev, ENODEV.to_errno(), |driver, _, b| {
            from_result(|| {
                driver.attach_static(b.data(), b.domain(), to)?;
                b.set_domain(core::ptr::null_mut());
                T::fault_reporter(b.data()).attached(core::ptr::null_mut());
                dma_table::uninstall(dev);
                Ok(0)
            })
        })
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
pub(super) unsafe extern "C" fn attach_identity<T: DmaDriver>(
    _domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
    _old: *mut bindings::iommu_domain,
) -> c_int {
    // SAFETY: the core's contract.
    let attached = unsafe { attach_static::<T>(dev, StaticDomain::Identity) };
    if attached != 0 {
        return attached;
    }
    // SAFETY: the core's contract.
    from_result(|| unsafe { own_domain::resume::<T>(dev) }.map(|()| 0))
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
pub(super) unsafe extern "C" fn attach_blocked<T: Driver>(
    _domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
    _old: *mut bindings::iommu_domain,
) -> c_int {
    // SAFETY: the core's contract.
    unsafe { attach_static::<T>(dev, StaticDomain::Blocked) }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
pub(super) unsafe extern "C" fn attach_paging<T: Driver>(
    domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
    _old: *mut bindings::iommu_domain,
) -> c_int {
    // SAFETY: the core's contract; what the device is attached to is our own record, as `_old`
    // may be a static domain, which has no driver part.
    unsafe {
        with::<T, _>(dev, ENODEV.to_errno(), |driver, _, b| {
            from_result(|| {
                let new = domain_of::<T>(domain);
                let assigned = (*new.raw.get()).type_ & IOMMU_DOMAIN_DMA_API == 0;
                driver.attach(b.data(), b.domain(), &new.data, assigned)?;
                b.set_domain(domain.cast());
                // The core frees a domain only after the device has left it.
                T::fault_reporter(b.data()).attached(domain);
                dma_table::uninstall(dev);
                Ok(0)
            })
        })
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
pub(super) unsafe extern "C" fn map_pages<T: Driver>(
    domain: *mut bindings::iommu_domain,
    iova: c_ulong,
    paddr: bindings::phys_addr_t,
    pgsize: usize,
    pgcount: usize,
    prot: c_int,
    gfp: bindings::gfp_t,
    mapped: *mut usize,
) -> c_int {
    // CAST (all): c_ulong and usize are 64 bits wide on every machine with these units; a bit mask.
    let len = pgsize.saturating_mul(pgcount) as u64;
    // SAFETY: by contract.
    unsafe { map_range::<T>(domain, iova as u64, paddr, len, prot as c_uint, gfp, mapped) }
}

/// As [`map_pages`], for a range of any size.
///
/// # Safety
///
/// For the IOMMU core, under its contract for `pt_iommu_ops`: the domain is live and this driver's.
pub(super) unsafe extern "C" fn map_range<T: Driver>(
    domain: *mut bindings::iommu_domain,
    iova: bindings::dma_addr_t,
    paddr: bindings::phys_addr_t,
    len: bindings::dma_addr_t,
    prot: c_uint,
    gfp: bindings::gfp_t,
    mapped: *mut usize,
) -> c_int {
    let Some(driver) = T::slot().get() else {
        return ENODEV.to_errno();
    };
    // SAFETY: the core's contract.
    let d = unsafe { domain_of::<T>(domain) };
    let (done, result) = driver.map(
        &d.data,
        iova,
        paddr,
        // CAST (both): as in `map_pages`.
        len as usize,
        Prot::from_raw(prot as c_int),
        Gfp::from_raw(gfp),
    );
    // SAFETY: the core passes a valid counter.
    unsafe { *mapped += done };
    match result {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
pub(super) unsafe extern "C" fn unmap_pages<T: Driver>(
    domain: *mut bindings::iommu_domain,
    iova: c_ulong,
    pgsize: usize,
    pgcount: usize,
    gather: *mut bindings::iommu_iotlb_gather,
) -> usize {
    // CAST (both): as in `map_pages`.
    let len = pgsize.saturating_mul(pgcount) as u64;
    // SAFETY: by contract.
    unsafe { unmap_range::<T>(domain, iova as u64, len, gather) }
}

/// As [`unmap_pages`], for a range of any size.
///
/// # Safety
///
/// As for [`map_range`].
pub(super) unsafe extern "C" fn unmap_range<T: Driver>(
    domain: *mut bindings::iommu_domain,
    iova: bindings::dma_addr_t,
    len: bindings::dma_addr_t,
    gather: *mut bindings::iommu_iotlb_gather,
) -> usize {
    let Some(driver) = T::slot().get() else {
        return 0;
    };
    // SAFETY: the core's contract.
    let d = unsafe { domain_of::<T>(domain) };
    // CAST: as in `map_pages`.
    let (bytes, span) = driver.unmap(&d.data, iova, len as usize);
    if let (Some((first, last)), false) = (span, gather.is_null()) {
        // SAFETY: the core passes its gather, which only this call uses now.
        unsafe {
            (*gather).start = (*gather).start.min(first as usize);
            (*gather).end = (*gather).end.max(last as usize);
        }
    }
    bytes
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
pub(super) unsafe extern "C" fn flush_iotlb_all<T: Driver>(domain: *mut bindings::iommu_domain) {
    if let Some(driver) = T::slot().get() {
        // SAFETY: the core's contract.
        driver.flush_all(unsafe { &domain_of::<T>(domain).data });
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
pub(super) unsafe extern "C" fn iotlb_sync_map<T: Driver>(
    domain: *mut bindings::iommu_domain,
    iova: c_ulong,
    size: usize,
) -> c_int {
    let Some(driver) = T::slot().get() else {
        return ENODEV.to_errno();
    };
    // CAST: usize is 64 bits wide on every machine with these units.
    let last = iova.saturating_add(size).saturating_sub(1);
    // SAFETY: the core's contract.
    let d = unsafe { domain_of::<T>(domain) };
    match driver.sync_map(&d.data, (iova as u64, last as u64)) {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
pub(super) unsafe extern "C" fn iotlb_sync<T: Driver>(
    domain: *mut bindings::iommu_domain,
    gather: *mut bindings::iommu_iotlb_gather,
) {
    // SAFETY: the core's contract. The free list stays empty, as no table is freed by unmapping.
    let (d, first, last) = unsafe { (domain_of::<T>(domain), (*gather).start, (*gather).end) };
    if first > last {
        return;
    }
    if let Some(driver) = T::slot().get() {
        driver.sync_unmap(&d.data, (first as u64, last as u64));
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
pub(super) unsafe extern "C" fn iova_to_phys<T: Driver>(
    domain: *mut bindings::iommu_domain,
    iova: bindings::dma_addr_t,
) -> bindings::phys_addr_t {
    // SAFETY: the core's contract.
    let d = unsafe { domain_of::<T>(domain) };
    T::slot()
        .get()
        .and_then(|driver| driver.iova_to_phys(&d.data, iova))
        .unwrap_or(0)
}

/// x86 units keep DMA coherent for every mapping.
///
/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
pub(super) unsafe extern "C" fn enforce_cache_coherency(
    _domain: *mut bindings::iommu_domain,
) -> bool {
    true
}
