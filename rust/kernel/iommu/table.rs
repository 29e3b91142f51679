// SPDX-License-Identifier: GPL-2.0

//! Page-table pages: allocation, and access to their items by physical address.

use core::ptr::NonNull;

use kernel::{
    bindings,
    io::PhysAddr,
    sync::atomic::{
        Atomic,
        Full, //
    }, //
};

use super::super::hw_pages::{
    ffi,
    Gfp, //
};

/// Items of a table page.
pub const ITEMS: usize = 512;

/// A table page, named by its address in the linear map.
///
/// # Invariants
///
/// The address is that of a page from [`TablePage::alloc`] that has not been freed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TablePage(NonNull<u64>);

// SAFETY: a name can be used anywhere; the page is only accessed with volatile or atomic words.
unsafe impl Send for TablePage {}
// SAFETY: as above.
unsafe impl Sync for TablePage {}

impl TablePage {
    /// Allocates a zeroed page. It counts as the kernel's IOMMU memory.
    pub fn alloc(gfp: Gfp) -> Option<Self> {
        // SAFETY: an FFI call without requirements; -1 is NUMA_NO_NODE.
        let virt = unsafe { ffi::iommu_alloc_pages_node_sz(-1, gfp.as_raw(), bindings::PAGE_SIZE) };
        // INVARIANT: just allocated.
        NonNull::new(virt.cast()).map(Self)
    }

    /// Names a page that a live table refers to.
    ///
    /// # Safety
    ///
    /// `phys` must be the address of a page from [`TablePage::alloc`] that is not freed while the
    /// result is in use.
    #[inline]
    pub unsafe fn from_phys(phys: PhysAddr) -> Self {
        // SAFETY: the page is in the linear map by contract, so the address is not null.
        // INVARIANT: the caller's promise.
        Self(unsafe { NonNull::new_unchecked(ffi::rust_helper_iommu_phys_to_virt(phys).cast()) })
    }

    /// The address in the linear map.
    #[inline]
    pub fn addr(self) -> usize {
        self.0.as_ptr().expose_provenance()
    }

    /// Names a page by what [`TablePage::addr`] gave.
    ///
    /// # Safety
    ///
    /// As for [`TablePage::from_phys`]; not zero.
    #[inline]
    pub unsafe fn from_addr(addr: usize) -> Self {
        // SAFETY: not zero by contract.
        // INVARIANT: the caller's promise.
        Self(unsafe { NonNull::new_unchecked(core::ptr::with_exposed_provenance_mut(addr)) })
    }

    /// The physical address.
    #[inline]
    pub fn phys(self) -> PhysAddr {
        // SAFETY: the page is in the linear map by the type invariant.
        unsafe { ffi::rust_helper_iommu_virt_to_phys(self.0.as_ptr().cast()) }
    }

    #[inline]
    fn item(self, index: usize) -> *mut u64 {
        self.0.as_ptr().wrapping_add(index & (ITEMS - 1))
    }

    /// Reads an item; the index is taken modulo the table's size.
    #[inline]
    pub fn load(self, index: usize) -> u64 {
        // SAFETY: in the page by construction; volatile because hardware and other CPUs share it.
        unsafe { self.item(index).read_volatile() }
    }

    /// Writes an item.
    #[inline]
    pub fn store(self, index: usize, word: u64) {
        // SAFETY: as in `load`.
        unsafe { self.item(index).write_volatile(word) }
    }

    /// Writes zero to `count` items from `first` on, each with one store; nothing beyond the page.
    #[inline(always)]
    pub fn zero(self, first: usize, count: usize) {
        let first = first.min(ITEMS);
        let end = first + count.min(ITEMS - first);
        let mut next = first;
        let mut clear = |items: usize| {
            for _ in 0..items {
                // SAFETY: before `end`, so in the page; volatile as in `load`.
                unsafe { self.0.as_ptr().add(next).write_volatile(0) };
                next += 1;
            }
        };
        // Stores in rows whose length the compiler knows: a test for each would cost twice as much.
        let count = end - first;
        for _ in 0..count / 8 {
            clear(8);
        }
        if count % 8 == 0 {
            return;
        }
        for row in [4, 2, 1] {
            if count & row != 0 {
                clear(row);
            }
        }
    }

    /// Replaces an item that still is `old`; otherwise returns what is there. Full ordering.
    #[inline]
    pub fn cmpxchg(self, index: usize, old: u64, new: u64) -> Result<(), u64> {
        // SAFETY: aligned, in the page, and only accessed atomically or with volatile word
        // accesses, which are atomic on every architecture the driver builds for.
        let item = unsafe { Atomic::<u64>::from_ptr(self.item(index)) };
        item.cmpxchg(old, new, Full).map(|_| ())
    }

    /// Writes an item and returns what was there. Full ordering.
    #[inline]
    pub fn swap(self, index: usize, word: u64) -> u64 {
        // SAFETY: as in `cmpxchg`.
        let item = unsafe { Atomic::<u64>::from_ptr(self.item(index)) };
        item.xchg(word, Full)
    }

    /// Writes `count` items from `first` on back to memory, for units that read it past the
    /// processor's caches.
    #[inline]
    pub fn flush(self, first: usize, count: usize) {
        let first = first.min(ITEMS);
        let count = count.min(ITEMS - first);
        if count > 0 {
            // SAFETY: in the page by the bounds above.
            unsafe {
                ffi::rust_helper_iommu_flush(self.item(first).cast(), count * size_of::<u64>())
            };
        }
    }

    /// Frees the page.
    ///
    /// # Safety
    ///
    /// No table, no unit's cache and no other name of the page may be used afterwards.
    pub unsafe fn free(self) {
        // SAFETY: the page came from the matching allocator and is freed once, by contract.
        unsafe { ffi::iommu_free_pages(self.0.as_ptr().cast()) };
    }
}
