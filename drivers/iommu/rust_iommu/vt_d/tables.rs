// SPDX-License-Identifier: GPL-2.0

//! The tables that lead a request to its entry: made when a requester ID is prepared, never freed
//! while the unit lives.
//!
//! Source: Intel Virtualization Technology for Directed I/O, D51397-016 (revision 4.1), 3.4.

use iommu_core::{
    addr::{
        Oa,
        PAGE_SIZE, //
    },
    id::Rid,
    plan::Half,
    vtd::entry::{
        self,
        Entry, //
    }, //
};
use kernel::prelude::*;
use kernel_iommu::hw_pages::{
    Gfp,
    HwPages, //
};

// CAST: a page.
const PAGE: usize = PAGE_SIZE as usize;

/// The tables of a requester ID in scalable mode.
struct Pasids {
    /// What the context entry points to.
    directory: HwPages,
    table: HwPages,
}

/// The entries of a bus; in scalable mode of half a bus.
struct Contexts {
    table: HwPages,
    /// In scalable mode, by the entry's place; else empty.
    pasids: KVec<Option<Pasids>>,
}

/// Entries of a table of 4 KiB in scalable mode.
const SCALABLE_ENTRIES: usize = 128;

/// Tables made before the lock is taken, under which nothing may sleep.
pub(super) struct NewTables {
    contexts: Option<Contexts>,
    pasids: Option<Pasids>,
}

/// How the tables of a unit look.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub(super) scalable: bool,
    /// Tables are read past the processor's caches.
    pub(super) flush: bool,
}

impl Layout {
    fn written(self, table: &HwPages, first: usize, count: usize) {
        if self.flush {
            table.flush(first, count);
        }
    }

    fn table(self) -> Result<HwPages> {
        let table = HwPages::new(PAGE, Gfp::Kernel)?;
        self.written(&table, 0, PAGE / 8);
        Ok(table)
    }

    /// All that a requester ID may need.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new_tables(self) -> Result<NewTables> {
        let mut pasids = KVec::new();
        if self.scalable {
            for _ in 0..SCALABLE_ENTRIES {
                pasids.push(None, GFP_KERNEL)?;
            }
        }
        let contexts = Contexts {
            table: self.table()?,
            pasids,
        };
        let pasids = if self.scalable {
            let (directory, table) = (self.table()?, self.table()?);
            directory.write(0, entry::pointer(Oa(table.phys())));
            self.written(&directory, 0, 1);
            Some(Pasids { directory, table })
        } else {
            None
        };
        Ok(NewTables {
            contexts: Some(contexts),
            pasids,
        })
    }
}

/// The tables of one unit.
pub(super) struct Tables {
    layout: Layout,
    root: HwPages,
    /// By bus; in scalable mode by bus and half of the bus.
    contexts: KVec<Option<Contexts>>,
}

impl Tables {
    /// An empty root table.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(layout: Layout) -> Result<Self> {
        let count = if layout.scalable { 512 } else { 256 };
        let mut contexts = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            contexts.push(None, GFP_KERNEL)?;
        }
        let root = layout.table()?;
        Ok(Self {
            layout,
            root,
            contexts,
        })
    }

    /// Address of the root table.
    pub(super) fn root(&self) -> Oa {
        Oa(self.root.phys())
    }

    /// The place of a requester ID's context table, and of its entry in it.
    fn place(&self, rid: Rid) -> (usize, usize) {
        let (bus, devfn) = (usize::from(rid.bus()), usize::from(rid.devfn()));
        if self.layout.scalable {
            (bus * 2 + devfn / SCALABLE_ENTRIES, devfn % SCALABLE_ENTRIES)
        } else {
            (bus, devfn)
        }
    }

    /// Has a requester ID its tables?
    pub(super) fn is_prepared(&self, rid: Rid) -> bool {
        self.entry(rid).is_some()
    }

    /// Puts the tables of a requester ID where they are missing; what is left of `new` is not needed.
    /// Cached copies of what was not there have to go.
    pub(super) fn install(&mut self, rid: Rid, new: &mut NewTables) {
        let (index, at) = self.place(rid);
        let layout = self.layout;
        let Some(slot) = self.contexts.get_mut(index) else {
            return;
        };
        if slot.is_none() {
            *slot = new.contexts.take();
            if let Some(contexts) = slot {
                // Legacy mode has one pointer in two words, scalable mode two.
                let word = if layout.scalable { index } else { index * 2 };
                self.root
                    .write(word, entry::root_entry(Oa(contexts.table.phys())));
                layout.written(&self.root, word, 1);
            }
        }
        let Some(contexts) = slot else { return };
        let Some(slot) = contexts.pasids.get_mut(at).filter(|slot| slot.is_none()) else {
            return;
        };
        *slot = new.pasids.take();
        if let Some(pasids) = slot {
            let directory = Oa(pasids.directory.phys());
            contexts.table.write(at * 4, entry::pointer(directory));
            layout.written(&contexts.table, at * 4, 4);
        }
    }

    /// The memory of a prepared entry: the table and the word in it.
    fn entry(&self, rid: Rid) -> Option<(&HwPages, usize)> {
        let (index, at) = self.place(rid);
        let contexts = self.contexts.get(index)?.as_ref()?;
        if self.layout.scalable {
            let pasids = contexts.pasids.get(at)?.as_ref()?;
            return Some((&pasids.table, 0));
        }
        Some((&contexts.table, at * 2))
    }

    /// Reads the entry of a requester ID; absent if it is not prepared.
    pub(super) fn read(&self, rid: Rid) -> Entry {
        let Some((table, at)) = self.entry(rid) else {
            return Entry::ABSENT;
        };
        let word = |i: usize| table.read(at + i);
        if self.layout.scalable {
            Entry([word(0), word(1), word(2), word(3)])
        } else {
            Entry([word(0), word(1), 0, 0])
        }
    }

    /// Stores one half of a prepared entry, with one access.
    pub(super) fn write(&self, rid: Rid, half: Half, value: [u64; 2]) {
        if let Some((table, at)) = self.entry(rid) {
            let at = at + half.offset() / 8;
            table.write_pair(at, value[0], value[1]);
            self.layout.written(table, at, 2);
        }
    }
}
