// SPDX-License-Identifier: GPL-2.0

//! A paging domain: a page table, its domain ID, the units that use it, and its IOVA space.

use core::marker::PhantomData;

use iommu_core::{
    addr::{
        Iova,
        Oa,
        Perm,
        Range, //
    },
    id::DomainId,
    iova::{
        Allocator,
        BadFree,
        Refusal,
        Request, //
    },
    pt::{
        self,
        Format,
        MapError,
        MapFailure,
        Root,
        TableMem,
        Unmapped,
        ITEMS, //
    },
};
use kernel::{
    error::code::*,
    id_pool::IdPool,
    new_mutex,
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        Arc,
        Mutex,
        SpinLockIrq, //
    }, //
};
use kernel_iommu::{
    hw_pages::Gfp,
    iommu::table::TablePage, //
};

use crate::{
    family::Shape,
    glue::{
        Slots,
        Tables,
        Window, //
    }, //
};

/// Units one machine can have; the largest servers have a few dozen.
pub(crate) const MAX_UNITS: usize = 64;
/// Windows of 128 MiB in a domain's own IOVA space: 64 GiB of live mappings.
const WINDOWS: usize = 512;
/// Domain IDs 0 to 3 are not handed out: 0 has meanings of its own on some units, the static
/// domains use the others.
const FIRST_FREE_ID: usize = 4;

/// The domain IDs of a machine.
#[pin_data]
pub(crate) struct DomainIds {
    #[pin]
    pool: Mutex<IdPool>,
}

impl DomainIds {
    /// `count` IDs, 16-bit ones at most.
    pub(crate) fn new(count: u32) -> Result<Arc<Self>> {
        // CAST: u32 fits usize.
        let pool = IdPool::with_capacity(count.min(1 << 16) as usize, GFP_KERNEL)?;
        Arc::pin_init(
            pin_init!(Self {
                pool <- new_mutex!(pool),
            }),
            GFP_KERNEL,
        )
    }
}

/// A domain ID in use; given back on drop.
struct OwnedId {
    ids: Arc<DomainIds>,
    id: DomainId,
}

impl OwnedId {
    fn new(ids: Arc<DomainIds>) -> Result<Self> {
        let id = {
            let mut pool = ids.pool.lock();
            let free = pool.find_unused_id(FIRST_FREE_ID).ok_or(ENOSPC)?;
            free.acquire()
        };
        let id = DomainId(u16::try_from(id).map_err(|_| ENOSPC)?);
        Ok(Self { ids, id })
    }
}

impl Drop for OwnedId {
    fn drop(&mut self) {
        self.ids.pool.lock().release_id(self.id.0.into());
    }
}

/// The IOVA space of a domain whose DMA API we serve.
#[pin_data]
struct Space {
    #[pin]
    allocator: SpinLockIrq<Allocator<Slots, Window>>,
}

/// A paging domain with tables of format `F`.
pub(crate) struct PagingDomain<F: Format> {
    root: Root<TablePage>,
    last_iova: u64,
    /// A unit does not look into the processor's caches when it walks.
    flush: bool,
    id: OwnedId,
    space: Pin<KBox<Space>>,
    /// Requester IDs attached through each unit.
    users: [Atomic<u32>; MAX_UNITS],
    /// Our DMA API serves a device of the domain, so the core's mappings are claims.
    served: Atomic<bool>,
    /// Pages whose addresses are never used again, as their invalidation was not confirmed.
    quarantined: Atomic<u64>,
    _format: PhantomData<F>,
}

impl<F: Format> PagingDomain<F> {
    /// Makes an empty domain that a unit with this shape can walk.
    pub(crate) fn new(ids: Arc<DomainIds>, shape: &Shape) -> Result<Self> {
        let id = OwnedId::new(ids)?;
        let slots = Slots::new(WINDOWS)?;
        let space = KBox::pin_init(
            pin_init!(Space {
                allocator <- new_spinlock_irq!(Allocator::new(slots)),
            }),
            GFP_KERNEL,
        )?;
        let tables = Tables {
            gfp: Gfp::Kernel,
            flush: shape.flush,
        };
        let table = tables.alloc().ok_or(ENOMEM)?;
        tables.written(table, 0, ITEMS);
        Ok(Self {
            root: Root {
                table,
                level: shape.levels.saturating_sub(1),
                page_sizes: F::PAGE_SIZES & shape.page_sizes,
            },
            last_iova: shape.last_iova.min(pt::last_iova(shape.levels)),
            flush: shape.flush,
            id,
            space,
            users: [const { Atomic::new(0) }; MAX_UNITS],
            served: Atomic::new(false),
            quarantined: Atomic::new(0),
            _format: PhantomData,
        })
    }

    /// The tag of the domain's translations.
    pub(crate) fn id(&self) -> DomainId {
        self.id.id
    }

    /// Address of the top table.
    pub(crate) fn root(&self) -> Oa {
        Oa(self.root.table.phys())
    }

    /// Number of levels.
    pub(crate) fn levels(&self) -> u8 {
        self.root.level.saturating_add(1)
    }

    /// Highest IOVA.
    pub(crate) fn last_iova(&self) -> u64 {
        self.last_iova
    }

    /// Can a unit with this shape walk the domain, too?
    ///
    /// # Errors
    ///
    /// `EINVAL`: it cannot, and another domain is needed.
    pub(crate) fn check(&self, shape: &Shape) -> Result {
        let fits = self.levels() == shape.levels
            && self.last_iova <= shape.last_iova
            && self.root.page_sizes & !shape.page_sizes == 0
            && (self.flush || !shape.flush);
        fits.then_some(()).ok_or(EINVAL)
    }

    fn tables(&self, gfp: Gfp) -> Tables {
        Tables {
            gfp,
            flush: self.flush,
        }
    }

    /// Counts a user behind a unit, before its entry points here.
    pub(crate) fn add_user(&self, unit: usize) {
        if let Some(n) = self.users.get(unit) {
            // ORDERING: full, so that an invalidation that misses this user has run before the
            // user's entry could be read.
            n.fetch_add(1u32, Full);
        }
    }

    /// Counts a user off, after its entry has left and the domain was invalidated.
    pub(crate) fn remove_user(&self, unit: usize) {
        if let Some(n) = self.users.get(unit) {
            n.fetch_sub(1u32, Full);
        }
    }

    /// Does a unit have users of the domain?
    #[inline]
    pub(crate) fn is_used_by(&self, unit: usize) -> bool {
        self.users.get(unit).is_some_and(|n| n.load(Relaxed) != 0)
    }

    /// Says that our DMA API serves a device of this domain from now on.
    pub(crate) fn serve(&self) {
        self.served.store(true, Relaxed);
    }

    /// Does our DMA API serve a device of this domain?
    pub(crate) fn is_served(&self) -> bool {
        self.served.load(Relaxed)
    }

    /// Maps a range. Any context, with `Gfp::Atomic`.
    #[inline]
    pub(crate) fn map(
        &self,
        iova: u64,
        oa: u64,
        len: u64,
        perm: Perm,
        gfp: Gfp,
    ) -> Result<(), MapFailure> {
        pt::map::<F, _>(&self.tables(gfp), self.root, Iova(iova), Oa(oa), len, perm)
    }

    /// Clears a range up to the first hole.
    #[inline]
    pub(crate) fn unmap(&self, iova: u64, len: u64) -> Unmapped {
        pt::unmap::<F, _>(&self.tables(Gfp::Atomic), self.root, Iova(iova), len)
    }

    /// Looks an address up.
    #[inline]
    pub(crate) fn lookup(&self, iova: u64) -> Option<u64> {
        pt::lookup::<F, _>(&self.tables(Gfp::Atomic), self.root, Iova(iova)).map(|(oa, _, _)| oa.0)
    }

    /// Runs `f` on the allocator until it needs no new window.
    fn with_space<R>(
        &self,
        gfp: Gfp,
        f: impl Fn(&mut Allocator<Slots, Window>) -> Result<R, Refusal>,
    ) -> Result<R> {
        loop {
            let window = match f(&mut self.space.allocator.lock()) {
                Ok(r) => return Ok(r),
                Err(Refusal::Full) => return Err(ENOMEM),
                Err(Refusal::Impossible) => return Err(EINVAL),
                Err(Refusal::NeedWindow(window)) => window,
            };
            let bits = Window::new(gfp)?;
            // A bitmap that lost the race is dropped after the lock, at the end of the statement.
            let _surplus = self.space.allocator.lock().install(window, bits);
        }
    }

    /// Takes addresses for `pages` pages below `limit` that do not cross `boundary`.
    #[inline]
    pub(crate) fn alloc_iova(&self, pages: u32, limit: u64, boundary: u64) -> Result<u64> {
        let req = Request {
            pages,
            limit: limit.min(self.last_iova()),
            boundary,
        };
        self.with_space(Gfp::Atomic, |a| a.alloc(req)).map(|i| i.0)
    }

    /// Gives addresses back after their invalidation.
    #[inline]
    pub(crate) fn free_iova(&self, range: Range) -> Result<(), BadFree> {
        self.space.allocator.lock().release(range)
    }

    /// Takes exact addresses for a mapping the core makes.
    pub(crate) fn claim(&self, range: Range, gfp: Gfp) -> Result {
        self.with_space(gfp, |a| a.claim(range))
            .map_err(|e| if e == ENOMEM { EEXIST } else { e })
    }

    /// Keeps a range out of our allocations for good.
    pub(crate) fn reserve(&self, range: Range) -> Result {
        self.with_space(Gfp::Kernel, |a| a.reserve(range))
    }

    /// Leaks addresses that could not be invalidated.
    pub(crate) fn quarantine(&self, pages: u64) {
        let before = self.quarantined.fetch_add(pages, Relaxed);
        if before == 0 {
            pr_err!(
                "domain {}: addresses that could not be invalidated are not used again\n",
                self.id().0
            );
        }
    }
}

impl<F: Format> Drop for PagingDomain<F> {
    fn drop(&mut self) {
        pt::free_all::<F, _>(&self.tables(Gfp::Atomic), self.root);
    }
}

/// The errno of a failed mapping.
pub(crate) fn map_errno(e: &MapFailure) -> Error {
    match e.cause {
        MapError::NoMemory => ENOMEM,
        MapError::AlreadyMapped(_) => EEXIST,
        MapError::BadRange => EINVAL,
    }
}
