// SPDX-License-Identifier: GPL-2.0

//! Interrupts of this CPU off, for as long as an object lives.
//!
//! `kernel::interrupt` counts nested uses in a variable of the CPU; this one keeps the former state, as
//! `local_irq_save()` does.

use core::marker::PhantomData;

use kernel::ffi::c_ulong;

mod ffi {
    use super::*;

    extern "C" {
        // rust/helpers/iommu.c
        pub(super) fn rust_helper_iommu_irq_save() -> c_ulong;
        pub(super) fn rust_helper_iommu_irq_restore(flags: c_ulong);
    }
}

/// Interrupts are off on this CPU. Objects are dropped in the reverse order of their making.
///
/// # Invariants
///
/// Interrupts are off, and `0` is what `local_irq_restore()` needs. Not sent to another CPU.
pub struct IrqSaved(c_ulong, PhantomData<*mut ()>);

impl IrqSaved {
    /// Turns interrupts off.
    #[inline]
    pub fn new() -> Self {
        // SAFETY: allowed anywhere.
        // INVARIANT: just saved.
        Self(unsafe { ffi::rust_helper_iommu_irq_save() }, PhantomData)
    }
}

impl Default for IrqSaved {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for IrqSaved {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the state from `new`, on the same CPU, as preemption was off meanwhile.
        unsafe { ffi::rust_helper_iommu_irq_restore(self.0) }
    }
}
