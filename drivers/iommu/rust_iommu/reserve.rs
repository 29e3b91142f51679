// SPDX-License-Identifier: GPL-2.0

//! Empty tables of a domain at hand, and the address allocator's parts of the chunks that are next, so that
//! a call of the DMA API that is the first to use a chunk neither waits for the kernel's allocators nor
//! clears a page: the domain's timer gets new ones right after.

use iommu_core::{
    pt::TableMem,
    slab::{
        defer::Alarm,
        CHUNK_SHIFT, //
    }, //
};
use kernel_iommu::{
    iommu::table::TablePage,
    shared_word::SharedWord, //
};

use crate::{
    addresses::Addresses,
    glue::{
        Kernel,
        Tables, //
    }, //
};

/// The most tables kept: a domain that grows as fast as it can needs so many in the time that the timer
/// takes on a machine where it waits for the next tick, of which there are 250 a second.
const TABLES: usize = 64;
/// The least, and those of a new domain, for such a machine, too: the timer starts when the first is taken.
const LEAST: usize = 40;
/// How long after a table was taken the others come.
pub(crate) const REFILL_US: i64 = 200;

/// The tables.
pub(crate) struct Reserve {
    /// Their names, zero for none. Who exchanges a name for zero owns the table.
    tables: [SharedWord; TABLES],
    /// Tables taken since the last refill, about.
    used: SharedWord,
    /// An address in the chunk that was last used for the first time.
    newest: SharedWord,
    alarm: Alarm<Kernel>,
}

impl Reserve {
    /// Nothing kept, and nothing wanted yet.
    pub(crate) fn new() -> Self {
        Self {
            tables: [const { SharedWord::new(0) }; TABLES],
            used: SharedWord::new(0),
            newest: SharedWord::new(0),
            alarm: Alarm::new(),
        }
    }

    /// Takes a table. If there is none, the caller makes one, and others come for the next.
    #[cold]
    pub(crate) fn take(&self) -> Option<u64> {
        self.used.store(self.used.load() + 1);
        self.tables.iter().find_map(|place| {
            let name = place.load();
            (name != 0 && place.cas(name, 0).is_ok()).then_some(name)
        })
    }

    /// Keeps a table that is empty and nobody's. `false`: there is no room.
    pub(crate) fn put(&self, name: u64) -> bool {
        let free = |place: &SharedWord| place.load() == 0 && place.cas(0, name).is_ok();
        self.tables.iter().any(free)
    }

    /// The chunk of `iova` is used for the first time. Were tables taken, and is the caller to start the
    /// timer, for [`REFILL_US`] after this?
    pub(crate) fn wants_timer(&self, iova: u64) -> bool {
        self.newest.store(iova);
        self.used.load() != 0 && self.alarm.is_wanted()
    }

    /// The timer has run out: gets twice what was needed since it did last, if there is memory for it.
    pub(crate) fn refill(&self, tables: &Tables<'_>, addresses: Option<&Addresses>) {
        if !self.alarm.rings() {
            return;
        }
        // CAST: what does not fit is more than there is room for.
        let wanted = (2 * self.used.swap(0) as usize).clamp(LEAST, TABLES);
        self.fill(tables, wanted);
        if let Some(addresses) = addresses {
            let next = self.newest.load() + (1 << CHUNK_SHIFT);
            // CAST: a few dozen.
            addresses.space.get_ready(next, wanted as u32);
        }
    }

    /// Gets what a domain needs when its first device begins to work. Where there is no memory for it, the
    /// domain goes without.
    pub(crate) fn stock(&self, tables: &Tables<'_>, addresses: &Addresses) {
        self.fill(tables, LEAST);
        // CAST: a few dozen.
        addresses.space.get_ready(0, LEAST as u32);
    }

    fn fill(&self, tables: &Tables<'_>, wanted: usize) {
        for _ in self.count()..wanted {
            let Some(table) = TablePage::alloc(tables.gfp) else {
                break;
            };
            if !self.put(tables.name(table)) {
                tables.free(table);
            }
        }
    }

    /// Tables that are there.
    pub(crate) fn count(&self) -> usize {
        self.tables.iter().filter(|place| place.load() != 0).count()
    }

    /// Frees all. Returns their number.
    pub(crate) fn drain(&self, tables: &Tables<'_>) -> usize {
        let mut freed = 0;
        for place in &self.tables {
            let name = place.swap(0);
            if name != 0 {
                tables.free(tables.named(name));
                freed += 1;
            }
        }
        freed
    }
}
