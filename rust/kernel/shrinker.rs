// SPDX-License-Identifier: GPL-2.0

//! Memory that is given back when others want it.
//!
//! C header: [`include/linux/shrinker.h`](srctree/include/linux/shrinker.h)

use core::{
    ffi::CStr,
    ptr::NonNull, //
};

use kernel::{
    error::code::*,
    ffi::{
        c_char,
        c_void, //
    },
    prelude::*,
    sync::Arc,
    types::ForeignOwnable, //
};

/// An owner of such memory. Called while others allocate: must not allocate, and must not wait for a lock
/// under which anyone does.
pub trait Shrink: Send + Sync + 'static {
    /// Objects that could be freed.
    fn count(&self) -> usize;
    /// Frees `most` objects at most. Returns their number, 0 if none can be freed now.
    fn scan(&self, most: usize) -> usize;
}

mod ffi {
    use super::*;

    pub(super) type Count = unsafe extern "C" fn(*mut c_void) -> usize;
    pub(super) type Scan = unsafe extern "C" fn(*mut c_void, usize) -> usize;

    extern "C" {
        // rust/helpers/shrinker.c
        pub(super) fn rust_helper_iommu_shrinker_new(
            name: *const c_char,
            count: Count,
            scan: Scan,
            data: *mut c_void,
        ) -> *mut c_void;
        pub(super) fn rust_helper_iommu_shrinker_free(shrinker: *mut c_void) -> *mut c_void;
    }
}

/// A registered owner.
///
/// # Invariants
///
/// Registered with a reference to a `T` as its data.
pub struct Shrinker<T: Shrink> {
    raw: NonNull<c_void>,
    _owner: core::marker::PhantomData<Arc<T>>,
}

// SAFETY: registered objects are freed from anywhere.
unsafe impl<T: Shrink> Send for Shrinker<T> {}
// SAFETY: there is nothing to do with a shared reference.
unsafe impl<T: Shrink> Sync for Shrinker<T> {}

impl<T: Shrink> Shrinker<T> {
    /// Registers an owner.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(name: &CStr, owner: Arc<T>) -> Result<Self> {
        let data = owner.into_foreign();
        // SAFETY: the name is copied; the data stays valid until it is taken back below or in drop.
        let raw = unsafe {
            ffi::rust_helper_iommu_shrinker_new(
                name.as_char_ptr(),
                count::<T>,
                scan::<T>,
                data.cast(),
            )
        };
        match NonNull::new(raw) {
            // INVARIANT: registered with `data`.
            Some(raw) => Ok(Self {
                raw,
                _owner: core::marker::PhantomData,
            }),
            None => {
                // SAFETY: from `into_foreign`, and nobody else has it.
                drop(unsafe { Arc::<T>::from_foreign(data) });
                Err(ENOMEM)
            }
        }
    }
}

impl<T: Shrink> Drop for Shrinker<T> {
    fn drop(&mut self) {
        // SAFETY: registered by the type invariant. Waits for calls that run.
        let data = unsafe { ffi::rust_helper_iommu_shrinker_free(self.raw.as_ptr()) };
        // SAFETY: from `into_foreign` in `new`; the last call has ended.
        drop(unsafe { Arc::<T>::from_foreign(data.cast()) });
    }
}

/// # Safety
///
/// `data` must be that of a registered [`Shrinker<T>`].
unsafe extern "C" fn count<T: Shrink>(data: *mut c_void) -> usize {
    // SAFETY: by contract.
    let owner = unsafe { Arc::<T>::borrow(data.cast()) };
    owner.count()
}

/// # Safety
///
/// As [`count`].
unsafe extern "C" fn scan<T: Shrink>(data: *mut c_void, most: usize) -> usize {
    // SAFETY: by contract.
    let owner = unsafe { Arc::<T>::borrow(data.cast()) };
    owner.scan(most)
}
