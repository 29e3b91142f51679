// SPDX-License-Identifier: GPL-2.0

//! Faults of a device, told to the core: `iommu:io_page_fault`, and the handler of its domain.
//!
//! C header: [`include/linux/iommu.h`](srctree/include/linux/iommu.h)

use core::ptr::null_mut;

use kernel::{
    bindings,
    device::Device,
    ffi::c_int,
    new_mutex,
    prelude::*,
    sync::{
        aref::ARef,
        Mutex, //
    }, //
};

use super::device::as_raw;

mod ffi {
    #![expect(improper_ctypes)]
    use super::*;

    extern "C" {
        // rust/helpers/trace.c
        pub(super) fn rust_helper_iommu_report_fault(
            domain: *mut bindings::iommu_domain,
            dev: *mut bindings::device,
            iova: u64,
            write: bool,
        ) -> c_int;
    }
}

/// The domain that the core has attached, null for one without a page table.
struct Attached(*mut bindings::iommu_domain);

// SAFETY: the core's objects are used from any thread, under their own rules.
unsafe impl Send for Attached {}

/// Where a device's faults go.
///
/// # Invariants
///
/// The domain is null or alive: who attaches another one says so before the old one may be freed.
#[pin_data]
pub struct FaultReporter {
    dev: ARef<Device>,
    #[pin]
    domain: Mutex<Attached>,
}

impl FaultReporter {
    /// For a device that is attached to nothing.
    pub fn new(dev: &Device) -> impl PinInit<Self> + use<> {
        let dev = ARef::from(dev);
        // INVARIANT: null.
        pin_init!(Self {
            dev,
            domain <- new_mutex!(Attached(null_mut())),
        })
    }

    /// The device is attached to a domain, or with null to none that has a page table. May sleep.
    ///
    /// # Safety
    ///
    /// `domain` must be null or stay alive until the next call has returned.
    pub(super) unsafe fn attached(&self, domain: *mut bindings::iommu_domain) {
        // INVARIANT: by contract.
        self.domain.lock().0 = domain;
    }

    /// A read of memory, or with `write` a write, was refused. May sleep. `true`: a handler has dealt
    /// with it.
    pub fn report(&self, iova: u64, write: bool) -> bool {
        let domain = self.domain.lock();
        // SAFETY: the device is alive as we hold a reference, the domain by the invariant, which the lock
        // keeps up until the call has returned.
        unsafe {
            ffi::rust_helper_iommu_report_fault(domain.0, as_raw(&self.dev), iova, write) == 0
        }
    }
}
