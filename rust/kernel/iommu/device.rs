// SPDX-License-Identifier: GPL-2.0

//! What the IOMMU code needs to know of a generic device.

use kernel::{
    bindings,
    device::Device,
    ffi::c_void, //
};

mod ffi {
    #![expect(improper_ctypes)]
    use super::*;

    extern "C" {
        // rust/helpers/iommu.c
        pub(super) fn rust_helper_iommu_dev_coherent(dev: *mut bindings::device) -> bool;
        pub(super) fn rust_helper_iommu_dma_limit(
            dev: *mut bindings::device,
            coherent: bool,
        ) -> u64;
        pub(super) fn rust_helper_iommu_seg_boundary(dev: *mut bindings::device) -> u64;
        pub(super) fn rust_helper_iommu_max_seg_size(dev: *mut bindings::device) -> u32;
        pub(super) fn rust_helper_iommu_dev_priv(dev: *mut bindings::device) -> *mut c_void;
    }
}

/// The C pointer of a device.
///
/// `kernel::device::Device` is a transparent wrapper whose own accessor is private to its crate.
pub fn as_raw(dev: &Device) -> *mut bindings::device {
    core::ptr::from_ref(dev).cast_mut().cast()
}

/// The driver's private pointer, null before probe.
pub(crate) fn private(dev: *mut bindings::device) -> *mut c_void {
    // SAFETY: the shim reads two pointers of a live device.
    unsafe { ffi::rust_helper_iommu_dev_priv(dev) }
}

/// Is the device's DMA coherent with the CPU caches?
pub fn is_coherent(dev: &Device) -> bool {
    // SAFETY: the device is alive.
    unsafe { ffi::rust_helper_iommu_dev_coherent(as_raw(dev)) }
}

/// The highest address, inclusive, that the device can put on the bus for streaming DMA or, with
/// `coherent`, for coherent memory: its mask and the limit of its bus.
#[inline]
pub fn dma_limit(dev: &Device, coherent: bool) -> u64 {
    // SAFETY: the device is alive.
    unsafe { ffi::rust_helper_iommu_dma_limit(as_raw(dev), coherent) }
}

/// The mask that a segment of a scatter list must not cross.
#[inline]
pub fn segment_boundary(dev: &Device) -> u64 {
    // SAFETY: the device is alive.
    unsafe { ffi::rust_helper_iommu_seg_boundary(as_raw(dev)) }
}

/// The longest segment of a scatter list that the device takes, in bytes.
#[inline]
pub fn max_segment_size(dev: &Device) -> u32 {
    // SAFETY: the device is alive.
    unsafe { ffi::rust_helper_iommu_max_seg_size(as_raw(dev)) }
}
