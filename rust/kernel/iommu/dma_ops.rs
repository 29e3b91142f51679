// SPDX-License-Identifier: GPL-2.0

//! The DMA API of a device served by its IOMMU driver.
//!
//! A driver implements [`DmaDriver`]; [`install`] puts the C function table on a device (see
//! `dma_table`).
//!
//! C header: [`include/linux/dma-map-ops.h`](srctree/include/linux/dma-map-ops.h)

use core::marker::PhantomData;

use kernel::{
    bindings,
    device::Device,
    ffi::c_uint,
    prelude::*, //
};

pub use super::dma_table::{
    available,
    install, //
};
use super::driver::Driver;

mod ffi {
    use super::*;

    extern "C" {
        // rust/helpers/iommu.c
        pub(super) fn rust_helper_iommu_sg_step(
            sg: *mut bindings::scatterlist,
            phys: *mut u64,
            len: *mut u32,
        ) -> *mut bindings::scatterlist;
        pub(super) fn rust_helper_iommu_sg_set_dma(
            sg: *mut bindings::scatterlist,
            addr: u64,
            len: c_uint,
        );
    }
}

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    /// The device reads memory.
    pub device_reads: bool,
    /// The device writes memory.
    pub device_writes: bool,
}

impl Direction {
    /// Both ways.
    pub const BOTH: Self = Self {
        device_reads: true,
        device_writes: true,
    };

    pub(super) fn from_raw(dir: bindings::dma_data_direction) -> Option<Self> {
        match dir {
            bindings::dma_data_direction::DMA_BIDIRECTIONAL => Some(Self::BOTH),
            bindings::dma_data_direction::DMA_TO_DEVICE => Some(Self {
                device_reads: true,
                device_writes: false,
            }),
            bindings::dma_data_direction::DMA_FROM_DEVICE => Some(Self {
                device_reads: false,
                device_writes: true,
            }),
            _ => None,
        }
    }
}

/// One call's worth of what a driver maps.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The device whose masks and limits count.
    pub dev: &'a Device,
    /// Which way data goes.
    pub dir: Direction,
    /// The coherent mask counts, not the streaming one.
    pub coherent: bool,
}

/// An IOMMU driver that serves the DMA API itself. All methods but those of [`Driver`] may run in
/// any context and must not sleep.
pub trait DmaDriver: Driver {
    /// Maps `len_bytes` bytes at `phys`; returns the DMA address of the first byte.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if addresses or tables ran out, `EINVAL` for an impossible request.
    fn dma_map(
        &self,
        req: Request<'_>,
        data: &Self::Device,
        domain: &Self::Domain,
        phys: u64,
        len_bytes: usize,
    ) -> Result<u64>;

    /// Unmaps what [`DmaDriver::dma_map`] returned for `len_bytes`, or all that was mapped at once at
    /// `addr`.
    fn dma_unmap(
        &self,
        data: &Self::Device,
        domain: &Self::Domain,
        addr: u64,
        len_bytes: Option<usize>,
    );

    /// Maps all entries of a list into one range of addresses and stores its segments. Returns their
    /// number.
    ///
    /// # Errors
    ///
    /// As [`DmaDriver::dma_map`]; nothing stays mapped.
    fn dma_map_list(
        &self,
        req: Request<'_>,
        data: &Self::Device,
        domain: &Self::Domain,
        list: &SgList<'_>,
    ) -> Result<usize>;

    /// Maps whole pages at the given physical addresses in one row; returns the DMA address of
    /// the first.
    ///
    /// # Errors
    ///
    /// As [`DmaDriver::dma_map`]; nothing stays mapped.
    fn dma_map_pages(
        &self,
        req: Request<'_>,
        data: &Self::Device,
        domain: &Self::Domain,
        pages: &[u64],
    ) -> Result<u64>;

    /// Can the device be served with addresses up to `mask`?
    fn dma_supported(&self, mask: u64) -> bool;

    /// The largest single mapping, in bytes.
    fn dma_max_mapping(&self) -> usize;

    /// The last address that memory has, or can have once more is plugged in.
    fn last_address(&self) -> u64;

    /// Moves a passed-through device to a domain of its own (see `own_domain`), if it is not there.
    ///
    /// # Errors
    ///
    /// What the unit answers; the device is passed through as before then.
    fn translate(&self, dev: &Device, data: &Self::Device, own: &Self::Domain) -> Result;

    /// Passes a device through again, if it is still in its own domain.
    fn pass_through(&self, data: &Self::Device, own: &Self::Domain);
}

/// A scatter list.
pub struct SgList<'a> {
    first: *mut bindings::scatterlist,
    entries: usize,
    _list: PhantomData<&'a mut ()>,
}

impl<'a> SgList<'a> {
    /// # Safety
    ///
    /// `first` must start a list of at least `entries` entries, used by nobody else during `'a`.
    pub(super) unsafe fn new(first: *mut bindings::scatterlist, entries: usize) -> Self {
        Self {
            first,
            entries,
            _list: PhantomData,
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Is the list empty?
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The entries in order: the physical address of the first byte, and the length in bytes.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        let mut sg = self.first;
        let mut left = self.entries;
        core::iter::from_fn(move || {
            if left == 0 || sg.is_null() {
                return None;
            }
            let (mut phys, mut len) = (0, 0);
            // SAFETY: `sg` is an entry of the list; the next is null after the last.
            sg = unsafe { ffi::rust_helper_iommu_sg_step(sg, &raw mut phys, &raw mut len) };
            left -= 1;
            Some((phys, len))
        })
    }

    /// Where the device sees the list: the segments are to be stored in order.
    #[inline]
    pub fn segments(&self) -> Segments<'_> {
        Segments {
            sg: self.first,
            left: self.entries,
            stored: 0,
            _list: PhantomData,
        }
    }

    /// The DMA address of a list that is mapped.
    #[inline]
    pub(super) fn mapped_at(&self) -> Option<u64> {
        // SAFETY: the first entry of a list that has one.
        (self.entries > 0).then(|| unsafe { bindings::sg_dma_address(self.first) })
    }
}

/// Stores DMA addresses and lengths into the entries of a list, first to last. A segment may stand
/// for several entries, so there may be fewer.
pub struct Segments<'a> {
    sg: *mut bindings::scatterlist,
    left: usize,
    stored: usize,
    _list: PhantomData<&'a ()>,
}

impl Segments<'_> {
    /// Stores the next segment.
    #[inline]
    pub fn push(&mut self, addr: u64, len_bytes: u32) {
        if self.left == 0 || self.sg.is_null() {
            return;
        }
        let (mut phys, mut len) = (0, 0);
        // SAFETY: a live entry that the DMA API call owns.
        unsafe {
            ffi::rust_helper_iommu_sg_set_dma(self.sg, addr, len_bytes);
            self.sg = ffi::rust_helper_iommu_sg_step(self.sg, &raw mut phys, &raw mut len);
        }
        self.left -= 1;
        self.stored += 1;
    }

    /// Ends the list: the other entries get no segment. Returns the number of segments.
    #[inline]
    pub fn finish(mut self) -> usize {
        let stored = self.stored;
        while self.left > 0 && !self.sg.is_null() {
            self.push(0, 0);
        }
        stored
    }
}
