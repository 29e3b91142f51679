// SPDX-License-Identifier: GPL-2.0

//! Domain IDs: the tags of domains in the units' caches.

use iommu_core::id::DomainId;
use kernel::{
    error::code::*,
    id_pool::IdPool,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

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
pub(crate) struct OwnedId {
    ids: Arc<DomainIds>,
    pub(crate) id: DomainId,
}

impl OwnedId {
    /// Takes an ID.
    ///
    /// # Errors
    ///
    /// `ENOSPC`: all are in use.
    pub(crate) fn new(ids: Arc<DomainIds>) -> Result<Self> {
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
