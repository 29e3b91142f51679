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
        pub(super) fn rust_helper_iommu_seg_boundary(dev: *mut bindings::device) -> u64;
        pub(super) fn rust_helper_iommu_max_seg_size(dev: *mut bindings::device) -> u32;
    }
}

/// The C pointer of a device.
///
/// `kernel::device::Device` is a transparent wrapper whose own accessor is private to its crate.
pub fn as_raw(dev: &Device) -> *mut bindings::device {
    core::ptr::from_ref(dev).cast_mut().cast()
}

/// The driver's private pointer, null before probe.
#[inline]
pub(crate) fn private(dev: *mut bindings::device) -> *mut c_void {
    // SAFETY: the device is alive; what its `iommu` points to stays while it does, and `priv` changes
    // only when it is probed or released.
    unsafe { (*dev).iommu.as_ref() }.map_or(core::ptr::null_mut(), |iommu| iommu.priv_)
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
    let raw = as_raw(dev);
    // SAFETY: the device is alive; its masks are plain words that its driver sets before it maps.
    let (mask, bus) = unsafe {
        let mask = if coherent {
            (*raw).coherent_dma_mask
        } else {
            (*raw).dma_mask.as_ref().copied().unwrap_or(0)
        };
        (mask, (*raw).bus_dma_limit)
    };
    // Two tests: the compiler makes more of both in one, in the path of each map.
    if mask == 0 {
        return odd_limit(mask, bus, coherent);
    }
    if bus != 0 {
        return odd_limit(mask, bus, coherent);
    }
    mask
}

/// [`dma_limit`] of a device that has no mask, or a bus with a limit.
#[cold]
fn odd_limit(mask: u64, bus: u64, coherent: bool) -> u64 {
    // As `dma_get_mask()` has it, a device without a streaming mask has 32 bits; zero stands for none in
    // the other two.
    let mask = match mask {
        0 if coherent => u64::MAX,
        0 => u32::MAX.into(),
        mask => mask,
    };
    match bus {
        0 => mask,
        bus => mask.min(bus),
    }
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
