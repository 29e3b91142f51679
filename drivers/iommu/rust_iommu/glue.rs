// SPDX-License-Identifier: GPL-2.0

//! Where the core crate's traits meet the kernel's types. The only file of the driver, beside the
//! module entry, with `unsafe`.

use iommu_core::{
    addr::Oa,
    pt::TableMem,
    slab::{
        self,
        CpuSlots, //
    }, //
};
use kernel::{
    cpu::{
        self,
        CpuId, //
    },
    prelude::*, //
};
use kernel_iommu::{
    hw_pages::Gfp,
    iommu::table::TablePage,
    once_box::OnceBox,
    shared_word::SharedWord, //
};

use crate::reserve::Reserve;

/// Table pages of the kernel.
#[derive(Clone, Copy)]
pub(crate) struct Tables<'a> {
    /// Whether an allocation may sleep.
    pub(crate) gfp: Gfp,
    /// A unit reads them past the processor's caches.
    pub(crate) flush: bool,
    /// Where to take one from without an allocation.
    pub(crate) reserve: Option<&'a Reserve>,
}

impl TableMem for Tables<'_> {
    type Table = TablePage;

    #[inline]
    fn alloc(&self) -> Option<TablePage> {
        let kept = self.reserve.and_then(Reserve::take);
        match kept {
            Some(name) => Some(self.named(name)),
            None => TablePage::alloc(self.gfp),
        }
    }

    #[inline]
    fn free(&self, table: TablePage) {
        // SAFETY: the core crate frees a table before anyone else has seen it; the driver frees one that
        // was taken out of its tree and that every unit has been told to forget; or it goes with the
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
    fn name(&self, table: TablePage) -> u64 {
        // CAST: usize is not wider than u64.
        table.addr() as u64
    }

    #[inline]
    fn named(&self, name: u64) -> TablePage {
        // SAFETY: the core crate passes what `name` gave for a table of a tree that is alive; it keeps
        // such a word with a chunk of addresses, and takes it from there before the table is freed.
        // CAST: it was a usize.
        unsafe { TablePage::from_addr(name as usize) }
    }

    #[inline]
    fn load(&self, table: TablePage, index: usize) -> u64 {
        table.load(index)
    }

    #[inline]
    fn store(&self, table: TablePage, index: usize, word: u64) {
        table.store(index, word);
    }

    #[inline(always)]
    fn zero(&self, table: TablePage, first: usize, count: usize) {
        table.zero(first, count);
    }

    #[inline]
    fn cmpxchg(&self, table: TablePage, index: usize, old: u64, new: u64) -> Result<(), u64> {
        table.cmpxchg(index, old, new)
    }

    #[inline]
    fn swap(&self, table: TablePage, index: usize, word: u64) -> u64 {
        table.swap(index, word)
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

/// The allocator's building blocks.
pub(crate) struct Kernel;

/// A word that CPUs share.
pub(crate) struct KernelWord(SharedWord);

impl slab::Word for KernelWord {
    #[inline]
    fn new(value: u64) -> Self {
        Self(SharedWord::new(value))
    }

    #[inline]
    fn load(&self) -> u64 {
        self.0.load()
    }

    #[inline]
    fn store(&self, value: u64) {
        self.0.store(value);
    }

    #[inline]
    fn swap(&self, value: u64) -> u64 {
        self.0.swap(value)
    }

    #[inline]
    fn cas(&self, old: u64, new: u64) -> Result<(), u64> {
        self.0.cas(old, new)
    }
}

/// A part that is made when it is first needed, from memory for which nobody sleeps.
pub(crate) struct Part<T>(OnceBox<T>);

impl<T: Send + Sync> slab::Link<T> for Part<T> {
    #[inline]
    fn empty() -> Self {
        Self(OnceBox::new())
    }

    #[inline]
    fn get(&self) -> Option<&T> {
        self.0.get()
    }

    fn get_or_make(&self, make: impl FnOnce() -> T) -> Option<&T> {
        self.0.get_or_make(Gfp::Atomic, make)
    }
}

impl slab::Env for Kernel {
    type Word = KernelWord;
    type Link<T: Send + Sync + 'static> = Part<T>;
}

/// The slots of all CPUs.
pub(crate) struct Slots(KVVec<CpuSlots<Kernel>>);

impl Slots {
    /// Empty slots for as many CPUs as the machine can have.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        // CAST: u32 fits usize.
        let cpus = cpu::nr_cpu_ids() as usize;
        let mut slots = KVVec::with_capacity(cpus, GFP_KERNEL)?;
        for _ in 0..cpus {
            slots.push(CpuSlots::new(), GFP_KERNEL)?;
        }
        Ok(Self(slots))
    }
}

impl AsRef<[CpuSlots<Kernel>]> for Slots {
    #[inline]
    fn as_ref(&self) -> &[CpuSlots<Kernel>] {
        &self.0
    }
}

/// The addresses of a domain.
pub(crate) type Space = slab::Space<Kernel, Slots>;

/// The CPU that runs this, or has a moment ago.
#[inline]
pub(crate) fn this_cpu() -> usize {
    // CAST: u32 fits usize.
    CpuId::current().as_u32() as usize
}
