// SPDX-License-Identifier: GPL-2.0

//! Registration of an IOMMU driver with the core.
//!
//! A driver implements [`Driver`]; [`Registration`] builds the C function tables for it. Devices
//! and domains that the core hands back are turned into the driver's own types here, so that a
//! driver never sees a raw pointer.
//!
//! C header: [`include/linux/iommu.h`](srctree/include/linux/iommu.h)

use core::{
    ffi::CStr,
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    device::Device,
    error::to_result,
    ffi::{
        c_int,
        c_uint, //
    },
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        Arc, //
    },
    types::Opaque,
    ThisModule, //
};

use super::{
    super::shared_word::load_pointer,
    callbacks::*,
    device::{
        as_raw,
        private, //
    },
    dma_ops::DmaDriver,
    domain_box::DomainBox,
    driver::Driver,
    unit_sysfs::{
        Attributes,
        Facts, //
    }, //
};

/// Where the callbacks of a driver find it: a static of the driver.
pub struct Slot<T: Driver>(Atomic<*mut T>);

impl<T: Driver> Slot<T> {
    /// An empty slot.
    pub const fn new() -> Self {
        Self(Atomic::new(core::ptr::null_mut()))
    }

    /// The driver, while it is registered.
    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        let ptr = load_pointer(&self.0);
        // SAFETY: set only by `Registration`, which keeps the driver alive until all callbacks
        // have ended and then clears it.
        unsafe { ptr.as_ref() }
    }
}

impl<T: Driver> Default for Slot<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The core's view of a unit, embedded in the driver's own.
///
/// Begins with a `struct rust_iommu_unit`.
#[pin_data]
#[repr(C)]
pub struct IommuDevice {
    #[pin]
    pub(super) raw: Opaque<bindings::iommu_device>,
    #[pin]
    facts: Opaque<Facts>,
    in_sysfs: Atomic<bool>,
    registered: Atomic<bool>,
}

// SAFETY: the core serialises what it does with the object.
unsafe impl Send for IommuDevice {}
// SAFETY: as above.
unsafe impl Sync for IommuDevice {}

impl IommuDevice {
    /// Makes an unregistered unit.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            raw <- Opaque::zeroed(),
            facts <- Opaque::uninit(),
            in_sysfs: Atomic::new(false),
            registered: Atomic::new(false),
        })
    }

    /// Does the core know the unit, so that it may have devices?
    pub(super) fn is_registered(&self) -> bool {
        // SAFETY: aligned and valid; the core writes the function table once, before it probes for this
        // unit, but another device may be plugged in just now.
        let ops = unsafe { (&raw const (*self.raw.get()).ops).read_volatile() };
        self.registered.load(Acquire) && !ops.is_null()
    }
}

/// `struct pt_iommu_ops`, which has no Rust binding. rust/helpers/iommu.c asserts the layout.
///
/// The core passes whole ranges to a domain that has them, instead of asking for one page size after
/// the other; it calls the first two only.
#[repr(C)]
pub(super) struct RangeOps {
    map_range: unsafe extern "C" fn(
        *mut bindings::iommu_domain,
        bindings::dma_addr_t,
        bindings::phys_addr_t,
        bindings::dma_addr_t,
        c_uint,
        bindings::gfp_t,
        *mut usize,
    ) -> c_int,
    unmap_range: unsafe extern "C" fn(
        *mut bindings::iommu_domain,
        bindings::dma_addr_t,
        bindings::dma_addr_t,
        *mut bindings::iommu_iotlb_gather,
    ) -> usize,
    others: [Option<unsafe extern "C" fn()>; 3],
}

/// Carries the table of a driver as a constant.
pub(super) struct RangeOpsOf<T>(PhantomData<T>);

impl<T: Driver> RangeOpsOf<T> {
    pub(super) const OPS: RangeOps = RangeOps {
        map_range: map_range::<T>,
        unmap_range: unmap_range::<T>,
        others: [None; 3],
    };
}

/// What hangs off a probed device.
pub(crate) struct DeviceBox<T: Driver> {
    pub(super) unit: Arc<T::Unit>,
    pub(super) data: KBox<T::Device>,
    /// The paging domain the device is attached to, null for a static one.
    pub(super) domain: Atomic<*mut DomainBox<T>>,
    /// A domain of the device's own, see `own_domain`; null for none.
    pub(super) own: Atomic<*mut DomainBox<T>>,
    /// The device is, or is to return, there.
    pub(super) translated: Atomic<bool>,
}

impl<T: Driver> Drop for DeviceBox<T> {
    fn drop(&mut self) {
        let own = self.own.load(Acquire);
        if let Some(own) = NonNull::new(own) {
            // SAFETY: made by `own_domain::reserve` for this box alone; the device has left it for
            // the release domain.
            unsafe { DomainBox::free(own) };
        }
    }
}

impl<T: Driver> DeviceBox<T> {
    /// The box of a device that this driver has probed.
    ///
    /// # Safety
    ///
    /// `dev` must be a live device probed by this driver, not released during `'a`.
    #[inline]
    pub(crate) unsafe fn of<'a>(dev: *mut bindings::device) -> Option<&'a Self> {
        // SAFETY: the driver's private pointer is a `DeviceBox<T>` from probe to release.
        unsafe { private(dev).cast::<Self>().as_ref() }
    }

    /// The driver's part.
    #[inline]
    pub(crate) fn data(&self) -> &T::Device {
        &self.data
    }

    /// The driver's part of the attached paging domain.
    #[inline]
    pub(crate) fn domain(&self) -> Option<&T::Domain> {
        let ptr = load_pointer(&self.domain);
        // SAFETY: the core frees a domain only after every device has left it, and it does not
        // move a device while anything that uses the domain runs: attaches hold the group's
        // mutex, and DMA is mapped only by a bound driver, whose domain does not change.
        unsafe { ptr.as_ref() }.map(|d| &*d.data)
    }

    /// [`Self::domain`], and whether its unmaps may be put off.
    #[inline]
    pub(super) fn domain_and_mode(&self) -> Option<(&T::Domain, bool)> {
        let ptr = load_pointer(&self.domain);
        // SAFETY: as in `domain`.
        unsafe { ptr.as_ref() }.map(|d| (&*d.data, d.is_lazy()))
    }

    pub(super) fn set_domain(&self, domain: *mut DomainBox<T>) {
        self.domain.store(domain, Release);
    }
}

/// The function tables and static domains of one driver.
///
/// # Invariants
///
/// Does not move or go away while a unit is registered with `ops`.
#[repr(C)]
struct Tables {
    ops: bindings::iommu_ops,
    paging_ops: bindings::iommu_domain_ops,
    identity_ops: bindings::iommu_domain_ops,
    blocked_ops: bindings::iommu_domain_ops,
    identity: bindings::iommu_domain,
    blocked: bindings::iommu_domain,
}

/// A driver known to the core.
pub struct Registration<T: Driver> {
    tables: NonNull<Tables>,
    driver: Arc<T>,
    units: KVec<Arc<T::Unit>>,
}

// SAFETY: the tables are only written before anything is registered.
unsafe impl<T: Driver> Send for Registration<T> {}
// SAFETY: as above.
unsafe impl<T: Driver> Sync for Registration<T> {}

impl<T: DmaDriver> Registration<T> {
    /// Builds the function tables. Nothing is registered yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(module: &'static ThisModule, driver: Arc<T>) -> Result<Self> {
        let paging_ops = bindings::iommu_domain_ops {
            attach_dev: Some(attach_paging::<T>),
            map_pages: Some(map_pages::<T>),
            unmap_pages: Some(unmap_pages::<T>),
            flush_iotlb_all: Some(flush_iotlb_all::<T>),
            iotlb_sync_map: if driver.syncs_maps() {
                Some(iotlb_sync_map::<T>)
            } else {
                None
            },
            iotlb_sync: Some(iotlb_sync::<T>),
            iova_to_phys: Some(iova_to_phys::<T>),
            enforce_cache_coherency: Some(enforce_cache_coherency),
            free: Some(domain_free::<T>),
            ..Default::default()
        };
        let tables = KBox::new(
            Tables {
                ops: bindings::iommu_ops {
                    capable: Some(capable::<T>),
                    domain_alloc_paging_flags: Some(domain_alloc::<T>),
                    probe_device: Some(probe_device::<T>),
                    release_device: Some(release_device::<T>),
                    probe_finalize: Some(probe_finalize::<T>),
                    device_group: Some(device_group::<T>),
                    get_resv_regions: Some(get_resv_regions::<T>),
                    def_domain_type: Some(def_domain_type::<T>),
                    owner: module.as_ptr(),
                    ..Default::default()
                },
                paging_ops,
                identity_ops: bindings::iommu_domain_ops {
                    attach_dev: Some(attach_identity::<T>),
                    ..Default::default()
                },
                blocked_ops: bindings::iommu_domain_ops {
                    attach_dev: Some(attach_blocked::<T>),
                    ..Default::default()
                },
                identity: bindings::iommu_domain {
                    type_: IOMMU_DOMAIN_IDENTITY,
                    ..Default::default()
                },
                blocked: bindings::iommu_domain {
                    type_: IOMMU_DOMAIN_BLOCKED,
                    ..Default::default()
                },
            },
            GFP_KERNEL,
        )?;
        let tables = NonNull::from(KBox::leak(tables));
        let t = tables.as_ptr();
        // SAFETY: the box is ours and nothing else knows it yet; it is given back in drop.
        unsafe {
            (*t).ops.default_domain_ops = &raw const (*t).paging_ops;
            (*t).ops.identity_domain = &raw mut (*t).identity;
            (*t).ops.blocked_domain = &raw mut (*t).blocked;
            (*t).ops.release_domain = &raw mut (*t).blocked;
            (*t).identity.ops = &raw const (*t).identity_ops;
            (*t).blocked.ops = &raw const (*t).blocked_ops;
        }
        let ptr: *const T = &*driver;
        // ORDERING: the tables and the driver are complete before a callback can find them.
        T::slot().0.store(ptr.cast_mut(), Release);
        Ok(Self {
            tables,
            driver,
            units: KVec::new(),
        })
    }

    /// The driver.
    pub fn driver(&self) -> &Arc<T> {
        &self.driver
    }

    /// Makes the unit visible in `/sys/class/iommu`, below the device that it is, if it is one. Every unit
    /// has to be before one is registered.
    ///
    /// # Errors
    ///
    /// `EEXIST`: it is there already. `ENOMEM` or what the driver core returns.
    pub fn add(
        &mut self,
        unit: Arc<T::Unit>,
        parent: Option<&Device>,
        name: &CStr,
        attributes: Attributes,
    ) -> Result {
        self.units.reserve(1, GFP_KERNEL)?;
        let dev: &IommuDevice = (*unit).as_ref();
        if dev.in_sysfs.xchg(true, Full) {
            return Err(EEXIST);
        }
        // SAFETY: whoever sets `in_sysfs` has the facts for himself until they are in sysfs; the object is
        // zeroed and pinned inside the unit; the format takes one string.
        to_result(unsafe {
            dev.facts.get().write(Facts::of::<T>(attributes));
            bindings::iommu_device_sysfs_add(
                dev.raw.get(),
                parent.map_or(core::ptr::null_mut(), as_raw),
                attributes.groups(),
                c"%s".as_char_ptr(),
                name.as_char_ptr(),
            )
        })
        .inspect_err(|_| dev.in_sysfs.store(false, Relaxed))?;
        self.units.push(unit, GFP_KERNEL)?;
        Ok(())
    }

    /// Registers all units, one after the other: the core probes every device of every bus it knows each
    /// time, and each time those of one more unit are accepted.
    ///
    /// # Errors
    ///
    /// What the core returns; everything is undone.
    pub fn register(&mut self) -> Result {
        for unit in &self.units {
            let dev: &IommuDevice = (**unit).as_ref();
            // Devices are accepted during the call.
            dev.registered.store(true, Release);
            // SAFETY: the object is in sysfs and pinned; the tables live until drop.
            to_result(unsafe {
                bindings::iommu_device_register(
                    dev.raw.get(),
                    &raw const (*self.tables.as_ptr()).ops,
                    core::ptr::null_mut(),
                )
            })
            .inspect_err(|_| dev.registered.store(false, Relaxed))?;
        }
        Ok(())
    }

    /// Probes again what was left alone: devices whose driver is gone by now. May sleep; must not
    /// be called with a device or group lock held.
    ///
    /// The core probes all devices without a group whenever a unit is registered, and has no
    /// other way in for modules; so a unit without devices is registered and taken away again.
    ///
    /// # Errors
    ///
    /// What the core returns.
    pub fn rescan(&self) -> Result {
        let dummy = KBox::pin_init(IommuDevice::new(), GFP_KERNEL)?;
        // SAFETY: the object is zeroed, pinned in its box, and unregistered before the box goes.
        // No device is linked to it, as `probe_device` only returns real units.
        unsafe {
            to_result(bindings::iommu_device_register(
                dummy.raw.get(),
                &raw const (*self.tables.as_ptr()).ops,
                core::ptr::null_mut(),
            ))?;
            bindings::iommu_device_unregister(dummy.raw.get());
        }
        Ok(())
    }
}

impl<T: Driver> Registration<T> {
    /// Takes all units away from the core: every device is released. All drivers of grouped
    /// devices must be unbound. May sleep.
    pub fn unregister(&self) {
        for unit in &self.units {
            let dev: &IommuDevice = (**unit).as_ref();
            if dev.registered.xchg(false, Full) {
                // SAFETY: it is registered.
                unsafe { bindings::iommu_device_unregister(dev.raw.get()) };
            }
        }
    }
}

impl<T: Driver> Drop for Registration<T> {
    fn drop(&mut self) {
        self.unregister();
        for unit in &self.units {
            let dev: &IommuDevice = (**unit).as_ref();
            if dev.in_sysfs.xchg(false, Full) {
                // SAFETY: it was added to sysfs and is no longer registered.
                unsafe { bindings::iommu_device_sysfs_remove(dev.raw.get()) };
            }
        }
        T::slot().0.store(core::ptr::null_mut(), Release);
        // SAFETY: leaked in `new`; no unit is registered, so the core has no use for it any more.
        drop(unsafe { KBox::from_raw(self.tables.as_ptr()) });
    }
}

const IOMMU_DOMAIN_BLOCKED: c_uint = 0;
pub(super) const IOMMU_DOMAIN_IDENTITY: c_uint = 1 << 2; // __IOMMU_DOMAIN_PT
/// A domain that its user maps; the DMA API's have the next bit, too.
pub(super) const IOMMU_DOMAIN_UNMANAGED: c_uint = 1; // __IOMMU_DOMAIN_PAGING
/// Bit of the types that the DMA API maps.
pub(super) const IOMMU_DOMAIN_DMA_API: c_uint = 1 << 1; // __IOMMU_DOMAIN_DMA_API

/// The type of a device's current domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// No domain, identity or blocked.
    Static,
    /// A domain the DMA API maps.
    Dma,
    /// A domain of VFIO, iommufd or a driver.
    Unmanaged,
}

/// What kind of domain a device of driver `T` is attached to.
pub fn attached<T: Driver>(dev: &Device) -> Attached {
    // SAFETY: the device is alive; callers ask about devices of this driver, all others have no
    // private pointer as only one x86 driver can be registered.
    let Some(b) = (unsafe { DeviceBox::<T>::of(as_raw(dev)) }) else {
        return Attached::Static;
    };
    // SAFETY: see `DeviceBox::domain`.
    match unsafe { b.domain.load(Acquire).as_ref() } {
        None => Attached::Static,
        // SAFETY: `type` is written by the core before the domain is attached.
        Some(d) if unsafe { (*d.raw.get()).type_ } & IOMMU_DOMAIN_DMA_API != 0 => Attached::Dma,
        Some(_) => Attached::Unmanaged,
    }
}

/// Calls `f` with the paging domain a device of driver `T` is attached to, if it is.
///
/// # Context
///
/// The device's domain does not change meanwhile: it has no driver yet, or the caller is its
/// driver.
pub fn attached_domain<T: Driver, R>(
    dev: &Device,
    f: impl FnOnce(&T::Device, &T::Domain) -> R,
) -> Option<R> {
    // SAFETY: as in `attached`.
    let b = unsafe { DeviceBox::<T>::of(as_raw(dev)) }?;
    b.domain().map(|domain| f(b.data(), domain))
}
