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
    rid: Rid,
    /// Kept for what the context entry points to.
    _directory: HwPages,
    table: HwPages,
}

/// The tables of one unit.
pub(super) struct Tables {
    scalable: bool,
    /// Tables are read past the processor's caches.
    flush: bool,
    root: HwPages,
    /// By bus; in scalable mode by bus and half of the bus.
    contexts: KVec<Option<HwPages>>,
    pasids: KVec<Pasids>,
}

impl Tables {
    /// An empty root table.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(scalable: bool, flush: bool) -> Result<Self> {
        let count = if scalable { 512 } else { 256 };
        let mut contexts = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            contexts.push(None, GFP_KERNEL)?;
        }
        let tables = Self {
            scalable,
            flush,
            root: HwPages::new(PAGE, Gfp::Kernel)?,
            contexts,
            pasids: KVec::new(),
        };
        tables.written(&tables.root, 0, PAGE / 8);
        Ok(tables)
    }

    /// Address of the root table.
    pub(super) fn root(&self) -> Oa {
        Oa(self.root.phys())
    }

    fn written(&self, table: &HwPages, first: usize, count: usize) {
        if self.flush {
            table.flush(first, count);
        }
    }

    fn new_table(&self) -> Result<HwPages> {
        let table = HwPages::new(PAGE, Gfp::Kernel)?;
        self.written(&table, 0, PAGE / 8);
        Ok(table)
    }

    /// The place of a requester ID's context table, and of its entry in it, in words.
    fn place(&self, rid: Rid) -> (usize, usize) {
        let (bus, devfn) = (usize::from(rid.bus()), usize::from(rid.devfn()));
        if self.scalable {
            (bus * 2 + devfn / 128, devfn % 128 * 4)
        } else {
            (bus, devfn * 2)
        }
    }

    /// Makes the tables of a requester ID. `true` if they are new, and cached copies of what was
    /// not there have to go.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn prepare(&mut self, rid: Rid) -> Result<bool> {
        let (index, word) = self.place(rid);
        let mut is_new = false;
        if self.contexts.get(index).is_some_and(Option::is_none) {
            let table = self.new_table()?;
            let entry = entry::root_entry(Oa(table.phys()));
            if let Some(slot) = self.contexts.get_mut(index) {
                *slot = Some(table);
            }
            // Legacy mode has one pointer in two words, scalable mode two.
            let at = if self.scalable { index } else { index * 2 };
            self.root.write(at, entry);
            self.written(&self.root, at, 1);
            is_new = true;
        }
        if self.scalable && !self.pasids.iter().any(|p| p.rid == rid) {
            self.pasids.reserve(1, GFP_KERNEL)?;
            let (directory, table) = (self.new_table()?, self.new_table()?);
            directory.write(0, entry::pointer(Oa(table.phys())));
            self.written(&directory, 0, 1);
            if let Some(Some(contexts)) = self.contexts.get(index) {
                contexts.write(word, entry::pointer(Oa(directory.phys())));
                self.written(contexts, word, 4);
            }
            self.pasids.push(
                Pasids {
                    rid,
                    _directory: directory,
                    table,
                },
                GFP_KERNEL,
            )?;
            is_new = true;
        }
        Ok(is_new)
    }

    /// The memory of a prepared entry: the table and the word in it.
    fn entry(&self, rid: Rid) -> Option<(&HwPages, usize)> {
        if self.scalable {
            let p = self.pasids.iter().find(|p| p.rid == rid)?;
            return Some((&p.table, 0));
        }
        let (index, word) = self.place(rid);
        Some((self.contexts.get(index)?.as_ref()?, word))
    }

    /// Reads the entry of a requester ID; absent if it is not prepared.
    pub(super) fn read(&self, rid: Rid) -> Entry {
        let Some((table, at)) = self.entry(rid) else {
            return Entry::ABSENT;
        };
        let word = |i: usize| table.read(at + i);
        if self.scalable {
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
            self.written(table, at, 2);
        }
    }
}
