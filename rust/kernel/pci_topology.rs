// SPDX-License-Identifier: GPL-2.0

//! What the PCI core knows about functions, bridges and how requests travel.
//!
//! C header: [`include/linux/pci.h`](srctree/include/linux/pci.h)

use core::ptr::NonNull;

use kernel::{
    bindings,
    device::Device, //
};

use super::iommu::device::as_raw as device_as_raw;

mod ffi {
    #![expect(improper_ctypes)]
    use super::*;

    extern "C" {
        // rust/helpers/iommu.c
        pub(super) fn rust_helper_iommu_pci_segment(pdev: *mut bindings::pci_dev) -> u32;
        pub(super) fn rust_helper_iommu_physical_function(
            pdev: *mut bindings::pci_dev,
        ) -> *mut bindings::pci_dev;
        pub(super) fn rust_helper_iommu_real_dma(
            pdev: *mut bindings::pci_dev,
        ) -> *mut bindings::pci_dev;
        pub(super) fn rust_helper_iommu_pci_window(
            pdev: *mut bindings::pci_dev,
            index: u32,
            first: *mut u64,
            last: *mut u64,
        ) -> bool;
    }
}

/// A counted reference to a PCI function.
///
/// # Invariants
///
/// Owns one reference of a `struct pci_dev`.
pub struct PciDev(NonNull<bindings::pci_dev>);

// SAFETY: a `struct pci_dev` may be used and put from any thread.
unsafe impl Send for PciDev {}
// SAFETY: as above; only fields that do not change after enumeration are read.
unsafe impl Sync for PciDev {}

/// The PCI Express type of a function (Device/Port Type of the PCI Express Capabilities Register).
///
/// Source: PCI Express Base Specification 6.0, 7.5.3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PcieType {
    /// No PCI Express capability: conventional PCI.
    Conventional,
    /// Endpoint or legacy endpoint.
    Endpoint,
    /// Root port.
    RootPort,
    /// Upstream port of a switch.
    Upstream,
    /// Downstream port of a switch.
    Downstream,
    /// PCI Express to PCI or PCI-X bridge.
    PcieToPci,
    /// PCI or PCI-X to PCI Express bridge.
    PciToPcie,
    /// Root complex integrated endpoint.
    Integrated,
    /// Root complex event collector.
    EventCollector,
    /// A value the specification reserves.
    Reserved,
}

/// Quirks of a bridge's aliasing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BridgeFlags {
    /// Requests from below carry the ID of the secondary bus, as behind a PCIe-to-PCI bridge.
    pub pcie_alias: bool,
    /// The translation unit sits here.
    pub translation_root: bool,
    /// Requester IDs are passed through.
    pub no_alias: bool,
}

impl PciDev {
    /// Takes over a reference.
    ///
    /// # Safety
    ///
    /// `ptr` is null or a `struct pci_dev` whose reference the caller gives away.
    unsafe fn from_owned(ptr: *mut bindings::pci_dev) -> Option<Self> {
        // INVARIANT: the caller gives its reference away.
        NonNull::new(ptr).map(Self)
    }

    /// The function at a place on the bus, if one is there.
    pub fn find(segment: u16, bus: u8, devfn: u8) -> Option<Self> {
        // SAFETY: an FFI call without requirements; it returns null or a new reference.
        unsafe {
            Self::from_owned(bindings::pci_get_domain_bus_and_slot(
                segment.into(),
                bus.into(),
                devfn.into(),
            ))
        }
    }

    /// The function behind a generic device, or [`None`] if it is not on the PCI bus.
    pub fn from_device(dev: &Device) -> Option<Self> {
        let raw = device_as_raw(dev);
        // SAFETY: `raw` is a live device.
        if !unsafe { bindings::dev_is_pci(raw) } {
            return None;
        }
        // SAFETY: a device on the PCI bus is embedded in a `struct pci_dev`.
        let pdev = unsafe { kernel::container_of!(raw, bindings::pci_dev, dev) };
        // SAFETY: takes a new reference of a live device, which `from_owned` takes over.
        unsafe {
            bindings::get_device(raw);
            Self::from_owned(pdev)
        }
    }

    pub(crate) fn as_raw(&self) -> *mut bindings::pci_dev {
        self.0.as_ptr()
    }

    fn get(&self) -> &bindings::pci_dev {
        // SAFETY: by the type invariant the object is alive. Only fields that are constant after
        // enumeration are read through this reference.
        unsafe { self.0.as_ref() }
    }

    /// The generic device.
    pub fn device(&self) -> &Device {
        // SAFETY: the embedded device lives as long as our reference.
        unsafe { Device::from_raw(&raw mut (*self.as_raw()).dev) }
    }

    /// PCI segment.
    pub fn segment(&self) -> u16 {
        // SAFETY: `bus` is valid while the function is.
        let nr = unsafe { ffi::rust_helper_iommu_pci_segment(self.as_raw()) };
        // CAST: PCI segments have 16 bits; hosts that number beyond it have no ACPI tables.
        nr as u16
    }

    /// Bus number.
    pub fn bus(&self) -> u8 {
        // SAFETY: `bus` is valid while the function is.
        unsafe { (*self.get().bus).number }
    }

    /// Device and function number.
    pub fn devfn(&self) -> u8 {
        // CAST: devfn has 8 bits.
        self.get().devfn as u8
    }

    /// The bridge above, or [`None`] on a root bus.
    pub fn upstream(&self) -> Option<Self> {
        let mut bus = self.get().bus;
        // SAFETY: buses are valid while a function below them is; virtual buses of virtual
        // functions have no bridge of their own, their parent has.
        unsafe {
            while (*bus).self_.is_null() && !(*bus).parent.is_null() {
                bus = (*bus).parent;
            }
            let bridge = (*bus).self_;
            if bridge.is_null() {
                return None;
            }
            bindings::get_device(&raw mut (*bridge).dev);
            Self::from_owned(bridge)
        }
    }

    /// The secondary bus number, for a bridge whose bus was enumerated.
    pub fn secondary_bus(&self) -> Option<u8> {
        let bus = self.get().subordinate;
        if bus.is_null() {
            return None;
        }
        // SAFETY: the subordinate bus is valid while its bridge is.
        Some(unsafe { (*bus).number })
    }

    /// Is it a function of several? So says the header of the first; the kernel sets its flag in
    /// the others only after it has announced them, but they have a number.
    pub fn is_multifunction(&self) -> bool {
        let numbered = self.devfn() & 7 != 0 && !self.is_virtual_function();
        self.get().multifunction() != 0 || numbered
    }

    /// Is it an SR-IOV virtual function?
    pub fn is_virtual_function(&self) -> bool {
        self.get().is_virtfn() != 0
    }

    /// Did firmware mark the port above as external (untrusted)?
    pub fn is_untrusted(&self) -> bool {
        self.get().untrusted() != 0
    }

    /// Class code, 24 bits.
    pub fn class(&self) -> u32 {
        self.get().class
    }

    /// Vendor and device ID.
    pub fn ids(&self) -> (u16, u16) {
        (self.get().vendor, self.get().device)
    }

    /// The PCI Express type.
    pub fn pcie_type(&self) -> PcieType {
        let pdev = self.get();
        if pdev.pcie_cap == 0 {
            return PcieType::Conventional;
        }
        match (pdev.pcie_flags_reg >> 4) & 0xf {
            0 | 1 => PcieType::Endpoint,
            4 => PcieType::RootPort,
            5 => PcieType::Upstream,
            6 => PcieType::Downstream,
            7 => PcieType::PcieToPci,
            8 => PcieType::PciToPcie,
            9 => PcieType::Integrated,
            10 => PcieType::EventCollector,
            _ => PcieType::Reserved,
        }
    }

    /// ACS capability and control words, if the function has the capability. `wide`: its registers
    /// have 32 bits, against the specification.
    ///
    /// Source: PCI Express Base Specification 6.0, 7.7.8.
    pub fn acs(&self, wide: bool) -> Option<(u16, u16)> {
        let pdev = self.get();
        let at = pdev.acs_cap;
        if at == 0 {
            return None;
        }
        let (capability, control) = if wide {
            (self.read_config(at + 4)?, self.read_config(at + 8)?)
        } else {
            let both = self.read_config(at + 4)?;
            (pdev.acs_capabilities.into(), both >> 16)
        };
        // CAST (two): the words have 16 bits that matter.
        Some((capability as u16, control as u16))
    }

    /// Writes the ACS control word; `false` if the function has none or does not answer.
    pub fn set_acs(&self, control: u16) -> bool {
        let at = self.get().acs_cap;
        if at == 0 {
            return false;
        }
        // SAFETY: the function is alive; the offset lies in its configuration space.
        let rc = unsafe {
            bindings::pci_write_config_word(
                self.as_raw(),
                kernel::ffi::c_int::from(at) + 6,
                control,
            )
        };
        rc == 0
    }

    /// Has the kernel switched on what the chip set has instead of ACS?
    pub fn has_enabled_acs_quirk(&self) -> bool {
        // PCI_DEV_FLAGS_ACS_ENABLED_QUIRK
        self.get().dev_flags & (1 << 3) != 0
    }

    /// Reads a 32-bit word of configuration space.
    pub fn read_config(&self, offset: u16) -> Option<u32> {
        let mut value = 0u32;
        // SAFETY: the function is alive; the PCI core checks the offset.
        let rc =
            unsafe { bindings::pci_read_config_dword(self.as_raw(), offset.into(), &mut value) };
        (rc == 0).then_some(value)
    }

    /// Is `devfn` on the same bus one of this function's DMA aliases (quirks)?
    pub fn has_alias(&self, devfn: u8) -> bool {
        let mask = self.get().dma_alias_mask;
        if mask.is_null() {
            return false;
        }
        let bit = usize::from(devfn);
        // SAFETY: the mask has 256 bits once it exists.
        let word = unsafe { mask.add(bit / 64).read() };
        (word >> (bit % 64)) & 1 != 0
    }

    /// The memory window number `index` of the function's host bridge in bus addresses, both ends
    /// inclusive; [`None`] after the last.
    pub fn host_window(&self, index: u32) -> Option<(u64, u64)> {
        let (mut first, mut last) = (0, 0);
        // SAFETY: the function is alive, the places for the answer are valid.
        let found = unsafe {
            ffi::rust_helper_iommu_pci_window(self.as_raw(), index, &mut first, &mut last)
        };
        found.then_some((first, last))
    }

    /// How a bridge departs from the aliasing of its kind, by the PCI core's quirks.
    pub fn bridge_flags(&self) -> BridgeFlags {
        // `pci_dev_flags_t` of linux/pci.h.
        let flags = self.get().dev_flags;
        BridgeFlags {
            pcie_alias: flags & (1 << 5) != 0,
            translation_root: flags & (1 << 9) != 0,
            no_alias: flags & (1 << 14) != 0,
        }
    }

    /// Most significant bits of the function number that the function uses for phantom functions
    /// right now, 0 to 3.
    ///
    /// Source: PCI Express Base Specification 6.0, 7.5.3.3 (Phantom Functions Supported) and 7.5.3.4
    /// (Phantom Functions Enable).
    pub fn phantom_bits(&self) -> u8 {
        let at = u16::from(self.get().pcie_cap);
        if at == 0 {
            return 0;
        }
        let capability = self.read_config(at + 4).unwrap_or(0);
        let control = self.read_config(at + 8).unwrap_or(0);
        if control & (1 << 9) == 0 || control == u32::MAX {
            return 0;
        }
        // CAST: two bits.
        ((capability >> 3) & 3) as u8
    }

    /// The function whose requester ID all requests of this one carry, if it is not this one's.
    pub fn real_dma(&self) -> Option<Self> {
        // SAFETY: the function is alive; the answer is null or a new reference.
        unsafe { Self::from_owned(ffi::rust_helper_iommu_real_dma(self.as_raw())) }
    }

    /// The physical function of a virtual one; of others, itself.
    pub fn physical_function(&self) -> Self {
        // SAFETY: the function is alive; the answer is a new reference.
        unsafe { Self::from_owned(ffi::rust_helper_iommu_physical_function(self.as_raw())) }
            .unwrap_or_else(|| self.clone())
    }

    /// Is a driver bound right now? It may change at any time unless the device is locked.
    pub fn has_driver(&self) -> bool {
        // SAFETY: reads one pointer of a live device; the answer is only a snapshot.
        !unsafe { (&raw const (*self.as_raw()).dev.driver).read_volatile() }.is_null()
    }
}

impl Clone for PciDev {
    fn clone(&self) -> Self {
        // SAFETY: the object is alive by the type invariant.
        unsafe { bindings::get_device(&raw mut (*self.as_raw()).dev) };
        // INVARIANT: a new reference was taken.
        Self(self.0)
    }
}

impl Drop for PciDev {
    fn drop(&mut self) {
        // SAFETY: gives back the reference that the type invariant speaks of.
        unsafe { bindings::pci_dev_put(self.as_raw()) };
    }
}

/// Iterates over all PCI functions of the machine, parents before children.
pub struct AllPciDevs(Option<PciDev>, bool);

/// All PCI functions of the machine.
pub fn all() -> AllPciDevs {
    AllPciDevs(None, false)
}

impl Iterator for AllPciDevs {
    type Item = PciDev;

    fn next(&mut self) -> Option<PciDev> {
        if self.1 {
            return None;
        }
        let from = match self.0.take() {
            // The reference is given to `pci_get_device`, which puts it.
            Some(dev) => {
                let ptr = dev.as_raw();
                core::mem::forget(dev);
                ptr
            }
            None => core::ptr::null_mut(),
        };
        const ANY: u32 = u32::MAX; // PCI_ANY_ID
                                   // SAFETY: `from` is null or a reference we give away.
        let next = unsafe { PciDev::from_owned(bindings::pci_get_device(ANY, ANY, from)) };
        match next {
            Some(dev) => {
                self.0 = Some(dev.clone());
                Some(dev)
            }
            None => {
                self.1 = true;
                None
            }
        }
    }
}
