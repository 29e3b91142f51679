// SPDX-License-Identifier: GPL-2.0

//! Where the core crate's traits meet the kernel's types. The only file of the driver, beside the
//! module entry, with `unsafe`.

use iommu_core::{
    addr::Oa,
    iova,
    pt::TableMem, //
};
use kernel::prelude::*;
use kernel_iommu::{
    hw_pages::Gfp,
    iommu::table::TablePage, //
};

/// Table pages of the kernel.
#[derive(Clone, Copy)]
pub(crate) struct Tables {
    /// Whether an allocation may sleep.
    pub(crate) gfp: Gfp,
    /// A unit reads them past the processor's caches.
    pub(crate) flush: bool,
}

impl TableMem for Tables {
    type Table = TablePage;

    #[inline]
    fn alloc(&self) -> Option<TablePage> {
        TablePage::alloc(self.gfp)
    }

    #[inline]
    fn free(&self, table: TablePage) {
        // SAFETY: the core crate frees a table either before anyone else has seen it, or with the
        // whole tree of a domain that no device entry refers to and whose translations have been
        // invalidated (`Iommu::leave` does that before a device is counted off).
        unsafe { table.free() }
    }

    #[inline]
    fn oa(&self, table: TablePage) -> Oa {
        Oa(table.phys())
    }

    #[inline]
    fn table_at(&self, oa: Oa) -> TablePage {
        // SAFETY: the core crate calls this only with what a format decoded as a table, and a
        // word decodes so only if `Format::table` made it from `oa()` of a live table: `leaf`
        // never yields the NextLevel of a table (tested in iommu_core::pt::amd_v1), and tables
        // live as long as their tree.
        unsafe { TablePage::from_phys(oa.0) }
    }

    #[inline]
    fn load(&self, table: TablePage, index: usize) -> u64 {
        table.load(index)
    }

    #[inline]
    fn store(&self, table: TablePage, index: usize, word: u64) {
        table.store(index, word);
    }

    #[inline]
    fn cmpxchg(&self, table: TablePage, index: usize, old: u64, new: u64) -> Result<(), u64> {
        table.cmpxchg(index, old, new)
    }

    #[inline]
    fn written(&self, table: TablePage, first: usize, count: usize) {
        if self.flush {
            table.flush(first, count);
        }
    }
}

/// Prints a value of the core crate with the kernel's formatting macros, which have a trait of
/// their own.
pub(crate) struct Show<T>(pub(crate) T);

impl<T: core::fmt::Display> kernel::fmt::Display for Show<T> {
    fn fmt(&self, f: &mut kernel::fmt::Formatter<'_>) -> kernel::fmt::Result {
        core::fmt::Display::fmt(&self.0, f)
    }
}

/// The bitmap of an IOVA window.
pub(crate) struct Window(KBox<iova::Bits>);

impl Window {
    /// Allocates an empty bitmap.
    pub(crate) fn new(gfp: Gfp) -> Result<Self> {
        Ok(Self(KBox::new([0; iova::WORDS], gfp.flags())?))
    }
}

impl AsRef<iova::Bits> for Window {
    fn as_ref(&self) -> &iova::Bits {
        &self.0
    }
}

impl AsMut<iova::Bits> for Window {
    fn as_mut(&mut self) -> &mut iova::Bits {
        &mut self.0
    }
}

/// The table of windows.
pub(crate) struct Slots(KVVec<iova::Slot<Window>>);

impl Slots {
    /// A table of `count` windows without bitmaps.
    pub(crate) fn new(count: usize) -> Result<Self> {
        let mut slots = KVVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            slots.push(iova::Slot::EMPTY, GFP_KERNEL)?;
        }
        Ok(Self(slots))
    }
}

impl AsRef<[iova::Slot<Window>]> for Slots {
    fn as_ref(&self) -> &[iova::Slot<Window>] {
        &self.0
    }
}

impl AsMut<[iova::Slot<Window>]> for Slots {
    fn as_mut(&mut self) -> &mut [iova::Slot<Window>] {
        &mut self.0
    }
}
