// SPDX-License-Identifier: GPL-2.0

//! The DMA API of a device served by its IOMMU driver.
//!
//! A driver implements [`DmaDriver`]; [`install`] puts the C function table on a device (see
//! `dma_table`).
//!
//! C header: [`include/linux/dma-map-ops.h`](srctree/include/linux/dma-map-ops.h)

use kernel::{
    bindings,
    device::Device,
    prelude::*, //
};

use super::driver::Driver;
pub use super::{
    dma_table::{
        available,
        install,
        Server, //
    },
    domain_timer::DomainTimer,
    sg_list::{
        PageArray,
        Segments,
        SgEntry,
        SgList, //
    }, //
};

/// Which way data goes. One byte, so that a [`Request`] is passed in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction(u8);

impl Direction {
    const READS: u8 = 1;
    const WRITES: u8 = 2;
    const COHERENT: u8 = 4;

    /// Both ways.
    pub const BOTH: Self = Self(Self::READS | Self::WRITES);

    /// Both ways, and the coherent mask counts, not the streaming one.
    pub const COHERENT_BOTH: Self = Self(Self::BOTH.0 | Self::COHERENT);

    /// The device reads memory.
    #[inline]
    pub const fn device_reads(self) -> bool {
        self.0 & Self::READS != 0
    }

    /// The device writes memory.
    #[inline]
    pub const fn device_writes(self) -> bool {
        self.0 & Self::WRITES != 0
    }

    #[inline]
    pub(super) fn from_raw(dir: bindings::dma_data_direction) -> Option<Self> {
        match dir {
            bindings::dma_data_direction::DMA_BIDIRECTIONAL => Some(Self::BOTH),
            bindings::dma_data_direction::DMA_TO_DEVICE => Some(Self(Self::READS)),
            bindings::dma_data_direction::DMA_FROM_DEVICE => Some(Self(Self::WRITES)),
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
}

impl Request<'_> {
    /// Does the coherent mask count, not the streaming one?
    #[inline]
    pub const fn is_coherent(&self) -> bool {
        self.dir.0 & Direction::COHERENT != 0
    }
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
    /// `addr`. If it may be `lazy`, the device may reach the memory for a moment more.
    fn dma_unmap(
        &self,
        data: &Self::Device,
        domain: &Self::Domain,
        addr: u64,
        len_bytes: Option<usize>,
        lazy: bool,
    );

    /// The timer that [`DomainTimer::start`] started has run out: does what was put off. In softirq context.
    fn dma_expired(&self, domain: &Self::Domain);

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
