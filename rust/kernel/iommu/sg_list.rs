// SPDX-License-Identifier: GPL-2.0

//! Scatter lists as the DMA API passes them.
//!
//! Their entries are read here field by field, as the C header's inline functions do: a call for each
//! would cost more than all that is done with an entry.
//!
//! C header: [`include/linux/scatterlist.h`](srctree/include/linux/scatterlist.h)

use core::marker::PhantomData;

use kernel::{
    bindings,
    ffi::c_ulong,
    page::PAGE_SIZE, //
};

mod ffi {
    #![expect(improper_ctypes)]
    use super::*;

    extern "C" {
        // rust/helpers/iommu.c
        pub(super) fn rust_helper_iommu_page_to_phys(page: *mut bindings::page) -> u64;
        pub(super) fn rust_helper_iommu_first_page() -> usize;
    }
}

/// The entry is a pointer to more entries.
const CHAIN: c_ulong = 1; // SG_CHAIN
/// The entry is the last one.
const END: c_ulong = 2; // SG_END

/// A scatter list.
pub struct SgList<'a> {
    first: *mut bindings::scatterlist,
    entries: usize,
    _list: PhantomData<&'a mut ()>,
}

/// One entry.
#[derive(Clone, Copy)]
pub struct SgEntry<'a> {
    sg: *mut bindings::scatterlist,
    _list: PhantomData<&'a ()>,
}

impl SgEntry<'_> {
    /// Where the first byte is in its page.
    #[inline]
    pub fn offset(self) -> u64 {
        // SAFETY: a live entry.
        // CAST: a page's size.
        unsafe { u64::from((*self.sg).offset) & (PAGE_SIZE as u64 - 1) }
    }

    /// Length in bytes.
    #[inline]
    pub fn len_bytes(self) -> u32 {
        // SAFETY: a live entry.
        unsafe { (*self.sg).length }
    }

    /// Address and bytes of the segment that is stored here.
    fn mapped(self) -> (u64, u32) {
        // SAFETY: a live entry.
        unsafe {
            #[cfg(CONFIG_NEED_SG_DMA_LENGTH)]
            return ((*self.sg).dma_address, (*self.sg).dma_length);
            #[cfg(not(CONFIG_NEED_SG_DMA_LENGTH))]
            return ((*self.sg).dma_address, (*self.sg).length);
        }
    }

    /// Physical address of the first byte's page.
    #[inline]
    pub fn page_phys(self, pages: &PageArray) -> u64 {
        // SAFETY: a live entry.
        let (link, offset) = unsafe { ((*self.sg).page_link, (*self.sg).offset) };
        // CAST: a page's size.
        pages.phys(link & !(CHAIN | END)) + (u64::from(offset) & !(PAGE_SIZE as u64 - 1))
    }
}

/// Where the kernel's page descriptors are, to tell a page's address without a call.
pub struct PageArray(usize);

impl PageArray {
    /// The kernel's.
    #[inline]
    pub fn new() -> Self {
        // SAFETY: an FFI call without requirements.
        Self(unsafe { ffi::rust_helper_iommu_first_page() })
    }

    #[inline]
    fn phys(&self, page: usize) -> u64 {
        if cfg!(not(CONFIG_SPARSEMEM_VMEMMAP)) {
            // SAFETY: the descriptor of a page of a live list.
            return unsafe {
                ffi::rust_helper_iommu_page_to_phys(core::ptr::with_exposed_provenance_mut(page))
            };
        }
        // CAST: usize is not wider than u64.
        let number = (page.wrapping_sub(self.0) / size_of::<bindings::page>()) as u64;
        number * PAGE_SIZE as u64
    }
}

impl Default for PageArray {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> SgList<'a> {
    /// # Safety
    ///
    /// `first` must start a list of at least `entries` entries, used by nobody else during `'a`.
    #[inline]
    pub(super) unsafe fn new(first: *mut bindings::scatterlist, entries: usize) -> Self {
        Self {
            first,
            entries,
            _list: PhantomData,
        }
    }

    /// Number of entries.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Is the list empty?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The entries in order.
    #[inline]
    pub fn iter(&self) -> Entries<'_> {
        Entries {
            sg: self.first,
            left: self.entries,
            _list: PhantomData,
        }
    }

    /// Where the device sees the list: the segments are to be stored in order.
    #[inline]
    pub fn segments(&self) -> Segments<'_> {
        Segments {
            entries: self.iter(),
            stored: 0,
        }
    }

    /// Adds an address to those of the first segments.
    #[inline]
    pub fn move_segments(&self, count: usize, addr: u64) {
        for entry in self.iter().take(count) {
            // SAFETY: a live entry that the DMA API call owns.
            unsafe { (*entry.sg).dma_address += addr };
        }
    }

    /// Calls `f` for each entry of a list that is mapped: its DMA address, its physical address, its bytes.
    pub(super) fn for_each_mapped(&self, mut f: impl FnMut(u64, u64, u32)) {
        let pages = PageArray::new();
        let mut segments = self.iter();
        let (mut iova, mut left) = (0, 0);
        for e in self.iter() {
            if left == 0 {
                let Some(segment) = segments.next() else {
                    return;
                };
                (iova, left) = segment.mapped();
            }
            let len = e.len_bytes();
            f(iova, e.page_phys(&pages) + e.offset(), len);
            iova += u64::from(len);
            left = left.saturating_sub(len);
        }
    }

    /// Where a list that is mapped begins and ends; [`None`] for an empty one.
    pub(super) fn mapped_range(&self) -> Option<(u64, u64)> {
        let start = self.mapped_at()?;
        let segments = self.iter().map(SgEntry::mapped);
        let last = segments.take_while(|(_, len)| *len != 0).last()?;
        Some((start, last.0 + u64::from(last.1)))
    }

    /// The DMA address of a list that is mapped.
    #[inline]
    pub(super) fn mapped_at(&self) -> Option<u64> {
        // SAFETY: the first entry of a list that has one.
        (self.entries > 0).then(|| unsafe { (*self.first).dma_address })
    }
}

/// The entries of a list.
pub struct Entries<'a> {
    sg: *mut bindings::scatterlist,
    left: usize,
    _list: PhantomData<&'a ()>,
}

impl<'a> Iterator for Entries<'a> {
    type Item = SgEntry<'a>;

    #[inline]
    fn next(&mut self) -> Option<SgEntry<'a>> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let mut sg = self.sg;
        // SAFETY: `sg` is in a list that has at least one more entry; if it is a link to others, the
        // pointer in it leads to an entry.
        unsafe {
            let link = (*sg).page_link;
            if link & CHAIN != 0 {
                sg = core::ptr::with_exposed_provenance_mut(link & !(CHAIN | END));
            }
        }
        self.sg = sg.wrapping_add(1);
        Some(SgEntry {
            sg,
            _list: PhantomData,
        })
    }
}

/// Stores DMA addresses and lengths into the entries of a list, first to last. A segment may stand
/// for several entries, so there may be fewer.
pub struct Segments<'a> {
    entries: Entries<'a>,
    stored: usize,
}

impl Segments<'_> {
    /// Stores the next segment.
    #[inline]
    pub fn push(&mut self, addr: u64, len_bytes: u32) {
        if let Some(entry) = self.entries.next() {
            // SAFETY: a live entry that the DMA API call owns.
            unsafe {
                (*entry.sg).dma_address = addr;
                #[cfg(CONFIG_NEED_SG_DMA_LENGTH)]
                {
                    (*entry.sg).dma_length = len_bytes;
                }
                #[cfg(not(CONFIG_NEED_SG_DMA_LENGTH))]
                {
                    (*entry.sg).length = len_bytes;
                }
            }
            self.stored += 1;
        }
    }

    /// Ends the list. Returns the number of segments.
    #[inline]
    pub fn finish(mut self) -> usize {
        let stored = self.stored;
        // As the core's own code does: what comes after the last segment is none.
        if self.entries.left > 0 {
            self.push(0, 0);
        }
        stored
    }
}
