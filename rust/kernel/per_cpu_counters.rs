// SPDX-License-Identifier: GPL-2.0

//! Counters of which each CPU has its own: counting is one instruction on memory that no other CPU writes.
//!
//! C header: [`include/linux/percpu.h`](srctree/include/linux/percpu.h)

use core::ptr::NonNull;

use kernel::{
    ffi::c_void,
    prelude::*, //
};

mod ffi {
    use super::*;

    extern "C" {
        // rust/helpers/iommu.c
        pub(super) fn rust_helper_iommu_counters_new(count: usize) -> *mut c_void;
        pub(super) fn rust_helper_iommu_counters_free(counters: *mut c_void);
        pub(super) fn rust_helper_iommu_counters_sum(counters: *mut c_void, index: usize) -> u64;
        #[cfg(not(target_arch = "x86_64"))]
        pub(super) fn rust_helper_iommu_counters_inc(counters: *mut c_void, index: usize);
    }
}

/// `N` counters of calls.
///
/// # Invariants
///
/// The pointer is one of `alloc_percpu()` for `N` words of 64 bits.
pub struct PerCpuCounters<const N: usize>(NonNull<c_void>);

// SAFETY: each CPU has words of its own, and a sum reads them whole.
unsafe impl<const N: usize> Send for PerCpuCounters<N> {}
// SAFETY: as above.
unsafe impl<const N: usize> Sync for PerCpuCounters<N> {}

impl<const N: usize> PerCpuCounters<N> {
    /// Counters that are zero. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Self> {
        // SAFETY: an FFI call without requirements.
        let counters = unsafe { ffi::rust_helper_iommu_counters_new(N) };
        // INVARIANT: as allocated.
        Ok(Self(NonNull::new(counters).ok_or(ENOMEM)?))
    }

    /// Counts one call in counter `I`. Any context; none is lost.
    #[inline(always)]
    pub fn inc<const I: usize>(&self) {
        const { assert!(I < N) };
        let counters = self.0.as_ptr();
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `this_cpu_inc()`: by the invariant GS and the pointer make the address of this CPU's
        // words, of which `I` is one; the instruction is whole for interrupts and for a move to
        // another CPU.
        unsafe {
            core::arch::asm!(
                "inc qword ptr gs:[{counters} + {offset}]",
                counters = in(reg) counters,
                offset = const I * 8,
                options(nostack)
            );
        }
        #[cfg(not(target_arch = "x86_64"))]
        // SAFETY: by the invariant; `I` is in bounds.
        unsafe {
            ffi::rust_helper_iommu_counters_inc(counters, I)
        };
    }

    /// The calls counted so far, on all CPUs, in counter `I`.
    pub fn sum<const I: usize>(&self) -> u64 {
        const { assert!(I < N) };
        // SAFETY: by the invariant; `I` is in bounds.
        unsafe { ffi::rust_helper_iommu_counters_sum(self.0.as_ptr(), I) }
    }
}

impl<const N: usize> Drop for PerCpuCounters<N> {
    fn drop(&mut self) {
        // SAFETY: by the invariant; nobody counts any more.
        unsafe { ffi::rust_helper_iommu_counters_free(self.0.as_ptr()) };
    }
}
