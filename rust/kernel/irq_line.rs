// SPDX-License-Identifier: GPL-2.0

//! The message-signalled interrupt of a PCI function that no driver is bound to.
//!
//! C header: [`include/linux/interrupt.h`](srctree/include/linux/interrupt.h)

use core::ffi::CStr;

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
    sync::Arc, //
};

use super::pci_topology::PciDev;

/// What runs when the interrupt fires.
pub trait Handler: Send + Sync + 'static {
    /// Runs in process context, in the line's own thread. The line stays masked by the caller's
    /// one-shot flag until it returns.
    fn handle_threaded(&self);
}

/// A requested interrupt.
///
/// # Invariants
///
/// `irq` is requested with `handler` as its cookie; `handler` lives at least until `free_irq` has
/// returned.
pub struct MsiLine<T: Handler> {
    pdev: PciDev,
    irq: u32,
    handler: Arc<T>,
}

/// Runs the handler's thread function.
///
/// # Safety
///
/// `data` must be the pointer to a `T` given to `request_threaded_irq`, alive until `free_irq`.
unsafe extern "C" fn thread_fn<T: Handler>(
    _irq: c_int,
    data: *mut c_void,
) -> bindings::irqreturn_t {
    // SAFETY: by the function's contract.
    let handler = unsafe { &*data.cast::<T>() };
    handler.handle_threaded();
    bindings::irqreturn::IRQ_HANDLED
}

/// Requests an interrupt whose thread runs `handler`.
///
/// # Safety
///
/// `handler` must live until the interrupt has been freed, with its address as the cookie.
pub(crate) unsafe fn request<T: Handler>(
    irq: c_int,
    name: &'static CStr,
    handler: &Arc<T>,
) -> Result<u32> {
    let irq = u32::try_from(irq).map_err(|_| ENXIO)?;
    let cookie: *const T = &**handler;
    // SAFETY:
    // - `thread_fn::<T>` gets `cookie`, which lives until `free_irq` by contract.
    // - No primary handler is given, so the one-shot flag is required and set.
    to_result(unsafe {
        bindings::request_threaded_irq(
            irq,
            None,
            Some(thread_fn::<T>),
            bindings::IRQF_ONESHOT as kernel::ffi::c_ulong,
            name.as_char_ptr(),
            cookie.cast_mut().cast(),
        )
    })?;
    Ok(irq)
}

impl<T: Handler> MsiLine<T> {
    /// Allocates one MSI vector of `pdev` and requests it.
    ///
    /// # Errors
    ///
    /// What `pci_alloc_irq_vectors` and `request_threaded_irq` return: `ENOSPC` if the function
    /// has no MSI, `ENOMEM`.
    pub fn new(pdev: PciDev, name: &'static CStr, handler: Arc<T>) -> Result<Self> {
        // SAFETY: `pdev` holds a reference; one vector is asked for, MSI only.
        let n =
            unsafe { bindings::pci_alloc_irq_vectors(pdev.as_raw(), 1, 1, bindings::PCI_IRQ_MSI) };
        if n < 1 {
            to_result(n)?;
            return Err(ENOSPC);
        }
        // SAFETY: vector 0 was just allocated.
        let irq = unsafe { bindings::pci_irq_vector(pdev.as_raw(), 0) };
        // SAFETY: freed on drop, before `handler` goes.
        let requested = unsafe { request(irq, name, &handler) };
        match requested {
            // INVARIANT: requested with `cookie`, kept alive by `handler`.
            Ok(irq) => Ok(Self { pdev, irq, handler }),
            Err(e) => {
                // SAFETY: undoes the allocation above.
                unsafe { bindings::pci_free_irq_vectors(pdev.as_raw()) };
                Err(e)
            }
        }
    }
}

impl<T: Handler> Drop for MsiLine<T> {
    fn drop(&mut self) {
        let cookie: *const T = &*self.handler;
        // SAFETY: by the type invariant the line is requested with this cookie.
        unsafe { bindings::free_irq(self.irq, cookie.cast_mut().cast()) };
        // SAFETY: the vector was allocated by `new` and is no longer requested.
        unsafe { bindings::pci_free_irq_vectors(self.pdev.as_raw()) };
    }
}
