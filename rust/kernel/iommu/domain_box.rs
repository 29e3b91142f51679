// SPDX-License-Identifier: GPL-2.0

//! A paging domain as the core sees it.
//!
//! C header: [`include/linux/iommu.h`](srctree/include/linux/iommu.h)

use core::ptr::NonNull;

use kernel::{
    bindings,
    ffi::{
        c_uint,
        c_void, //
    },
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

use super::{
    dma_ops::DmaDriver,
    domain_timer::DomainTimer,
    driver::{
        Driver,
        Geometry, //
    },
    ops::{
        RangeOps,
        RangeOpsOf,
        IOMMU_DOMAIN_DMA_API,
        IOMMU_DOMAIN_UNMANAGED, //
    }, //
};

/// The type of domains whose unmaps may be put off: `IOMMU_DOMAIN_DMA_FQ`.
const IOMMU_DOMAIN_DMA_FQ: c_uint = IOMMU_DOMAIN_UNMANAGED | IOMMU_DOMAIN_DMA_API | 1 << 3;

/// A paging domain as the core sees it, with the driver's part behind it. The first two fields are those
/// of `struct pt_iommu` that the core knows.
#[repr(C)]
pub(super) struct DomainBox<T: Driver> {
    pub(super) raw: Opaque<bindings::iommu_domain>,
    pt_ops: &'static RangeOps,
    pub(super) data: Arc<T::Domain>,
    timer: DomainTimer,
}

impl<T: DmaDriver> DomainBox<T> {
    /// A domain for a device, which stays where it is until [`Self::free`]. `raw` gets the driver's part, and
    /// makes the core's.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what the driver or `raw` returns.
    pub(super) fn new(
        driver: &T,
        device: &T::Device,
        raw: impl FnOnce(&T::Domain, Geometry) -> Result<bindings::iommu_domain>,
    ) -> Result<NonNull<Self>> {
        let timer = DomainTimer::new(expired::<T>)?;
        let (data, geometry) = driver.domain_alloc(device, timer.clone())?;
        let raw = raw(&data, geometry)?;
        let made = KBox::new(
            Self {
                raw: Opaque::new(raw),
                pt_ops: &RangeOpsOf::<T>::OPS,
                data,
                timer,
            },
            GFP_KERNEL,
        )?;
        driver.domain_made(&made.data)?;
        let domain: *const T::Domain = &*made.data;
        // SAFETY: the domain stays until `free` has disarmed the timer.
        unsafe { made.timer.aim(domain.cast_mut().cast()) };
        Ok(NonNull::from(KBox::leak(made)))
    }
}

impl<T: Driver> DomainBox<T> {
    /// Frees a domain.
    ///
    /// # Safety
    ///
    /// `this` must be from [`Self::new`] and nobody's any more.
    pub(super) unsafe fn free(this: NonNull<Self>) {
        // SAFETY: by contract.
        let domain = unsafe { KBox::from_raw(this.as_ptr()) };
        domain.timer.disarm();
        if let Some(driver) = T::slot().get() {
            driver.domain_free(&domain.data);
        }
    }

    /// May unmaps be put off?
    #[inline]
    pub(super) fn is_lazy(&self) -> bool {
        // SAFETY: aligned and valid; the core may change the type from DMA to DMA-FQ at any time, with a
        // single store.
        let kind = unsafe { (&raw const (*self.raw.get()).type_).read_volatile() };
        kind == IOMMU_DOMAIN_DMA_FQ
    }
}

/// # Safety
///
/// `domain` must be a domain of driver `T`.
unsafe fn expired<T: DmaDriver>(domain: *mut c_void) {
    // SAFETY: by contract.
    let domain = unsafe { &*domain.cast::<T::Domain>() };
    if let Some(driver) = T::slot().get() {
        driver.dma_expired(domain);
    }
}
