// SPDX-License-Identifier: GPL-2.0

//! What a space holds, for people and for tests.

use super::{
    chunk::Use,
    env::Env,
    slot::CpuSlots,
    Space,
    ORDERS,
    PAGES, //
};

/// Chunks and objects by what they are. Exact while nothing is taken or given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Chunks by the order of their objects.
    pub chunks: [u32; ORDERS],
    /// Free objects of each order.
    pub free: [u32; ORDERS],
    /// Of these, what slots hold.
    pub in_slots: [u32; ORDERS],
    /// Chunks all whose objects are free.
    pub empty: u32,
    /// Runs of chunks.
    pub runs: u32,
    /// Chunks in them.
    pub run_chunks: u64,
    /// Chunks that are unused.
    pub unused: u64,
    /// Descriptors.
    pub descriptors: u32,
    /// Chunks with a leaf table.
    pub tables: u32,
}

impl Counts {
    /// Pages in objects that are in use, reserved ones of partly reserved chunks included.
    pub fn used_pages(&self) -> u64 {
        let objects = self.chunks.iter().zip(self.free.iter());
        let small = objects.zip(0u32..).map(|((chunks, free), order)| {
            let all = u64::from(*chunks).saturating_mul(u64::from(PAGES >> order));
            all.saturating_sub(u64::from(*free)) << order
        });
        small
            .fold(0, u64::saturating_add)
            .saturating_add(self.run_chunks.saturating_mul(PAGES.into()))
    }
}

impl<E: Env, S: AsRef<[CpuSlots<E>]>> Space<E, S> {
    /// Counts everything. Walks all descriptors.
    pub fn counts(&self) -> Counts {
        let mut n = Counts {
            unused: self.tree.count_unused(),
            ..Counts::default()
        };
        let add = |count: &mut u32, more: u32| *count = count.saturating_add(more);
        for (_, chunk) in self.tree.chunks() {
            add(&mut n.descriptors, 1);
            add(&mut n.tables, u32::from(chunk.leaf() != 0));
            match chunk.used_for() {
                Use::None => {}
                Use::Run { chunks } => {
                    add(&mut n.runs, 1);
                    n.run_chunks = n.run_chunks.saturating_add(chunks.into());
                }
                Use::Objects { order } => {
                    add(&mut n.empty, u32::from(chunk.is_empty(order)));
                    // CAST: u32 fits usize.
                    let o = order as usize;
                    if let (Some(c), Some(f)) = (n.chunks.get_mut(o), n.free.get_mut(o)) {
                        add(c, 1);
                        add(f, chunk.count_free());
                    }
                }
            }
        }
        for (order, slot) in self.slots.as_ref().iter().flat_map(|cpu| cpu.all()) {
            // CAST: u32 fits usize.
            let o = order as usize;
            if let (Some(s), Some(f)) = (n.in_slots.get_mut(o), n.free.get_mut(o)) {
                add(s, slot.objects());
                add(f, slot.objects());
            }
        }
        n
    }
}
