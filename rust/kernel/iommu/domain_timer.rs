// SPDX-License-Identifier: GPL-2.0

//! The timer of a domain: for unmaps that may be put off (`DMA-FQ`), and for what is got ready for the
//! next call.
//!
//! C header: [`include/linux/hrtimer.h`](srctree/include/linux/hrtimer.h)

use core::ptr::null_mut;

use kernel::{
    bindings,
    ffi::c_void,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Release, //
        },
        Arc, //
    },
    time::Delta,
    types::Opaque, //
};

/// The timer of a domain, for what need not be done at once.
#[derive(Clone)]
pub struct DomainTimer(Arc<Timer>);

impl DomainTimer {
    /// A timer that does not run.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(call: Call) -> Result<Self> {
        Ok(Self(Arc::pin_init(Timer::new(call), GFP_KERNEL)?))
    }

    /// Has [`super::dma_ops::DmaDriver::dma_expired`] called once after this time, in softirq context. Any context.
    #[inline(never)]
    pub fn start(&self, after: Delta) {
        // SAFETY: set up by the type invariant of `Timer`, which cancels it before it goes.
        unsafe {
            bindings::hrtimer_start_range_ns(
                self.0.raw.get(),
                after.as_nanos(),
                0,
                bindings::hrtimer_mode_HRTIMER_MODE_REL_SOFT,
            )
        };
    }

    /// Has `domain` passed to what is called, until [`Self::disarm`]; before, nothing is called.
    ///
    /// # Safety
    ///
    /// The function of [`Self::new`] may be called with `domain` until then.
    pub(super) unsafe fn aim(&self, domain: *mut c_void) {
        // ORDERING: the domain is complete before it can be found.
        self.0.domain.store(domain, Release);
    }

    /// Nothing is called any more when this returns.
    pub(super) fn disarm(&self) {
        self.0.disarm();
    }
}

/// What a timer calls, with its domain.
pub(super) type Call = unsafe fn(*mut c_void);

/// # Invariants
///
/// `raw` is set up by `hrtimer_setup()`. `domain` is null, or what `call` wants; it is cleared, and the
/// function waited for, before the domain goes.
#[pin_data(PinnedDrop)]
struct Timer {
    #[pin]
    raw: Opaque<bindings::hrtimer>,
    domain: Atomic<*mut c_void>,
    call: Call,
}

// SAFETY: the kernel's timers are started and cancelled from anywhere; domains are shared between threads.
unsafe impl Send for Timer {}
// SAFETY: as above.
unsafe impl Sync for Timer {}

impl Timer {
    fn new(call: Call) -> impl PinInit<Self> {
        // INVARIANT: set up, with no domain yet.
        pin_init!(Self {
            // SAFETY: `place` is valid for writes and stays pinned.
            raw <- Opaque::ffi_init(|place: *mut bindings::hrtimer| unsafe {
                bindings::hrtimer_setup(
                    place,
                    Some(run),
                    bindings::CLOCK_MONOTONIC as bindings::clockid_t,
                    bindings::hrtimer_mode_HRTIMER_MODE_REL_SOFT,
                );
            }),
            domain: Atomic::new(null_mut()),
            call,
        })
    }

    /// Nothing is called any more when this returns.
    fn disarm(&self) {
        self.domain.xchg(null_mut(), Full);
        // SAFETY: set up by the type invariant. Waits for the function, which holds nothing that its
        // caller could hold.
        unsafe { bindings::hrtimer_cancel(self.raw.get()) };
    }
}

#[pinned_drop]
impl PinnedDrop for Timer {
    fn drop(self: Pin<&mut Self>) {
        self.disarm();
    }
}

/// # Safety
///
/// For the timer code, with the first field of a [`Timer`].
unsafe extern "C" fn run(timer: *mut bindings::hrtimer) -> bindings::hrtimer_restart {
    // SAFETY: by contract; the timer is cancelled before its box goes.
    let timer = unsafe { &*kernel::container_of!(Opaque::cast_from(timer), Timer, raw) };
    let domain = timer.domain.load(Acquire);
    if !domain.is_null() {
        // SAFETY: by the type invariant.
        unsafe { (timer.call)(domain) };
    }
    bindings::hrtimer_restart::HRTIMER_NORESTART
}
