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
    ptr::NonNull, //
};

use kernel::{
    bindings,
    device::Device,
    error::{
        code::*,
        from_result,
        to_result, //
    },
    ffi::{
        c_int,
        c_uint,
        c_ulong, //
    },
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Arc, //
    },
    types::Opaque,
    ThisModule, //
};

use super::super::hw_pages::Gfp;
use super::{
    device::{
        as_raw,
        private, //
    },
    dma_ops,
    group::Group,
    resv::ResvRegions, //
};

/// Type of a group's default domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainType {
    /// DMA addresses are physical addresses.
    Identity,
    /// The DMA API maps.
    Dma,
}

/// The domains that exist once and cannot fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaticDomain {
    /// All addresses are passed through.
    Identity,
    /// All DMA is refused.
    Blocked,
}

/// Capabilities the core and its users ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// DMA is coherent with the CPU caches where mapped so.
    CacheCoherency,
    /// Invalidation may be deferred.
    DeferredFlush,
    /// Any other; drivers say no.
    Other,
}

/// Protection of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prot {
    /// Devices may read.
    pub read: bool,
    /// Devices may write.
    pub write: bool,
}

impl Prot {
    fn from_raw(prot: c_int) -> Self {
        // CAST: a bit mask.
        let bits = prot as u32;
        Self {
            read: bits & bindings::IOMMU_READ != 0,
            write: bits & bindings::IOMMU_WRITE != 0,
        }
    }
}

/// What a paging domain can do; the core copies it when the domain is made.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// Bitmap of page sizes.
    pub page_sizes: u64,
    /// Highest IOVA, inclusive.
    pub last_iova: u64,
}

/// A range of IOVA space, both ends inclusive.
pub type Span = (u64, u64);

/// What a probe found: the device's unit and what the driver keeps for the device.
pub type Probed<T> = (Arc<<T as Driver>::Unit>, KBox<<T as Driver>::Device>);

/// An IOMMU driver. Methods run in the contexts that the core's documentation of `iommu_ops` and
/// `iommu_domain_ops` gives; "may sleep" below is a promise of the core.
pub trait Driver: Send + Sync + Sized + 'static {
    /// A unit: what `iommu_device` stands for.
    type Unit: AsRef<IommuDevice> + Send + Sync;
    /// What the driver keeps for a probed device.
    type Device: Send + Sync;
    /// A paging domain.
    type Domain: Send + Sync;

    /// Where the callbacks find the driver.
    fn slot() -> &'static Slot<Self>;

    /// Finds the unit of a device. May sleep. `ENODEV` leaves the device alone.
    fn probe_device(&self, dev: &Device) -> Result<Probed<Self>>;
    /// The device goes away; its entry is on the release domain already.
    fn release_device(&self, dev: &Device, data: &Self::Device);
    /// The default domain is attached.
    fn probe_finalize(&self, dev: &Device, data: &Self::Device);
    /// The group of a device. May sleep.
    fn device_group(&self, dev: &Device, data: &Self::Device) -> Result<Group>;
    /// The default domain type a device needs, if it needs one.
    fn def_domain_type(&self, dev: &Device, data: &Self::Device) -> Option<DomainType>;
    /// Lists reserved regions. May sleep.
    fn resv_regions(&self, data: &Self::Device, list: &mut ResvRegions<'_>);
    /// Answers a capability question.
    fn capable(&self, data: &Self::Device, cap: Capability) -> bool;

    /// Attaches one of the static domains. Must not fail for lack of resources. May sleep.
    fn attach_static(
        &self,
        data: &Self::Device,
        old: Option<&Self::Domain>,
        to: StaticDomain,
    ) -> Result;
    /// Makes a paging domain that `data`'s device can use. May sleep.
    fn domain_alloc(&self, data: &Self::Device) -> Result<(KBox<Self::Domain>, Geometry)>;
    /// Attaches a paging domain. On error the device is still on `old`. May sleep.
    fn attach(&self, data: &Self::Device, old: Option<&Self::Domain>, new: &Self::Domain)
        -> Result;

    /// Maps `count` pages of `pgsize` bytes. Any context, disjoint ranges in parallel. Returns the
    /// bytes mapped, also on error.
    fn map(
        &self,
        domain: &Self::Domain,
        iova: u64,
        phys: u64,
        page: (usize, usize),
        prot: Prot,
        flags: Gfp,
    ) -> (usize, Result);
    /// Unmaps up to `len_bytes`. Any context. Returns the bytes unmapped and the range that has
    /// to be invalidated.
    fn unmap(&self, domain: &Self::Domain, iova: u64, len_bytes: usize) -> (usize, Option<Span>);
    /// New mappings become visible to units that cache absent entries.
    fn sync_map(&self, domain: &Self::Domain, span: Span) -> Result;
    /// The range becomes unreachable for devices before this returns.
    fn sync_unmap(&self, domain: &Self::Domain, span: Span);
    /// Everything unmapped before the call becomes unreachable. May run with interrupts off.
    fn flush_all(&self, domain: &Self::Domain);
    /// Looks an address up. Any context.
    fn iova_to_phys(&self, domain: &Self::Domain, iova: u64) -> Option<u64>;
}

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
        // ORDERING: pairs with the release in `Registration::new`.
        let ptr = self.0.load(Acquire);
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
#[pin_data]
pub struct IommuDevice {
    #[pin]
    raw: Opaque<bindings::iommu_device>,
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
            in_sysfs: Atomic::new(false),
            registered: Atomic::new(false),
        })
    }
}

/// A paging domain as the core sees it, with the driver's part behind it.
#[repr(C)]
struct DomainBox<T: Driver> {
    raw: Opaque<bindings::iommu_domain>,
    data: KBox<T::Domain>,
}

/// What hangs off a probed device.
pub(crate) struct DeviceBox<T: Driver> {
    unit: Arc<T::Unit>,
    data: KBox<T::Device>,
    /// The paging domain the device is attached to, null for a static one.
    domain: Atomic<*mut DomainBox<T>>,
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
        // ORDERING: pairs with the release in `set_domain`.
        let ptr = self.domain.load(Acquire);
        // SAFETY: the core frees a domain only after every device has left it, and it does not
        // move a device while anything that uses the domain runs: attaches hold the group's
        // mutex, and DMA is mapped only by a bound driver, whose domain does not change.
        unsafe { ptr.as_ref() }.map(|d| &*d.data)
    }

    fn set_domain(&self, domain: *mut DomainBox<T>) {
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

impl<T: Driver> Registration<T> {
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
            iotlb_sync_map: Some(iotlb_sync_map::<T>),
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

    /// Makes the unit visible in `/sys/class/iommu`. Every unit has to be before one is registered.
    ///
    /// # Errors
    ///
    /// `ENOMEM` or what the driver core returns.
    pub fn add(&mut self, unit: Arc<T::Unit>, name: &CStr) -> Result {
        self.units.reserve(1, GFP_KERNEL)?;
        let dev: &IommuDevice = (*unit).as_ref();
        // SAFETY: the object is zeroed and pinned inside the unit; the format takes one string.
        to_result(unsafe {
            bindings::iommu_device_sysfs_add(
                dev.raw.get(),
                core::ptr::null_mut(),
                core::ptr::null_mut(),
                c"%s".as_char_ptr(),
                name.as_char_ptr(),
            )
        })?;
        dev.in_sysfs.store(true, Relaxed);
        self.units.push(unit, GFP_KERNEL)?;
        Ok(())
    }

    /// Registers all units: the core now probes every device of every bus it knows.
    ///
    /// # Errors
    ///
    /// What the core returns; everything is undone.
    pub fn register(&mut self) -> Result {
        for unit in &self.units {
            let dev: &IommuDevice = (**unit).as_ref();
            // SAFETY: the object is in sysfs and pinned; the tables live until drop.
            to_result(unsafe {
                bindings::iommu_device_register(
                    dev.raw.get(),
                    &raw const (*self.tables.as_ptr()).ops,
                    core::ptr::null_mut(),
                )
            })?;
            dev.registered.store(true, Relaxed);
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
            if dev.registered.xchg(false, kernel::sync::atomic::Full) {
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
            if dev.in_sysfs.xchg(false, kernel::sync::atomic::Full) {
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
const IOMMU_DOMAIN_IDENTITY: c_uint = 1 << 2; // __IOMMU_DOMAIN_PT
/// Bit of the types that the DMA API maps.
const IOMMU_DOMAIN_DMA_API: c_uint = 1 << 1; // __IOMMU_DOMAIN_DMA_API

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

// The callbacks. All `unsafe` below rests on the core's contract: devices are alive and, but for
// `probe_device`, probed by this driver; domains are live objects made by this driver.

/// Calls `f` with the driver, the device and its data; `default` if there is none.
///
/// # Safety
///
/// `dev` must be a live device probed by driver `T`.
unsafe fn with<T: Driver, R>(
    dev: *mut bindings::device,
    default: R,
    f: impl FnOnce(&T, &Device, &DeviceBox<T>) -> R,
) -> R {
    // SAFETY: by contract.
    let (device, b) = unsafe { (Device::from_raw(dev), DeviceBox::<T>::of(dev)) };
    match (T::slot().get(), b) {
        (Some(driver), Some(b)) => f(driver, device, b),
        _ => default,
    }
}

/// # Safety
///
/// `domain` must be a paging domain of driver `T`.
unsafe fn domain_of<'a, T: Driver>(domain: *mut bindings::iommu_domain) -> &'a DomainBox<T> {
    // SAFETY: the C object is the first field of a `DomainBox<T>`, by contract.
    unsafe { &*domain.cast::<DomainBox<T>>() }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
unsafe extern "C" fn probe_device<T: Driver>(
    dev: *mut bindings::device,
) -> *mut bindings::iommu_device {
    // SAFETY: the core passes a live device.
    let device = unsafe { Device::from_raw(dev) };
    let probed = T::slot().get().ok_or(ENODEV).and_then(|driver| {
        let (unit, data) = driver.probe_device(device)?;
        Ok(KBox::new(
            DeviceBox::<T> {
                unit,
                data,
                domain: Atomic::new(core::ptr::null_mut()),
            },
            GFP_KERNEL,
        )?)
    });
    match probed {
        Ok(b) => {
            let unit: &IommuDevice = (*b.unit).as_ref();
            let raw = unit.raw.get();
            // SAFETY: the core holds the probe lock; the box is taken back in `release_device`.
            unsafe { bindings::dev_iommu_priv_set(dev, KBox::into_raw(b).cast()) };
            raw
        }
        Err(e) => e.to_ptr(),
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
unsafe extern "C" fn release_device<T: Driver>(dev: *mut bindings::device) {
    // SAFETY: the core passes a device this driver has probed.
    unsafe {
        dma_ops::uninstall(dev);
        with::<T, _>(dev, (), |driver, device, b| {
            b.set_domain(core::ptr::null_mut());
            driver.release_device(device, b.data())
        })
    };
    let ptr = private(dev).cast::<DeviceBox<T>>();
    if !ptr.is_null() {
        // The core frees its own part right after this call, so the pointer is not cleared:
        // `dev_iommu_priv_set` asserts a lock that is not always held here.
        // SAFETY: made by `probe_device`, taken back once.
        drop(unsafe { KBox::from_raw(ptr) });
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
unsafe extern "C" fn probe_finalize<T: Driver>(dev: *mut bindings::device) {
    // SAFETY: the core's contract.
    unsafe {
        with::<T, _>(dev, (), |driver, device, b| {
            driver.probe_finalize(device, b.data())
        })
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
unsafe extern "C" fn device_group<T: Driver>(
    dev: *mut bindings::device,
) -> *mut bindings::iommu_group {
    // SAFETY: the core's contract.
    let group = unsafe {
        with::<T, _>(dev, Err(ENODEV), |driver, device, b| {
            driver.device_group(device, b.data())
        })
    };
    match group {
        Ok(g) => g.into_raw(),
        Err(e) => e.to_ptr(),
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
unsafe extern "C" fn def_domain_type<T: Driver>(dev: *mut bindings::device) -> c_int {
    // SAFETY: the core's contract.
    let want = unsafe {
        with::<T, _>(dev, None, |driver, device, b| {
            driver.def_domain_type(device, b.data())
        })
    };
    // CAST: domain types are small flags.
    match want {
        None => 0,
        Some(DomainType::Identity) => IOMMU_DOMAIN_IDENTITY as c_int,
        // __IOMMU_DOMAIN_PAGING | __IOMMU_DOMAIN_DMA_API
        Some(DomainType::Dma) => (1 | IOMMU_DOMAIN_DMA_API) as c_int,
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
unsafe extern "C" fn get_resv_regions<T: Driver>(
    dev: *mut bindings::device,
    head: *mut bindings::list_head,
) {
    // SAFETY: the core's contract.
    unsafe {
        let mut list = ResvRegions::new(dev, head);
        with::<T, _>(dev, (), |driver, _, b| {
            driver.resv_regions(b.data(), &mut list)
        })
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
unsafe extern "C" fn capable<T: Driver>(
    dev: *mut bindings::device,
    cap: bindings::iommu_cap,
) -> bool {
    let cap = match cap {
        bindings::iommu_cap_IOMMU_CAP_CACHE_COHERENCY => Capability::CacheCoherency,
        bindings::iommu_cap_IOMMU_CAP_DEFERRED_FLUSH => Capability::DeferredFlush,
        _ => Capability::Other,
    };
    // SAFETY: the core's contract.
    unsafe { with::<T, _>(dev, false, |driver, _, b| driver.capable(b.data(), cap)) }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
unsafe extern "C" fn domain_alloc<T: Driver>(
    dev: *mut bindings::device,
    flags: u32,
    user: *const bindings::iommu_user_data,
) -> *mut bindings::iommu_domain {
    if flags != 0 || !user.is_null() {
        return EOPNOTSUPP.to_ptr();
    }
    // SAFETY: the core's contract.
    let made = unsafe {
        with::<T, Result<KBox<DomainBox<T>>>>(dev, Err(ENODEV), |driver, _, b| {
            let (data, geometry) = driver.domain_alloc(b.data())?;
            // CAST: usize is 64 bits wide on every machine with these units; as below.
            let raw = bindings::iommu_domain {
                pgsize_bitmap: geometry.page_sizes as usize,
                geometry: bindings::iommu_domain_geometry {
                    aperture_start: 0,
                    aperture_end: geometry.last_iova,
                    force_aperture: true,
                },
                ..Default::default()
            };
            Ok(KBox::new(
                DomainBox::<T> {
                    raw: Opaque::new(raw),
                    data,
                },
                GFP_KERNEL,
            )?)
        })
    };
    match made {
        Ok(b) => KBox::into_raw(b).cast(),
        Err(e) => e.to_ptr(),
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
unsafe extern "C" fn domain_free<T: Driver>(domain: *mut bindings::iommu_domain) {
    // SAFETY: made by `domain_alloc`; no device is attached any more, by the core's contract.
    drop(unsafe { KBox::from_raw(domain.cast::<DomainBox<T>>()) });
}

/// Attaches a static domain.
///
/// # Safety
///
/// As [`with`].
unsafe fn attach_static<T: Driver>(dev: *mut bindings::device, to: StaticDomain) -> c_int {
    // SAFETY: by contract.
    unsafe {
        with::<T, _>(dev, ENODEV.to_errno(), |driver, _, b| {
            from_result(|| {
                driver.attach_static(b.data(), b.domain(), to)?;
                b.set_domain(core::ptr::null_mut());
                dma_ops::uninstall(dev);
                Ok(0)
            })
        })
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
unsafe extern "C" fn attach_identity<T: Driver>(
    _domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
    _old: *mut bindings::iommu_domain,
) -> c_int {
    // SAFETY: the core's contract.
    unsafe { attach_static::<T>(dev, StaticDomain::Identity) }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
unsafe extern "C" fn attach_blocked<T: Driver>(
    _domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
    _old: *mut bindings::iommu_domain,
) -> c_int {
    // SAFETY: the core's contract.
    unsafe { attach_static::<T>(dev, StaticDomain::Blocked) }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
unsafe extern "C" fn attach_paging<T: Driver>(
    domain: *mut bindings::iommu_domain,
    dev: *mut bindings::device,
    _old: *mut bindings::iommu_domain,
) -> c_int {
    // SAFETY: the core's contract; what the device is attached to is our own record, as `_old`
    // may be a static domain, which has no driver part.
    unsafe {
        with::<T, _>(dev, ENODEV.to_errno(), |driver, _, b| {
            from_result(|| {
                let new = domain_of::<T>(domain);
                driver.attach(b.data(), b.domain(), &new.data)?;
                b.set_domain(domain.cast());
                dma_ops::uninstall(dev);
                Ok(0)
            })
        })
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
unsafe extern "C" fn map_pages<T: Driver>(
    domain: *mut bindings::iommu_domain,
    iova: c_ulong,
    paddr: bindings::phys_addr_t,
    pgsize: usize,
    pgcount: usize,
    prot: c_int,
    gfp: bindings::gfp_t,
    mapped: *mut usize,
) -> c_int {
    let Some(driver) = T::slot().get() else {
        return ENODEV.to_errno();
    };
    // SAFETY: the core's contract.
    let d = unsafe { domain_of::<T>(domain) };
    let (done, result) = driver.map(
        &d.data,
        iova as u64,
        paddr,
        (pgsize, pgcount),
        Prot::from_raw(prot),
        Gfp::from_raw(gfp),
    );
    // SAFETY: the core passes a valid counter.
    unsafe { *mapped += done };
    match result {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
unsafe extern "C" fn unmap_pages<T: Driver>(
    domain: *mut bindings::iommu_domain,
    iova: c_ulong,
    pgsize: usize,
    pgcount: usize,
    gather: *mut bindings::iommu_iotlb_gather,
) -> usize {
    let Some(driver) = T::slot().get() else {
        return 0;
    };
    // SAFETY: the core's contract.
    let d = unsafe { domain_of::<T>(domain) };
    let (bytes, span) = driver.unmap(&d.data, iova as u64, pgsize.saturating_mul(pgcount));
    if let (Some((first, last)), false) = (span, gather.is_null()) {
        // SAFETY: the core passes its gather, which only this call uses now.
        unsafe {
            (*gather).start = (*gather).start.min(first as usize);
            (*gather).end = (*gather).end.max(last as usize);
        }
    }
    bytes
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
unsafe extern "C" fn flush_iotlb_all<T: Driver>(domain: *mut bindings::iommu_domain) {
    if let Some(driver) = T::slot().get() {
        // SAFETY: the core's contract.
        driver.flush_all(unsafe { &domain_of::<T>(domain).data });
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
unsafe extern "C" fn iotlb_sync_map<T: Driver>(
    domain: *mut bindings::iommu_domain,
    iova: c_ulong,
    size: usize,
) -> c_int {
    let Some(driver) = T::slot().get() else {
        return ENODEV.to_errno();
    };
    // CAST: usize is 64 bits wide on every machine with these units.
    let last = iova.saturating_add(size).saturating_sub(1);
    // SAFETY: the core's contract.
    let d = unsafe { domain_of::<T>(domain) };
    match driver.sync_map(&d.data, (iova as u64, last as u64)) {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
unsafe extern "C" fn iotlb_sync<T: Driver>(
    domain: *mut bindings::iommu_domain,
    gather: *mut bindings::iommu_iotlb_gather,
) {
    // SAFETY: the core's contract. The free list stays empty, as no table is freed by unmapping.
    let (d, first, last) = unsafe { (domain_of::<T>(domain), (*gather).start, (*gather).end) };
    if let (Some(driver), true) = (T::slot().get(), first <= last) {
        driver.sync_unmap(&d.data, (first as u64, last as u64));
    }
}

/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
unsafe extern "C" fn iova_to_phys<T: Driver>(
    domain: *mut bindings::iommu_domain,
    iova: bindings::dma_addr_t,
) -> bindings::phys_addr_t {
    // SAFETY: the core's contract.
    let d = unsafe { domain_of::<T>(domain) };
    T::slot()
        .get()
        .and_then(|driver| driver.iova_to_phys(&d.data, iova))
        .unwrap_or(0)
}

/// x86 units keep DMA coherent for every mapping.
///
/// # Safety
///
/// For the IOMMU core, under its contract for this callback: devices and domains are live and
/// this driver's.
unsafe extern "C" fn enforce_cache_coherency(_domain: *mut bindings::iommu_domain) -> bool {
    true
}
