// SPDX-License-Identifier: GPL-2.0

//! The addresses of a domain whose DMA API we serve: its allocator, and what is kept out of it.

use iommu_core::{
    addr::{
        Range,
        PAGE_SIZE, //
    },
    slab::{
        self,
        Refusal,
        CHUNK_SHIFT, //
    }, //
};
use kernel::{
    error::code::*,
    fmt,
    new_spinlock_irq,
    prelude::*,
    sync::SpinLockIrq, //
};

use crate::{
    glue::{
        Kernel,
        Slots,
        Space, //
    },
    lazy::Lazy, //
};

/// Windows that a domain's space has to leave out: a host bridge has a handful, firmware names some.
const MAX_RESERVED: usize = 64;

/// An object of a domain's space.
pub(crate) type Object<'a> = slab::Object<'a, Kernel>;

/// The addresses of a domain.
pub(crate) struct Addresses {
    pub(crate) space: Space,
    pub(crate) lazy: Lazy,
    /// What is kept out of it for good.
    reserved: Pin<KBox<SpinLockIrq<KVec<Range>>>>,
}

impl Addresses {
    /// All addresses up to `last`, where they stay: they are too large for a kernel's stack.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL`: less than a chunk.
    pub(crate) fn new(last: u64) -> Result<KBox<Self>> {
        if last < (1 << CHUNK_SHIFT) - 1 {
            return Err(EINVAL);
        }
        let mut reserved = KVec::new();
        reserved.reserve(MAX_RESERVED, GFP_KERNEL)?;
        let addresses = try_init!(Self {
            space: Space::new(last, Slots::new()?),
            lazy: Lazy::new()?,
            reserved: KBox::pin_init(new_spinlock_irq!(reserved), GFP_KERNEL)?,
        }? Error);
        let addresses = KBox::try_init(addresses, GFP_KERNEL)?;
        addresses.space.open().map_err(refused)?;
        Ok(addresses)
    }

    /// Takes exact addresses for a mapping the core makes; what is reserved for it anyway is fine.
    ///
    /// # Errors
    ///
    /// `EEXIST`: some are in use. `ENOMEM`.
    pub(crate) fn claim(&self, range: Range) -> Result {
        if self.is_reserved(&range) {
            return Ok(());
        }
        self.space.claim(range).map_err(|e| match e {
            Refusal::Full => EEXIST,
            e => refused(e),
        })
    }

    /// Gives a claim back, after the invalidation.
    pub(crate) fn unclaim(&self, range: Range) {
        if !self.is_reserved(&range) {
            self.space.unclaim(range);
        }
    }

    /// Keeps a range out of our allocations for good. What of it is in use has to be mapped to itself, as
    /// the core does with what firmware wants, which `is_itself` tells of a page.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EBUSY`: something else is mapped there.
    pub(crate) fn reserve(&self, range: Range, is_itself: impl Fn(u64) -> bool) -> Result {
        let range = range.page_cover();
        if self.is_reserved(&range) {
            return Ok(());
        }
        let mut all = self.reserved.lock();
        all.push_within_capacity(range).map_err(|_| ENOMEM)?;
        drop(all);
        match self.space.reserve(range) {
            Ok(()) => Ok(()),
            Err(Refusal::Full) => self.reserve_pages(range, is_itself),
            Err(e) => Err(refused(e)),
        }
    }

    #[cold]
    fn reserve_pages(&self, range: Range, is_itself: impl Fn(u64) -> bool) -> Result {
        for page in (range.first()..=range.last()).step_by(PAGE_SIZE as usize) {
            let one = Range::with_len(page, PAGE_SIZE).ok_or(EINVAL)?;
            let taken = self.space.reserve(one).is_ok();
            if !taken && !self.is_in_another(&one, &range) && !is_itself(page) {
                return Err(EBUSY);
            }
        }
        Ok(())
    }

    /// Describes them for debugfs, after the first words of a line.
    pub(crate) fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.space.counts();
        writeln!(
            f,
            ", in use {}, waiting for invalidation {}",
            n.used_pages(),
            self.lazy.waiting()
        )?;
        writeln!(
            f,
            "  chunks: in use {} empty {} unused {} in {} runs {}; descriptors {} leaf tables {}",
            n.chunks.iter().sum::<u32>(),
            n.empty,
            n.unused,
            n.runs,
            n.run_chunks,
            n.descriptors,
            n.tables
        )?;
        for (order, ((chunks, free), held)) in
            (n.chunks.iter().zip(&n.free).zip(&n.in_slots)).enumerate()
        {
            if *chunks != 0 {
                writeln!(
                    f,
                    "  objects of {} KiB: chunks {} free {} of these held by CPUs {}",
                    4 << order,
                    chunks,
                    free,
                    held
                )?;
            }
        }
        Ok(())
    }

    fn is_reserved(&self, range: &Range) -> bool {
        self.reserved.lock().iter().any(|r| r.contains(range))
    }

    /// Is a page in a reserved range other than this one, or the first?
    fn is_in_another(&self, page: &Range, but: &Range) -> bool {
        let all = self.reserved.lock();
        page.first() < PAGE_SIZE || all.iter().any(|r| r != but && r.overlaps(page))
    }
}

/// The errno of a refusal.
pub(crate) fn refused(e: Refusal) -> Error {
    match e {
        Refusal::Full | Refusal::NoMemory => ENOMEM,
        Refusal::Impossible => EINVAL,
    }
}
