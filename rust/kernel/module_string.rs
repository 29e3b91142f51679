// SPDX-License-Identifier: GPL-2.0

//! The module's string parameters, which the `module!` macro does not offer.

use kernel::{
    bindings,
    ffi::c_char,
    prelude::*, //
};

extern "C" {
    // rust/helpers/iommu.c
    fn rust_iommu_param_unit() -> *const c_char;
    fn rust_iommu_param_dma() -> *const c_char;
    fn rust_iommu_param_isolate() -> *const c_char;
    fn rust_iommu_param_isolation() -> *const c_char;
    fn rust_iommu_param_acs() -> *const c_char;
    fn rust_iommu_param_short_masks() -> *const c_char;
}

/// # Safety
///
/// `ptr` must be a NUL-terminated string that lives as long as the module.
unsafe fn text(ptr: *const c_char) -> &'static str {
    // SAFETY: by contract.
    let s = unsafe { CStr::from_char_ptr(ptr) };
    s.to_str().unwrap_or("").trim_end()
}

/// The parameter `unit`.
pub fn unit() -> &'static str {
    // SAFETY: the parameter is read-only after load and belongs to the module.
    unsafe { text(rust_iommu_param_unit()) }
}

/// The parameter `dma`.
pub fn dma() -> &'static str {
    // SAFETY: as above.
    unsafe { text(rust_iommu_param_dma()) }
}

/// The parameter `isolate`.
pub fn isolate() -> &'static str {
    // SAFETY: as above.
    unsafe { text(rust_iommu_param_isolate()) }
}

/// The parameter `isolation`.
pub fn isolation() -> &'static str {
    // SAFETY: as above.
    unsafe { text(rust_iommu_param_isolation()) }
}

/// The parameter `acs`.
pub fn acs() -> &'static str {
    // SAFETY: as above.
    unsafe { text(rust_iommu_param_acs()) }
}

/// The parameter `short_masks`.
pub fn short_masks() -> &'static str {
    // SAFETY: as above.
    unsafe { text(rust_iommu_param_short_masks()) }
}

/// Taints the kernel: the user asked for something that the kernel cannot vouch for.
pub fn taint_by_user() {
    // SAFETY: an FFI call without requirements; lock debugging stays right.
    unsafe { bindings::add_taint(bindings::TAINT_USER, bindings::lockdep_ok_LOCKDEP_STILL_OK) };
}
