// SPDX-License-Identifier: GPL-2.0

//! What the DMA API asks of the driver.

use kernel::{
    device,
    prelude::*,
    sync::Arc, //
};
use kernel_iommu::{
    hw_pages::last_ram,
    iommu::{
        device::dma_limit,
        dma_ops::{
            DmaDriver,
            Request,
            SgList, //
        }, //
    }, //
};

use crate::{
    device::Device,
    dma,
    dma_list::map_list,
    family::Family,
    glue::{
        this_cpu,
        Show, //
    },
    iommu::{
        Domain,
        Iommu, //
    },
    lazy::settle_all, //
};

impl<F: Family> DmaDriver for Iommu<F> {
    #[inline(always)]
    fn dma_map(
        &self,
        req: Request<'_>,
        data: &Arc<Device>,
        domain: &Domain<F>,
        phys: u64,
        len: usize,
    ) -> Result<u64> {
        let cpu = this_cpu();
        if let Some(addr) = dma::map_at_hand(self, domain, &req, cpu, phys, len) {
            data.calls.count_map();
            return Ok(addr);
        }
        let addr = dma::map(self, domain, req, phys, len)?;
        data.calls.count_map();
        Ok(addr)
    }

    #[inline(always)]
    fn dma_unmap(
        &self,
        data: &Arc<Device>,
        domain: &Domain<F>,
        addr: u64,
        len: Option<usize>,
        lazy: bool,
    ) {
        if dma::unmap(self, domain, addr, len, lazy) {
            data.calls.count_unmap();
        }
    }

    fn dma_expired(&self, domain: &Domain<F>) {
        settle_all(self, domain);
        domain.refill();
    }

    fn dma_map_list(
        &self,
        req: Request<'_>,
        data: &Arc<Device>,
        domain: &Domain<F>,
        list: &SgList<'_>,
    ) -> Result<usize> {
        let segments = map_list(self, domain, req, list)?;
        data.calls.count_map();
        Ok(segments)
    }

    fn dma_map_pages(
        &self,
        req: Request<'_>,
        data: &Arc<Device>,
        domain: &Domain<F>,
        pages: &[u64],
    ) -> Result<u64> {
        let addr = dma::map_pages(self, domain, req, pages)?;
        data.calls.count_map();
        Ok(addr)
    }

    fn dma_supported(&self, mask: u64) -> bool {
        // Room for a handful of mappings of each size.
        mask >= (1 << 24) - 1
    }

    fn dma_max_mapping(&self) -> usize {
        dma::MAX_MAPPING
    }

    fn last_address(&self) -> u64 {
        last_ram().max(self.last_pluggable)
    }

    fn translate(&self, dev: &device::Device, data: &Arc<Device>, own: &Domain<F>) -> Result {
        if self.to_own(data, own)? {
            pr_info!(
                "{}: its group is passed through, but its driver's DMA masks (streaming {:#x}, coherent {:#x}) do not \
                 reach all memory (up to {:#x}), or it has set none: translated; short_masks=bounce would not\n",
                Show(data.id),
                dma_limit(dev, false),
                dma_limit(dev, true),
                self.last_address()
            );
        }
        Ok(())
    }

    fn pass_through(&self, data: &Arc<Device>, own: &Domain<F>) {
        self.back_from_own(data, own);
    }
}
