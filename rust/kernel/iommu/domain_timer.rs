// SPDX-License-Identifier: GPL-2.0

//! The timer of a domain whose unmaps may be put off (`DMA-FQ`), and the domain as the core sees it.
//!
//! C header: [`include/linux/hrtimer.h`](srctree/include/linux/hrtimer.h)

use core::ptr::NonNull;

use kernel::{
    bindings,
    container_of,
    ffi::c_uint,
    prelude::*,
    sync::Arc,
    time::Delta,
    types::Opaque, //
};

use super::{
    dma_ops::DmaDriver,
    driver::Driver,
    ops::{
        RangeOps,
        RangeOpsOf, //
    }, //
};

/// The type of domains whose unmaps may be put off: `IOMMU_DOMAIN_DMA_FQ`.
const IOMMU_DOMAIN_DMA_FQ: c_uint = super::ops::IOMMU_DOMAIN_DMA_API | 1 | 1 << 3;

/// A paging domain as the core sees it, with the driver's part behind it. The first two fields are those
/// of `struct pt_iommu` that the core knows.
#[pin_data]
#[repr(C)]
pub(super) struct DomainBox<T: Driver> {
    pub(super) raw: Opaque<bindings::iommu_domain>,
    pt_ops: &'static RangeOps,
    /// Before what it needs: it is cancelled first (fields drop in order).
    #[pin]
    timer: Timer,
    pub(super) data: Arc<T::Domain>,
}

impl<T: DmaDriver> DomainBox<T> {
    /// A domain that stays where it is until [`Self::free`].
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(raw: bindings::iommu_domain, data: Arc<T::Domain>) -> Result<NonNull<Self>> {
        let made = KBox::pin_init(
            pin_init!(Self {
                raw: Opaque::new(raw),
                pt_ops: &RangeOpsOf::<T>::OPS,
                timer <- Timer::new::<T>(),
                data,
            }),
            GFP_KERNEL,
        )?;
        // SAFETY: it is not moved until `free`.
        Ok(NonNull::from(KBox::leak(unsafe {
            Pin::into_inner_unchecked(made)
        })))
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
        if let Some(driver) = T::slot().get() {
            driver.domain_free(&domain.data);
        }
    }

    /// The timer, if unmaps may be put off.
    #[inline]
    pub(super) fn later(&self) -> Option<Later<'_>> {
        // SAFETY: aligned and valid; the core may change the type from DMA to DMA-FQ at any time, with a
        // single store.
        let kind = unsafe { (&raw const (*self.raw.get()).type_).read_volatile() };
        (kind == IOMMU_DOMAIN_DMA_FQ).then_some(Later(&self.timer))
    }
}

/// # Invariants
///
/// Set up by `hrtimer_setup()`, inside a [`DomainBox`].
#[pin_data(PinnedDrop)]
struct Timer {
    #[pin]
    raw: Opaque<bindings::hrtimer>,
}

impl Timer {
    fn new<T: DmaDriver>() -> impl PinInit<Self> {
        // INVARIANT: set up; private to this file, which has it in boxes only.
        pin_init!(Self {
            // SAFETY: `place` is valid for writes and stays pinned.
            raw <- Opaque::ffi_init(|place: *mut bindings::hrtimer| unsafe {
                bindings::hrtimer_setup(
                    place,
                    Some(expired::<T>),
                    bindings::CLOCK_MONOTONIC as bindings::clockid_t,
                    bindings::hrtimer_mode_HRTIMER_MODE_REL_SOFT,
                );
            }),
        })
    }
}

#[pinned_drop]
impl PinnedDrop for Timer {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: set up by the type invariant. Waits for the function, which holds nothing that its
        // caller could hold.
        unsafe { bindings::hrtimer_cancel(self.raw.get()) };
    }
}

// SAFETY: the kernel's timers are started and cancelled from anywhere.
unsafe impl Send for Timer {}
// SAFETY: as above.
unsafe impl Sync for Timer {}

/// # Safety
///
/// For the timer code, with the timer of a [`DomainBox`] of driver `T`.
unsafe extern "C" fn expired<T: DmaDriver>(
    timer: *mut bindings::hrtimer,
) -> bindings::hrtimer_restart {
    let timer: *mut Timer = timer.cast();
    // SAFETY: by contract; the timer is cancelled before the box goes.
    let domain = unsafe { &*container_of!(timer, DomainBox<T>, timer) };
    if let Some(driver) = T::slot().get() {
        driver.dma_expired(&domain.data);
    }
    bindings::hrtimer_restart::HRTIMER_NORESTART
}

/// Leave to put off what has to happen before unmapped addresses are used again.
#[derive(Clone, Copy)]
pub struct Later<'a>(&'a Timer);

impl Later<'_> {
    /// Has [`DmaDriver::dma_expired`] called once after this time, in softirq context. Any context.
    #[inline(never)]
    pub fn start(self, after: Delta) {
        // SAFETY: set up by the type invariant; the box it is in stays while devices use the domain.
        unsafe {
            bindings::hrtimer_start_range_ns(
                self.0.raw.get(),
                after.as_nanos(),
                0,
                bindings::hrtimer_mode_HRTIMER_MODE_REL_SOFT,
            )
        };
    }
}
