// SPDX-License-Identifier: GPL-2.0

//! Words and pointers that CPUs share, for paths where the call that [`Atomic`] makes for each load is
//! what costs most.
//!
//! The kernel crate's atomics call a C function for each access unless the kernel inlines helpers
//! (`CONFIG_RUST_INLINE_HELPERS`). A load is one instruction: here it is one, where that is enough.

use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Full,
    Release, //
};

/// A 64-bit word that CPUs share.
pub struct SharedWord(Atomic<u64>);

impl SharedWord {
    /// A word with a value.
    #[inline]
    pub const fn new(value: u64) -> Self {
        Self(Atomic::new(value))
    }

    /// Reads: `smp_load_acquire()`.
    #[inline]
    pub fn load(&self) -> u64 {
        if cfg!(target_arch = "x86_64") {
            // ORDERING: loads of x86 are not reordered with later accesses, and the compiler does not
            // move what it knows to be shared across a volatile access.
            // SAFETY: aligned and valid; volatile word accesses are atomic (`READ_ONCE()`).
            return unsafe { self.0.as_ptr().read_volatile() };
        }
        self.0.load(Acquire)
    }

    /// Writes: `smp_store_release()`.
    #[inline]
    pub fn store(&self, value: u64) {
        if cfg!(target_arch = "x86_64") {
            // ORDERING: stores of x86 are not reordered with earlier accesses; all that is published
            // this way was itself written with volatile or atomic accesses, or by calls.
            // SAFETY: as in `load` (`WRITE_ONCE()`).
            return unsafe { self.0.as_ptr().write_volatile(value) };
        }
        self.0.store(value, Release);
    }

    /// Writes and returns what was there; fully ordered.
    #[inline]
    pub fn swap(&self, value: u64) -> u64 {
        self.0.xchg(value, Full)
    }

    /// Replaces `old` by `new`, or returns what is there; fully ordered if it succeeds.
    #[inline]
    pub fn cas(&self, old: u64, new: u64) -> Result<(), u64> {
        self.0.cmpxchg(old, new, Full).map(|_| ())
    }
}

impl Default for SharedWord {
    fn default() -> Self {
        Self::new(0)
    }
}

/// Reads a pointer whose target is only reached through it: `rcu_dereference()`.
#[inline]
pub fn load_pointer<T>(ptr: &Atomic<*mut T>) -> *mut T {
    // ORDERING: accesses through the pointer depend on its address, which orders them.
    // SAFETY: aligned and valid; volatile word accesses are atomic (`READ_ONCE()`).
    unsafe { ptr.as_ptr().read_volatile() }
}
