// SPDX-License-Identifier: GPL-2.0

//! Regions of IOVA space that a device reserves.

use core::marker::PhantomData;

use kernel::{
    bindings,
    error::code::*,
    prelude::*, //
};

mod ffi {
    #![expect(improper_ctypes)]
    use super::*;

    extern "C" {
        // Exported to modules, without a Rust binding.
        pub(super) fn iommu_dma_get_resv_regions(
            dev: *mut bindings::device,
            list: *mut bindings::list_head,
        );
    }
}

/// Why a region is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Firmware requires a 1:1 mapping at all times.
    Direct,
    /// Firmware requires a 1:1 mapping until the device has a driver of its own.
    DirectRelaxable,
    /// Never translated, never usable.
    Reserved,
    /// The interrupt window, handled by hardware.
    Msi,
}

/// The list the core asks a driver to fill.
pub struct ResvRegions<'a> {
    dev: *mut bindings::device,
    head: *mut bindings::list_head,
    _list: PhantomData<&'a mut ()>,
}

impl ResvRegions<'_> {
    /// # Safety
    ///
    /// `dev` and `head` must be what the core passed to `get_resv_regions`, used during the call.
    pub(crate) unsafe fn new(dev: *mut bindings::device, head: *mut bindings::list_head) -> Self {
        Self {
            dev,
            head,
            _list: PhantomData,
        }
    }

    /// Adds a region of `len_bytes` bytes at `start`. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn add(
        &mut self,
        start: u64,
        len_bytes: usize,
        read: bool,
        write: bool,
        kind: Kind,
    ) -> Result {
        let mut prot = 0;
        if read {
            prot |= bindings::IOMMU_READ;
        }
        if write {
            prot |= bindings::IOMMU_WRITE;
        }
        let type_ = match kind {
            Kind::Direct => bindings::iommu_resv_type_IOMMU_RESV_DIRECT,
            Kind::DirectRelaxable => bindings::iommu_resv_type_IOMMU_RESV_DIRECT_RELAXABLE,
            Kind::Reserved => bindings::iommu_resv_type_IOMMU_RESV_RESERVED,
            Kind::Msi => bindings::iommu_resv_type_IOMMU_RESV_MSI,
        };
        // CAST: protection bits are small.
        // SAFETY: an FFI call without requirements.
        let region = unsafe {
            bindings::iommu_alloc_resv_region(
                start,
                len_bytes,
                prot as kernel::ffi::c_int,
                type_,
                bindings::GFP_KERNEL,
            )
        };
        if region.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: the region is new and on no list; the head is the core's, valid by contract.
        unsafe { bindings::list_add_tail(&raw mut (*region).list, self.head) };
        Ok(())
    }

    /// Adds what the bus reserves: the MSI doorbells of firmware, host bridge windows.
    pub fn add_bus_regions(&mut self) {
        // SAFETY: both pointers are the core's, valid by contract.
        unsafe { ffi::iommu_dma_get_resv_regions(self.dev, self.head) };
    }
}
