// SPDX-License-Identifier: GPL-2.0

//! The interrupt of a unit that is no device of a bus: the message is written into registers.
//!
//! C header: [`include/linux/irqdomain.h`](srctree/include/linux/irqdomain.h)

use core::{
    ffi::CStr,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    error::{
        code::*,
        to_result, //
    },
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

use super::irq_line::{
    request,
    Handler, //
};

/// A unit whose interrupt's message lies in its own registers.
pub trait UnitInterrupt: Handler {
    /// Writes the message. Interrupts are off; must not sleep.
    fn write_message(&self, address: u64, data: u32);
    /// Masks the interrupt or unmasks it. Interrupts are off; must not sleep.
    fn set_masked(&self, masked: bool);
}

#[repr(C)]
struct Ops {
    write: unsafe extern "C" fn(*mut c_void, u64, u32),
    mask: unsafe extern "C" fn(*mut c_void, bool),
}

extern "C" {
    // rust/helpers/unit_irq.c
    fn rust_iommu_unit_irq_new(
        ops: *const Ops,
        cookie: *mut c_void,
        out: *mut *mut Opaque<()>,
    ) -> c_int;
    fn rust_iommu_unit_irq_free(irq: *mut Opaque<()>);
}

/// # Safety
///
/// `cookie` must be the `T` of a live [`UnitLine`].
unsafe extern "C" fn write<T: UnitInterrupt>(cookie: *mut c_void, address: u64, data: u32) {
    // SAFETY: by contract.
    unsafe { &*cookie.cast::<T>() }.write_message(address, data);
}

/// # Safety
///
/// `cookie` must be the `T` of a live [`UnitLine`].
unsafe extern "C" fn mask<T: UnitInterrupt>(cookie: *mut c_void, masked: bool) {
    // SAFETY: by contract.
    unsafe { &*cookie.cast::<T>() }.set_masked(masked);
}

/// A requested interrupt of a unit.
///
/// # Invariants
///
/// `irq` is requested with `handler` as its cookie and belongs to `unit`; `handler` lives at least
/// until both are freed.
pub struct UnitLine<T: UnitInterrupt> {
    unit: NonNull<Opaque<()>>,
    irq: u32,
    handler: Arc<T>,
}

// SAFETY: the interrupt may be freed from any thread.
unsafe impl<T: UnitInterrupt> Send for UnitLine<T> {}

impl<T: UnitInterrupt> UnitLine<T> {
    const OPS: Ops = Ops {
        write: write::<T>,
        mask: mask::<T>,
    };

    /// Allocates an interrupt and requests it.
    ///
    /// # Errors
    ///
    /// `ENODEV` where the architecture has none for units; `ENOMEM`, `ENOSPC`.
    pub fn new(name: &'static CStr, handler: Arc<T>) -> Result<Self> {
        let cookie: *const T = &*handler;
        let cookie = cookie.cast_mut().cast::<c_void>();
        let mut unit = core::ptr::null_mut();
        // SAFETY: the functions live as long as the module, `cookie` until the interrupt is freed,
        // which is below or on drop; `unit` is a place for the answer.
        let irq = unsafe { rust_iommu_unit_irq_new(const { &Self::OPS }, cookie, &raw mut unit) };
        to_result(irq)?;
        let unit = NonNull::new(unit).ok_or(ENOMEM)?;
        // SAFETY: freed on drop, before `handler` goes.
        let requested = unsafe { request(irq, name, &handler) };
        match requested {
            // INVARIANT: requested with `cookie`, kept alive by `handler`.
            Ok(irq) => Ok(Self { unit, irq, handler }),
            Err(e) => {
                // SAFETY: made above, not requested.
                unsafe { rust_iommu_unit_irq_free(unit.as_ptr()) };
                Err(e)
            }
        }
    }
}

impl<T: UnitInterrupt> Drop for UnitLine<T> {
    fn drop(&mut self) {
        let cookie: *const T = &*self.handler;
        // SAFETY: by the type invariant the line is requested with this cookie.
        unsafe { bindings::free_irq(self.irq, cookie.cast_mut().cast()) };
        // SAFETY: made by `new` and no longer requested.
        unsafe { rust_iommu_unit_irq_free(self.unit.as_ptr()) };
    }
}
