// SPDX-License-Identifier: GPL-2.0

//! Zeroed, physically contiguous memory that a unit reads or writes by itself.

use core::ptr::NonNull;

use kernel::{
    alloc::Flags,
    bindings,
    error::code::*,
    ffi::c_void,
    io::PhysAddr,
    prelude::*, //
};

pub(crate) mod ffi {
    use super::*;

    extern "C" {
        // Exported to modules, without a Rust binding.
        pub(crate) fn iommu_alloc_pages_node_sz(
            nid: kernel::ffi::c_int,
            gfp: bindings::gfp_t,
            size: usize,
        ) -> *mut c_void;
        pub(crate) fn iommu_free_pages(virt: *mut c_void);
        // rust/helpers/iommu.c
        pub(crate) fn rust_helper_iommu_virt_to_phys(virt: *const c_void) -> PhysAddr;
        pub(crate) fn rust_helper_iommu_phys_to_virt(phys: PhysAddr) -> *mut c_void;
        pub(crate) fn rust_helper_iommu_memory_encrypted() -> bool;
        pub(crate) fn rust_helper_iommu_last_ram() -> u64;
        pub(crate) fn rust_helper_iommu_flush(virt: *mut c_void, size: usize);
    }
}

/// The last address of memory that the kernel has by now.
pub fn last_ram() -> u64 {
    // SAFETY: an FFI call without requirements.
    unsafe { ffi::rust_helper_iommu_last_ram() }
}

/// Does the CPU encrypt memory, so that units would need the encryption bit in every address?
pub fn memory_is_encrypted() -> bool {
    // SAFETY: an FFI call without requirements.
    unsafe { ffi::rust_helper_iommu_memory_encrypted() }
}

/// Whether an allocation may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gfp {
    /// It may.
    Kernel,
    /// It may not.
    Atomic,
}

impl Gfp {
    /// What a C caller's flags allow.
    #[inline]
    pub(crate) fn from_raw(gfp: bindings::gfp_t) -> Self {
        if gfp & (1 << bindings::___GFP_DIRECT_RECLAIM_BIT) != 0 {
            Self::Kernel
        } else {
            Self::Atomic
        }
    }

    pub(crate) fn as_raw(self) -> bindings::gfp_t {
        match self {
            Self::Kernel => bindings::GFP_KERNEL,
            Self::Atomic => bindings::GFP_ATOMIC | bindings::__GFP_NOWARN,
        }
    }

    /// The same for the kernel crate's allocators.
    pub fn flags(self) -> Flags {
        match self {
            Self::Kernel => GFP_KERNEL,
            Self::Atomic => GFP_ATOMIC,
        }
    }
}

/// Memory shared with hardware, seen as an array of 64-bit words.
///
/// # Invariants
///
/// `virt` points at `words` 64-bit words of one physically contiguous block from
/// `iommu_alloc_pages_node_sz`, owned by this object. The words are only accessed with volatile,
/// aligned 64-bit accesses, as hardware may do the same at any time.
pub struct HwPages {
    virt: NonNull<u64>,
    words: usize,
}

// SAFETY: the memory is owned and only accessed with volatile word accesses, which may race with
// each other like the hardware's own.
unsafe impl Send for HwPages {}
// SAFETY: as above.
unsafe impl Sync for HwPages {}

impl HwPages {
    /// Allocates at least `size_bytes` bytes; the block is rounded up to a power of two of pages
    /// and aligned to its size. The pages count as the kernel's IOMMU memory.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(size_bytes: usize, gfp: Gfp) -> Result<Self> {
        // SAFETY: an FFI call without requirements; -1 is NUMA_NO_NODE.
        let ptr = unsafe { ffi::iommu_alloc_pages_node_sz(-1, gfp.as_raw(), size_bytes) };
        let virt = NonNull::new(ptr.cast::<u64>()).ok_or(ENOMEM)?;
        // INVARIANT: the block is at least `size_bytes` long, zeroed and ours.
        Ok(Self {
            virt,
            words: size_bytes / size_of::<u64>(),
        })
    }

    /// The physical address of the first byte.
    pub fn phys(&self) -> PhysAddr {
        // SAFETY: `virt` is an address of the kernel's linear map.
        unsafe { ffi::rust_helper_iommu_virt_to_phys(self.virt.as_ptr().cast()) }
    }

    /// Number of 64-bit words.
    pub fn words(&self) -> usize {
        self.words
    }

    /// Reads the word at `index`; zero beyond the end.
    #[inline]
    pub fn read(&self, index: usize) -> u64 {
        if index >= self.words {
            return 0;
        }
        // SAFETY: in bounds; volatile by the type invariant.
        unsafe { self.virt.as_ptr().add(index).read_volatile() }
    }

    /// Writes the word at `index`; a write beyond the end is dropped.
    #[inline]
    pub fn write(&self, index: usize, value: u64) {
        if index < self.words {
            // SAFETY: in bounds; volatile by the type invariant.
            unsafe { self.virt.as_ptr().add(index).write_volatile(value) }
        }
    }

    /// Writes two words at `index`, each with one store; beyond the end, nothing.
    #[inline]
    pub fn write_two(&self, index: usize, [first, second]: [u64; 2]) {
        if self.words.checked_sub(index).is_some_and(|left| left >= 2) {
            let at = self.virt.as_ptr().wrapping_add(index);
            // SAFETY: both in bounds; volatile by the type invariant.
            unsafe {
                at.write_volatile(first);
                at.wrapping_add(1).write_volatile(second);
            }
        }
    }

    /// Writes `count` words from `index` on back to memory, for units that read it past the
    /// processor's caches.
    pub fn flush(&self, index: usize, count: usize) {
        let index = index.min(self.words);
        let count = count.min(self.words - index);
        if count > 0 {
            // SAFETY: in bounds.
            unsafe {
                ffi::rust_helper_iommu_flush(
                    self.virt.as_ptr().add(index).cast(),
                    count * size_of::<u64>(),
                )
            };
        }
    }

    /// Writes two words with one 128-bit access where the CPU has one, so that hardware that
    /// reads 128 bits at a time never sees half of them. `index` must be even.
    ///
    /// Only one CPU may write the pair at a time.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub fn write_pair(&self, index: usize, low: u64, high: u64) {
        if index % 2 != 0 || index + 1 >= self.words {
            return;
        }
        let ptr = self.virt.as_ptr().wrapping_add(index);
        let mut old_low = self.read(index);
        let mut old_high = self.read(index + 1);
        loop {
            let done: u8;
            // SAFETY: `ptr` is 16-byte aligned (the block is page aligned, `index` even) and in
            // bounds; cmpxchg16b exists on every CPU with an IOMMU of the family that uses it.
            // rbx is reserved by the compiler, hence the exchange around the instruction; every
            // operand has a register of its own choice, as the compiler might choose rbx.
            unsafe {
                core::arch::asm!(
                    "xchg rsi, rbx",
                    "lock cmpxchg16b [rdi]",
                    "sete r8b",
                    "xchg rsi, rbx",
                    in("rdi") ptr,
                    inout("rsi") low => _,
                    out("r8b") done,
                    in("rcx") high,
                    inout("rax") old_low,
                    inout("rdx") old_high,
                    options(nostack),
                );
            }
            if done != 0 {
                return;
            }
        }
    }
}

impl Drop for HwPages {
    fn drop(&mut self) {
        // SAFETY: the block came from `iommu_alloc_pages_node_sz` and is freed once.
        unsafe { ffi::iommu_free_pages(self.virt.as_ptr().cast()) };
    }
}
