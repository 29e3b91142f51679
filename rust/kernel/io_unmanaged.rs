// SPDX-License-Identifier: GPL-2.0

//! MMIO regions of units that no `struct device` stands for.
//!
//! C header: [`include/asm-generic/io.h`](srctree/include/asm-generic/io.h)

use core::ffi::CStr;

use kernel::{
    bindings,
    error::code::*,
    io::{
        MmioRaw,
        PhysAddr,
        Region, //
    },
    prelude::*, //
};

/// A claimed and mapped MMIO region of at least `SIZE` bytes.
///
/// # Invariants
///
/// `raw` is an `ioremap` mapping of `SIZE` bytes at `phys`, and the region is requested from
/// `iomem_resource`, both until drop.
pub struct IoUnmanaged<const SIZE: usize> {
    phys: PhysAddr,
    raw: MmioRaw<Region<SIZE>>,
}

impl<const SIZE: usize> IoUnmanaged<SIZE> {
    /// Claims and maps `SIZE` bytes at `phys`.
    ///
    /// # Errors
    ///
    /// - `EBUSY`: someone else, usually a C driver, has claimed the region.
    /// - `ENOMEM`: the mapping failed.
    pub fn new(phys: PhysAddr, name: &'static CStr) -> Result<Self> {
        // CAST: SIZE is a small compile-time constant.
        let len = SIZE as bindings::resource_size_t;
        // SAFETY: `name` is static and NUL-terminated.
        let region = unsafe { bindings::request_mem_region(phys, len, name.as_char_ptr()) };
        if region.is_null() {
            return Err(EBUSY);
        }
        // SAFETY: the region was just claimed by us.
        let virt = unsafe { bindings::ioremap(phys, SIZE) };
        let mapped = if virt.is_null() {
            Err(ENOMEM)
        } else {
            MmioRaw::new_region(virt.addr(), SIZE)
        };
        match mapped {
            // INVARIANT: both steps succeeded.
            Ok(raw) => Ok(Self { phys, raw }),
            Err(e) => {
                // SAFETY: undoes the request above.
                unsafe { bindings::release_mem_region(phys, len) };
                Err(e)
            }
        }
    }

    /// Where the region is.
    pub fn phys(&self) -> PhysAddr {
        self.phys
    }

    /// A view of the registers.
    #[inline]
    pub fn io(&self) -> Registers<'_, SIZE> {
        Registers(self)
    }
}

/// Access to a region. `kernel::io::Region` promises an alignment of four bytes only and so
/// refuses 64-bit registers; a mapping made here starts on a page.
#[derive(Clone, Copy)]
pub struct Registers<'a, const SIZE: usize>(&'a IoUnmanaged<SIZE>);

impl<const SIZE: usize> Registers<'_, SIZE> {
    /// The register of `len` bytes at `offset`, if it lies in the region and is aligned.
    #[inline]
    fn at(self, offset: usize, len: usize) -> Option<*mut kernel::ffi::c_void> {
        let fits = offset % len == 0 && offset <= SIZE.saturating_sub(len);
        fits.then(|| core::ptr::without_provenance_mut(self.0.raw.addr().wrapping_add(offset)))
    }

    /// Reads a register; all ones, as from a device that does not answer, beyond the region.
    #[inline]
    pub fn read64(self, offset: usize) -> u64 {
        match self.at(offset, 8) {
            // SAFETY: inside a live mapping, aligned.
            Some(reg) => unsafe { bindings::readq(reg) },
            None => u64::MAX,
        }
    }

    /// Writes a register after all earlier memory writes; nothing beyond the region.
    #[inline]
    pub fn write64(self, value: u64, offset: usize) {
        if let Some(reg) = self.at(offset, 8) {
            // SAFETY: inside a live mapping, aligned.
            unsafe { bindings::writeq(value, reg) };
        }
    }

    /// Reads a 32-bit register; all ones beyond the region.
    #[inline]
    pub fn read32(self, offset: usize) -> u32 {
        match self.at(offset, 4) {
            // SAFETY: inside a live mapping, aligned.
            Some(reg) => unsafe { bindings::readl(reg) },
            None => u32::MAX,
        }
    }

    /// Writes a 32-bit register after all earlier memory writes; nothing beyond the region.
    #[inline]
    pub fn write32(self, value: u32, offset: usize) {
        if let Some(reg) = self.at(offset, 4) {
            // SAFETY: inside a live mapping, aligned.
            unsafe { bindings::writel(value, reg) };
        }
    }
}

impl<const SIZE: usize> Drop for IoUnmanaged<SIZE> {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and dropped once.
        unsafe { bindings::iounmap(core::ptr::without_provenance_mut(self.raw.addr())) };
        // CAST: as in `new`.
        let len = SIZE as bindings::resource_size_t;
        // SAFETY: the region was claimed by `new`.
        unsafe { bindings::release_mem_region(self.phys, len) };
    }
}
