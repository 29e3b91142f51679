// SPDX-License-Identifier: GPL-2.0

use std::{
    boxed::Box,
    collections::BTreeMap,
    sync::{
        atomic::{
            AtomicU64,
            Ordering, //
        },
        OnceLock, //
    },
    vec::Vec, //
};

use super::*;
use crate::addr::Range;
use proptest::prelude::*;

mod churn;
mod interleave;
mod put_off;
mod threads;

/// The standard library's parts.
pub(crate) struct Std;

impl Word for AtomicU64 {
    fn new(value: u64) -> Self {
        Self::new(value)
    }
    fn load(&self) -> u64 {
        self.load(Ordering::Acquire)
    }
    fn store(&self, value: u64) {
        self.store(value, Ordering::Release);
    }
    fn swap(&self, value: u64) -> u64 {
        self.swap(value, Ordering::SeqCst)
    }
    fn cas(&self, old: u64, new: u64) -> Result<(), u64> {
        self.compare_exchange(old, new, Ordering::SeqCst, Ordering::Acquire)
            .map(|_| ())
    }
}

impl<T: Send + Sync> Link<T> for OnceLock<Box<T>> {
    fn empty() -> Self {
        Self::new()
    }
    fn get(&self) -> Option<&T> {
        self.get().map(|b| &**b)
    }
    fn get_or_make(&self, make: impl FnOnce() -> T) -> Option<&T> {
        Some(self.get_or_init(|| Box::new(make())))
    }
}

impl Env for Std {
    type Word = AtomicU64;
    type Link<T: Send + Sync + 'static> = OnceLock<Box<T>>;
}

pub(super) type TestSpace = Space<Std, Vec<CpuSlots<Std>>>;

pub(super) fn space(last: u64, cpus: usize) -> TestSpace {
    let s = Space::new(last, (0..cpus).map(|_| CpuSlots::new()).collect());
    s.open().unwrap();
    s
}

const GIB: u64 = 1 << 30;

#[test]
fn addresses_ascend_and_are_neighbours() {
    let s = space(LAST, 2);
    let all: Vec<u64> = (0..511)
        .map(|_| s.alloc(0, 1, u64::MAX).unwrap().iova)
        .collect();
    assert_eq!(all[0], PAGE_SIZE);
    assert!(all.windows(2).all(|w| w[1] == w[0] + PAGE_SIZE), "{all:x?}");
    // Another CPU is not in between.
    let other = s.alloc(1, 1, u64::MAX).unwrap().iova;
    assert_eq!(other >> CHUNK_SHIFT, 1);
}

#[test]
fn each_order_has_its_chunks_and_alignment() {
    let s = space(LAST, 1);
    for pages in 1..=600 {
        let o = s.alloc(0, pages, u64::MAX).unwrap();
        let size = u64::from(pages.next_power_of_two().min(512)) * PAGE_SIZE;
        assert_eq!(o.iova % size, 0, "{pages}");
        assert!(o.pages() >= pages);
    }
}

#[test]
fn runs_come_from_aligned_chunks_and_nodes() {
    let s = space(LAST, 1);
    for chunks in [1, 2, 3, 5, 64, 65, 128, 200, 4096] {
        let o = s.alloc(0, chunks * PAGES, u64::MAX).unwrap();
        let align = u64::from(chunks.next_power_of_two().min(64)) << CHUNK_SHIFT;
        assert_eq!(o.iova % align, 0, "{chunks}");
        assert_eq!(o.pages(), chunks * PAGES);
        s.free(&s.object(o.iova).unwrap()).unwrap();
        assert_eq!(s.object(o.iova).err(), Some(Wild::Nothing));
    }
    assert_eq!(s.counts().used_pages(), 1);
    assert_eq!(
        s.alloc(0, run::MOST_PAGES + 1, u64::MAX).err(),
        Some(Refusal::Impossible)
    );
    assert_eq!(s.alloc(0, 0, u64::MAX).err(), Some(Refusal::Impossible));
}

#[test]
fn what_is_ready_is_used_and_needs_no_memory() {
    let s = space(LAST, 1);
    let range = Range::with_len(64 << CHUNK_SHIFT, 64 << CHUNK_SHIFT).unwrap();
    s.reserve(range).unwrap();
    let parts = s.counts();
    s.get_ready(0, 8);
    // The first is there, as it is in use for its first page.
    assert_eq!(s.counts().descriptors, 9);
    assert_eq!(s.counts().unused, parts.unused);
    for _ in 1..9 * PAGES {
        s.alloc(0, 1, u64::MAX).unwrap();
    }
    assert_eq!(s.counts().descriptors, 9);
    // What is reserved gets none; nor what is not in the space.
    s.get_ready(60 << CHUNK_SHIFT, 7);
    assert_eq!(s.counts().descriptors, 9 + 7);
    assert!(s.tree.chunk(63).is_some() && s.tree.chunk(64).is_none());
    assert!(s.tree.chunk(128).is_some() && s.tree.chunk(131).is_none());
    s.get_ready(LAST, 5);
    s.get_ready(u64::MAX, u32::MAX);
    assert_eq!(s.counts().descriptors, 9 + 7 + 1);
}

#[test]
fn a_cpu_without_slots_is_served_too() {
    let s = space(4 * GIB - 1, 1);
    let low = u64::from(u32::MAX);
    let first = s.alloc(7, 1, low).unwrap().iova;
    assert_eq!(s.alloc(7, 1, u64::MAX).unwrap().iova, first + PAGE_SIZE);
}

#[test]
fn limits_are_kept_and_low_addresses_come_first() {
    let s = space(LAST, 1);
    assert!(s.alloc(0, 1, u64::MAX).unwrap().iova < 4 * GIB);
    for bits in 24..40 {
        let limit = (1u64 << bits) - 1;
        for pages in [1, 3, 16, 256, 600] {
            let o = s.alloc(0, pages, limit).unwrap();
            assert!(
                o.iova + u64::from(pages) * PAGE_SIZE - 1 <= limit,
                "{bits} {pages}"
            );
        }
    }
    assert_eq!(s.alloc(0, 1, 0xfff).err(), Some(Refusal::Impossible));
}

#[test]
fn a_full_lower_zone_sends_others_above() {
    let s = space(LAST, 1);
    // All of the lower 4 GiB.
    let mut low = Vec::new();
    while let Ok(o) = s.alloc(0, 256, u32::MAX.into()) {
        low.push(o.iova);
    }
    // The chunk of page 0 is the only one that is not whole.
    assert_eq!(low.len(), 4095 - 1);
    while let Ok(o) = s.alloc(0, 1, u32::MAX.into()) {
        low.push(o.iova);
    }
    assert_eq!(low.len(), 4094 + 511);
    let high = s.alloc(0, 1, u64::MAX).unwrap().iova;
    assert!(high >= 4 * GIB);
    // What becomes free below is for those who need it.
    s.free(&s.object(low[7]).unwrap()).unwrap();
    assert!(s.alloc(0, 1, u64::MAX).unwrap().iova >= 4 * GIB);
    assert_eq!(s.alloc(0, 1, u32::MAX.into()).unwrap().iova, low[7]);
    assert_eq!(s.alloc(0, 1, u32::MAX.into()).err(), Some(Refusal::Full));
    // A limit in between.
    let o = s.alloc(0, 1, (1 << 33) - 1).unwrap();
    assert!(o.iova < 1 << 33);
}

#[test]
fn a_small_space_can_be_used_up_and_filled_again() {
    let s = space((1 << 26) - 1, 4);
    for round in 0..3u32 {
        let pages = [1, 2, 16][round as usize];
        let mut all = Vec::new();
        for cpu in 0.. {
            match s.alloc(cpu % 4, pages, u64::MAX) {
                Ok(o) => all.push(o.iova),
                Err(e) => {
                    assert_eq!(e, Refusal::Full);
                    break;
                }
            }
        }
        let total = 32 * 512 / pages as usize;
        let reserved = if round == 0 { 1 } else { 512 / pages as usize };
        assert_eq!(all.len(), total - reserved, "{:?}", s.counts());
        for iova in all {
            s.free(&s.object(iova).unwrap()).unwrap();
        }
    }
    s.drain();
    assert_eq!(s.counts().used_pages(), 1);
}

#[test]
fn wild_and_double_frees_change_nothing() {
    let s = space(LAST, 1);
    assert_eq!(s.object(LAST + 1).err(), Some(Wild::Nothing));
    assert_eq!(s.object(0x4000_0000).err(), Some(Wild::Nothing));
    let o = s.alloc(0, 4, u64::MAX).unwrap();
    let iova = o.iova;
    assert_eq!(s.object(iova + PAGE_SIZE).err(), Some(Wild::Inside));
    let run = s.alloc(0, 1024, u64::MAX).unwrap();
    assert_eq!(s.object(run.iova + PAGE_SIZE).unwrap().iova, run.iova);
    assert_eq!(s.object(run.iova + (2 << 20)).err(), Some(Wild::Nothing));
    let before = s.counts();
    s.free(&o).unwrap();
    let after = s.counts();
    assert_eq!(s.free(&o), Err(Wild::Free));
    assert_eq!(s.counts(), after);
    assert_eq!(before.used_pages() - after.used_pages(), 4);
    s.free(&run).unwrap();
    assert_eq!(s.free(&run), Err(Wild::Free));
}

#[test]
fn claims_and_reservations_are_exact() {
    let s = space(LAST, 2);
    let range = |a, b| Range::new(a, b).unwrap();
    s.reserve(range(0xfee0_0000, 0xfeef_ffff)).unwrap();
    s.reserve(range(0x8000_0000, 0xdfff_ffff)).unwrap();
    s.reserve(range(0x20_0000_0000, u64::MAX)).unwrap();
    s.claim(range(0x123_4000, 0x123_7fff)).unwrap();
    for (a, b) in [
        (0xfeef_f000, 0xfeef_ffff),
        (0x8000_0000, 0x8000_0fff),
        (0x123_7000, 0x123_8fff),
        (0, 0xfff),
    ] {
        assert_eq!(s.claim(range(a, b)), Err(Refusal::Full), "{a:x}");
    }
    let mut n = 0;
    while let Ok(o) = s.alloc(n % 2, 1, u32::MAX.into()) {
        let page = range(o.iova, o.iova + 0xfff);
        for taken in [
            range(0xfee0_0000, 0xfeef_ffff),
            range(0x8000_0000, 0xdfff_ffff),
            range(0x123_4000, 0x123_7fff),
        ] {
            assert!(!page.overlaps(&taken), "{:x}", o.iova);
        }
        n += 1;
    }
    assert_eq!(n, (1 << 20) - 1 - 256 - 0x6_0000 - 4);
    assert!(s.alloc(0, 1, u64::MAX).unwrap().iova < 0x20_0000_0000);
    s.unclaim(range(0x123_4000, 0x123_7fff));
    assert_eq!(
        s.alloc(0, 1, u32::MAX.into()).unwrap().iova & !0x3fff,
        0x123_4000
    );
}

#[test]
fn a_claim_gets_what_slots_hold_in_reserve() {
    let s = space(LAST, 1);
    let o = s.alloc(0, 1, u64::MAX).unwrap().iova;
    s.claim(Range::new(o + PAGE_SIZE, o + 2 * PAGE_SIZE - 1).unwrap())
        .unwrap();
    assert_eq!(
        s.claim(Range::new(o, o + PAGE_SIZE - 1).unwrap()),
        Err(Refusal::Full)
    );
    assert_ne!(s.alloc(0, 1, u64::MAX).unwrap().iova, o + PAGE_SIZE);
}

#[test]
fn empty_chunks_serve_other_orders_and_can_be_reclaimed() {
    let s = space((1 << 26) - 1, 1);
    let all: Vec<u64> = (0..4096)
        .map(|_| s.alloc(0, 1, u64::MAX).unwrap().iova)
        .collect();
    for iova in &all {
        s.object(*iova).unwrap().chunk.set_leaf(*iova | 1);
    }
    for iova in &all {
        s.free(&s.object(*iova).unwrap()).unwrap();
    }
    s.drain();
    let before = s.counts();
    assert_eq!(before.empty, 8, "{before:?}");
    // An empty chunk is used before an unused one, with its table.
    let o = s.alloc(0, 2, u64::MAX).unwrap();
    assert_ne!(o.chunk.leaf(), 0);
    s.free(&o).unwrap();
    s.drain();
    let mut freed = 0;
    while let Some((c, leaf)) = s.reclaim(0) {
        assert_ne!(leaf, 0);
        s.reclaimed(c);
        freed += 1;
    }
    assert_eq!(freed, 8);
    assert_eq!(s.counts().tables, 1, "the chunk of page 0 is never empty");
    // A run is made of what is left, and takes back empty chunks itself.
    let o = s.alloc(0, 31 * 512, u64::MAX);
    assert!(o.is_err(), "runs start at a multiple of their size");
    assert!(s.alloc(0, 16 * 512, u64::MAX).is_ok());
}

proptest! {
    /// Against a model: no overlap, in bounds, aligned, everything comes back.
    #[test]
    fn as_a_map_of_ranges(ops in proptest::collection::vec((0u8..100, 0u32..2000, 0usize..3), 1..400), bits in 26u32..36) {
        churn::run(&space((1u64 << bits) - 1, 3), &ops);
    }
}
