// SPDX-License-Identifier: GPL-2.0

//! Notices of drivers that bind to and unbind from PCI devices.
//!
//! C header: [`include/linux/device/bus.h`](srctree/include/linux/device/bus.h)

use kernel::{
    bindings,
    container_of,
    device::Device,
    error::to_result,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    prelude::*,
    sync::Arc,
    types::Opaque, //
};

/// What happened to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A driver is about to be probed; DMA is already configured.
    Bind,
    /// A driver is gone from the device, or was not bound after all.
    Unbound,
    /// The device left the bus.
    Removed,
}

/// Receiver of the notices.
pub trait Listener: Send + Sync + 'static {
    /// Runs in process context with the device locked by the driver core.
    fn notify(&self, dev: &Device, event: Event);
}

/// A registered listener on the PCI bus.
///
/// # Invariants
///
/// `nb` is on the PCI bus's chain from registration to drop, with [`call`] as its function; this
/// object does not move meanwhile.
#[pin_data(PinnedDrop)]
pub struct PciBusNotifier<L: Listener> {
    #[pin]
    nb: Opaque<bindings::notifier_block>,
    listener: Arc<L>,
}

// SAFETY: the chain serialises registration; the listener is `Send + Sync`.
unsafe impl<L: Listener> Send for PciBusNotifier<L> {}
// SAFETY: as above.
unsafe impl<L: Listener> Sync for PciBusNotifier<L> {}

/// # Safety
///
/// `nb` must be the field of a live [`PciBusNotifier<L>`] and `data` a `struct device`.
unsafe extern "C" fn call<L: Listener>(
    nb: *mut bindings::notifier_block,
    action: c_ulong,
    data: *mut c_void,
) -> c_int {
    // CAST: actions are small non-negative numbers.
    let event = match action as u32 {
        bindings::bus_notifier_event_BUS_NOTIFY_BIND_DRIVER => Event::Bind,
        bindings::bus_notifier_event_BUS_NOTIFY_UNBOUND_DRIVER
        | bindings::bus_notifier_event_BUS_NOTIFY_DRIVER_NOT_BOUND => Event::Unbound,
        bindings::bus_notifier_event_BUS_NOTIFY_REMOVED_DEVICE => Event::Removed,
        _ => return 0,
    };
    // SAFETY: by the contract `nb` is embedded in a live notifier.
    let this = unsafe { &*container_of!(Opaque::cast_from(nb), PciBusNotifier<L>, nb) };
    // SAFETY: the chain passes a device that is alive during the call.
    let dev = unsafe { Device::from_raw(data.cast()) };
    this.listener.notify(dev, event);
    // NOTIFY_DONE
    0
}

impl<L: Listener> PciBusNotifier<L> {
    /// Registers `listener` on the PCI bus.
    pub fn new(listener: Arc<L>) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            listener,
            nb <- Opaque::try_ffi_init(|slot: *mut bindings::notifier_block| {
                // SAFETY: `slot` is valid for writes.
                unsafe {
                    slot.write(bindings::notifier_block {
                        notifier_call: Some(call::<L>),
                        ..Default::default()
                    })
                };
                // INVARIANT: on the chain from here on; the initialised object is pinned.
                // SAFETY: the bus type is static and the block is initialised.
                to_result(unsafe {
                    bindings::bus_register_notifier(&raw const bindings::pci_bus_type, slot)
                })
            }),
        }? Error)
    }
}

#[pinned_drop]
impl<L: Listener> PinnedDrop for PciBusNotifier<L> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: registered by `new`, unregistered once.
        unsafe {
            bindings::bus_unregister_notifier(&raw const bindings::pci_bus_type, self.nb.get())
        };
    }
}
