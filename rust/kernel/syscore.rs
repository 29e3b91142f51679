// SPDX-License-Identifier: GPL-2.0

//! Notices of the end of the machine's sleep and of its shutdown, after all devices' own.
//!
//! C header: [`include/linux/syscore_ops.h`](srctree/include/linux/syscore_ops.h)

use kernel::{
    bindings,
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

/// Receiver of the notices.
pub trait PowerListener: Send + Sync + 'static {
    /// The machine wakes up; what had no power has forgotten all. Runs on one processor with
    /// interrupts off, before any device resumes.
    fn resume(&self);
    /// The machine stops, restarts, or another kernel takes over; all devices were told to stop.
    fn shutdown(&self);
}

/// `struct syscore_ops`, which has no Rust binding. rust/helpers/iommu.c asserts the layout.
#[repr(C)]
struct Ops {
    suspend: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
    resume: Option<unsafe extern "C" fn(*mut c_void)>,
    shutdown: Option<unsafe extern "C" fn(*mut c_void)>,
}

/// `struct syscore`, likewise.
#[repr(C)]
struct Syscore {
    node: bindings::list_head,
    ops: *const Ops,
    data: *mut c_void,
}

extern "C" {
    fn register_syscore(syscore: *mut Syscore);
    fn unregister_syscore(syscore: *mut Syscore);
}

/// Carries the table of a listener as a constant, so that it lives as long as the code.
struct OpsOf<L>(core::marker::PhantomData<L>);

impl<L: PowerListener> OpsOf<L> {
    const OPS: Ops = Ops {
        suspend: None,
        resume: Some(resume::<L>),
        shutdown: Some(shutdown::<L>),
    };
}

/// # Safety
///
/// `data` must be the listener of a registered [`PowerNotices<L>`].
unsafe extern "C" fn resume<L: PowerListener>(data: *mut c_void) {
    // SAFETY: by contract.
    unsafe { &*data.cast::<L>() }.resume();
}

/// # Safety
///
/// As [`resume`].
unsafe extern "C" fn shutdown<L: PowerListener>(data: *mut c_void) {
    // SAFETY: by contract.
    unsafe { &*data.cast::<L>() }.shutdown();
}

/// A registered listener.
///
/// # Invariants
///
/// `raw` is on the kernel's list from registration to drop and does not move meanwhile; its data is
/// the listener.
#[pin_data(PinnedDrop)]
pub struct PowerNotices<L: PowerListener> {
    #[pin]
    raw: Opaque<Syscore>,
    _listener: Arc<L>,
}

// SAFETY: the list has its own lock; the listener is `Send + Sync`.
unsafe impl<L: PowerListener> Send for PowerNotices<L> {}
// SAFETY: as above.
unsafe impl<L: PowerListener> Sync for PowerNotices<L> {}

impl<L: PowerListener> PowerNotices<L> {
    /// Registers `listener`.
    pub fn new(listener: Arc<L>) -> impl PinInit<Self> {
        let data: *const L = &*listener;
        pin_init!(Self {
            _listener: listener,
            raw <- Opaque::ffi_init(move |slot: *mut Syscore| {
                // SAFETY: `slot` is valid for writes.
                unsafe {
                    slot.write(Syscore {
                        node: bindings::list_head::default(),
                        ops: &OpsOf::<L>::OPS,
                        data: data.cast_mut().cast(),
                    })
                };
                // INVARIANT: on the list from here on; the initialised object is pinned.
                // SAFETY: the object is initialised, and unregistered before it goes.
                unsafe { register_syscore(slot) };
            }),
        })
    }
}

#[pinned_drop]
impl<L: PowerListener> PinnedDrop for PowerNotices<L> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: registered by `new`, unregistered once.
        unsafe { unregister_syscore(self.raw.get()) };
    }
}
