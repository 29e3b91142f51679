// SPDX-License-Identifier: GPL-2.0

//! IOMMU groups of the core.
//!
//! C header: [`include/linux/iommu.h`](srctree/include/linux/iommu.h)

use core::{
    ffi::CStr,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    device::Device,
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*, //
};

use super::device::as_raw;

/// A counted reference to a group.
///
/// # Invariants
///
/// Owns one reference of a `struct iommu_group`.
pub struct Group(NonNull<bindings::iommu_group>);

// SAFETY: groups are counted objects of the core, usable from any thread.
unsafe impl Send for Group {}
// SAFETY: as above.
unsafe impl Sync for Group {}

impl Group {
    /// Makes an empty group with `name` in its sysfs folder.
    ///
    /// # Errors
    ///
    /// `ENOMEM` or what sysfs returns.
    pub fn new(name: &CStr) -> Result<Self> {
        // SAFETY: an FFI call without requirements.
        let ptr = from_err_ptr(unsafe { bindings::iommu_group_alloc() })?;
        // INVARIANT: the new group's first reference is ours.
        let group = Self(NonNull::new(ptr).ok_or(ENOMEM)?);
        // SAFETY: the group is alive; the core copies the name.
        to_result(unsafe { bindings::iommu_group_set_name(ptr, name.as_char_ptr()) })?;
        Ok(group)
    }

    /// The group a device is in.
    pub fn of(dev: &Device) -> Option<Self> {
        // SAFETY: the device is alive; a reference is taken for us.
        NonNull::new(unsafe { bindings::iommu_group_get(as_raw(dev)) }).map(Self)
    }

    /// The number of the group in sysfs.
    pub fn id(&self) -> i32 {
        // SAFETY: the group is alive by the type invariant.
        unsafe { bindings::iommu_group_id(self.0.as_ptr()) }
    }

    /// Gives the reference to the caller's C side.
    pub(crate) fn into_raw(self) -> *mut bindings::iommu_group {
        let ptr = self.0.as_ptr();
        core::mem::forget(self);
        ptr
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: gives back the reference of the type invariant.
        unsafe { bindings::iommu_group_put(self.0.as_ptr()) };
    }
}
