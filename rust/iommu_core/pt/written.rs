// SPDX-License-Identifier: GPL-2.0

//! Collects the items that a walk writes, so that they are told to the memory in runs.

use super::TableMem;

/// The run of items written last and not told yet; told on drop.
pub(super) struct Written<'a, M: TableMem> {
    mem: &'a M,
    /// Table, first item, number of items.
    run: Option<(M::Table, usize, usize)>,
}

impl<'a, M: TableMem> Written<'a, M> {
    /// Nothing written yet.
    #[inline]
    pub(super) fn new(mem: &'a M) -> Self {
        Self { mem, run: None }
    }

    /// `count` items of `table` from `first` on were written, in ascending order within a table.
    #[inline]
    pub(super) fn add(&mut self, table: M::Table, first: usize, count: usize) {
        match &mut self.run {
            // A walk leaves a table for good before it writes to the next, so the end decides.
            Some((_, start, n)) if first != 0 && start.wrapping_add(*n) == first => {
                *n = n.wrapping_add(count);
            }
            _ => {
                self.tell();
                self.run = Some((table, first, count));
            }
        }
    }

    #[inline]
    fn tell(&mut self) {
        if let Some((table, first, count)) = self.run.take() {
            self.mem.written(table, first, count);
        }
    }
}

impl<M: TableMem> Drop for Written<'_, M> {
    #[inline]
    fn drop(&mut self) {
        self.tell();
    }
}
