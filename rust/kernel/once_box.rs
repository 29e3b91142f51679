// SPDX-License-Identifier: GPL-2.0

//! A box that is put in its place once, by whoever comes first, and read without a lock.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Full, //
    }, //
};

use super::{
    hw_pages::Gfp,
    shared_word::load_pointer, //
};

/// An optional [`KBox`] that is set at most once.
///
/// # Invariants
///
/// The pointer is null or came from [`KBox::into_raw`] and is owned by this object; it changes once.
pub struct OnceBox<T> {
    ptr: Atomic<*mut T>,
    _owned: PhantomData<KBox<T>>,
}

// SAFETY: the box goes where the object goes.
unsafe impl<T: Send> Send for OnceBox<T> {}
// SAFETY: shared access gives shared references only; `set` moves a value in from any thread.
unsafe impl<T: Send + Sync> Sync for OnceBox<T> {}

impl<T> OnceBox<T> {
    /// Nothing there yet.
    pub const fn new() -> Self {
        // INVARIANT: null.
        Self {
            ptr: Atomic::new(core::ptr::null_mut()),
            _owned: PhantomData,
        }
    }

    /// What is there.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        let ptr = load_pointer(&self.ptr);
        // SAFETY: by the type invariant; it stays until this object is dropped.
        unsafe { ptr.as_ref() }
    }

    /// Puts a box there; if one is there already, that one stays. Returns what is there then.
    pub fn set(&self, value: KBox<T>) -> &T {
        let new = KBox::into_raw(value);
        // INVARIANT: from null to an owned box.
        match self.ptr.cmpxchg(core::ptr::null_mut(), new, Full) {
            // SAFETY: ours, and there for as long as `self`.
            Ok(_) => unsafe { &*new },
            Err(theirs) => {
                // SAFETY: just made from a box; nobody else has seen it.
                drop(unsafe { KBox::from_raw(new) });
                // SAFETY: not null, as the exchange failed; by the type invariant.
                unsafe { NonNull::new_unchecked(theirs).as_ref() }
            }
        }
    }

    /// What is there; made if nothing is. [`None`] without memory.
    pub fn get_or_make(&self, gfp: Gfp, make: impl FnOnce() -> T) -> Option<&T> {
        if let Some(value) = self.get() {
            return Some(value);
        }
        Some(self.set(KBox::new(make(), gfp.flags()).ok()?))
    }
}

impl<T> Default for OnceBox<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for OnceBox<T> {
    fn drop(&mut self) {
        let ptr = self.ptr.load(Acquire);
        if !ptr.is_null() {
            // SAFETY: owned by the type invariant; nobody refers to it any more.
            drop(unsafe { KBox::from_raw(ptr) });
        }
    }
}
