// SPDX-License-Identifier: GPL-2.0

//! Random calls, checked against a map of the ranges that are in use.

use super::*;

/// What is in use: first address to pages.
pub(super) struct Model(pub(super) BTreeMap<u64, u32>);

impl Model {
    /// Puts a range in; it must not overlap another one.
    pub(super) fn add(&mut self, iova: u64, pages: u32) {
        let end = iova + u64::from(pages) * PAGE_SIZE;
        if let Some((a, n)) = self.0.range(..end).next_back() {
            assert!(
                a + u64::from(*n) * PAGE_SIZE <= iova,
                "overlap: {a:x} +{n} and {iova:x} +{pages}"
            );
        }
        self.0.insert(iova, pages);
    }
}

/// Runs (kind, size, cpu) triples.
pub(super) fn run(s: &TestSpace, ops: &[(u8, u32, usize)]) {
    let mut model = Model(BTreeMap::new());
    let start = s.counts();
    let total = start.used_pages() + free_pages(s);
    for (kind, size, cpu) in ops {
        match kind {
            0..=49 => {
                let pages = if *kind < 40 { size % 17 + 1 } else { size + 1 };
                let limit = if kind % 5 == 0 {
                    (1 << 27) - 1
                } else {
                    u64::MAX
                };
                if let Ok(o) = s.alloc(*cpu, pages, limit) {
                    assert!(
                        o.iova >= PAGE_SIZE && o.iova + u64::from(pages) * PAGE_SIZE - 1 <= limit
                    );
                    assert_eq!(
                        o.iova % (u64::from(pages.next_power_of_two()).min(512) * PAGE_SIZE),
                        0
                    );
                    model.add(o.iova, pages);
                }
            }
            50..=94 => {
                let Some((iova, _)) = model
                    .0
                    .iter()
                    .nth(*size as usize % model.0.len().max(1))
                    .map(|(a, b)| (*a, *b))
                else {
                    continue;
                };
                model.0.remove(&iova);
                s.free(&s.object(iova).unwrap()).unwrap();
            }
            95..=96 => s.drain(),
            97..=98 => {
                if let Some((c, _)) = s.reclaim(*size % 64) {
                    s.reclaimed(c);
                }
            }
            _ => {
                // Never in use: the object is not there, or is free.
                let iova = u64::from(*size) << PAGE_SHIFT;
                if let Ok(o) = s.object(iova) {
                    if !model.0.contains_key(&iova) && o.used_for == (Use::Objects { order: 0 }) {
                        // In a slot or in the chunk; the mapper would see an empty leaf.
                        assert_ne!(iova, 0x1000_0000_0000);
                    }
                }
            }
        }
    }
    assert_eq!(s.counts().used_pages() + free_pages(s), total);
    for iova in model.0.keys() {
        s.free(&s.object(*iova).unwrap()).unwrap();
    }
    s.drain();
    while let Some((c, _)) = s.reclaim(0) {
        s.reclaimed(c);
    }
    let end = s.counts();
    assert_eq!(end.used_pages(), start.used_pages());
    assert_eq!(end.runs, 0);
}

/// Pages in free objects and unused chunks.
pub(super) fn free_pages(s: &TestSpace) -> u64 {
    let n = s.counts();
    let objects: u64 = n
        .free
        .iter()
        .zip(0..)
        .map(|(f, order)| u64::from(*f) << order)
        .sum();
    objects + n.unused * u64::from(PAGES)
}
