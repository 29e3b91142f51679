// SPDX-License-Identifier: GPL-2.0

//! The module's own device in sysfs, `/sys/devices/faux/NAME`: what a user tells the driver as a whole.
//!
//! C header: [`include/linux/device/faux.h`](srctree/include/linux/device/faux.h)

use core::{
    ffi::CStr,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    error::from_result,
    ffi::{
        c_char,
        c_int,
        c_void, //
    },
    prelude::*,
    sync::Arc, //
};

/// What its attributes do.
pub trait Control: Send + Sync + 'static {
    /// `1` was written to `release`. May sleep.
    ///
    /// # Errors
    ///
    /// What the writer gets.
    fn release(&self) -> Result;
}

/// `struct rust_iommu_control_ops`.
#[repr(C)]
struct Ops {
    release: unsafe extern "C" fn(*mut c_void) -> c_int,
    cookie: *mut c_void,
}

mod ffi {
    #![expect(improper_ctypes)]
    use super::*;

    extern "C" {
        // rust/helpers/control.c
        pub(super) fn rust_iommu_control_new(
            name: *const c_char,
            ops: *mut Ops,
        ) -> *mut bindings::faux_device;
    }
}

/// # Safety
///
/// `cookie` must be the `T` of a live [`ControlDevice`].
unsafe extern "C" fn release<T: Control>(cookie: *mut c_void) -> c_int {
    // SAFETY: by contract.
    let owner = unsafe { &*cookie.cast::<T>() };
    from_result(|| owner.release().map(|()| 0))
}

/// The device. Gone on drop, which waits for whoever is writing to an attribute.
///
/// # Invariants
///
/// `dev` is registered, with `ops` as its data, whose cookie is `owner`.
pub struct ControlDevice<T: Control> {
    dev: NonNull<bindings::faux_device>,
    ops: NonNull<Ops>,
    _owner: Arc<T>,
}

// SAFETY: a device may be destroyed from any thread.
unsafe impl<T: Control> Send for ControlDevice<T> {}
// SAFETY: as above; nothing can be done with a reference.
unsafe impl<T: Control> Sync for ControlDevice<T> {}

impl<T: Control> ControlDevice<T> {
    /// Makes the device, whose attributes call `owner` from now on.
    ///
    /// # Errors
    ///
    /// `ENOMEM`: that, or another faux device has the name.
    pub fn new(name: &CStr, owner: Arc<T>) -> Result<Self> {
        let cookie: *const T = &*owner;
        let ops = KBox::new(
            Ops {
                release: release::<T>,
                cookie: cookie.cast_mut().cast(),
            },
            GFP_KERNEL,
        )?;
        let ops = NonNull::from(KBox::leak(ops));
        // SAFETY: the name is copied; `ops` and what it points to live until drop, or are nobody's below.
        let dev = unsafe { ffi::rust_iommu_control_new(name.as_char_ptr(), ops.as_ptr()) };
        match NonNull::new(dev) {
            // INVARIANT: just registered so.
            Some(dev) => Ok(Self {
                dev,
                ops,
                _owner: owner,
            }),
            None => {
                // SAFETY: leaked above; there is no device that has it.
                drop(unsafe { KBox::from_raw(ops.as_ptr()) });
                Err(ENOMEM)
            }
        }
    }
}

impl<T: Control> Drop for ControlDevice<T> {
    fn drop(&mut self) {
        // SAFETY: registered by the type invariant, and destroyed once.
        unsafe { bindings::faux_device_destroy(self.dev.as_ptr()) };
        // SAFETY: leaked in `new`; no attribute is left that could use it.
        drop(unsafe { KBox::from_raw(self.ops.as_ptr()) });
    }
}
