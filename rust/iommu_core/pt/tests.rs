// SPDX-License-Identifier: GPL-2.0

//! The mapper against a map of single pages.

use super::{amd_v1::AmdV1, vtd_ss::VtdSs, x86::X86, *};
use crate::addr::Range;
use proptest::prelude::*;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    vec,
    vec::Vec,
};

mod near;

/// Tables in a vector; a table's address is its number times the page size, from 1 on.
struct Mem {
    tables: RefCell<Vec<Option<Vec<u64>>>>,
    /// Allocations left before they fail.
    budget: Cell<usize>,
    /// Makes the next compare-and-exchange lose against a table put there by "another CPU".
    race: Cell<bool>,
    /// The tables as a unit sees them that does not look into the processor's caches.
    seen: RefCell<Vec<Vec<u64>>>,
}

impl Mem {
    fn new() -> Self {
        Self {
            tables: RefCell::new(Vec::new()),
            budget: Cell::new(usize::MAX),
            race: Cell::new(false),
            seen: RefCell::new(Vec::new()),
        }
    }

    fn live(&self) -> usize {
        self.tables.borrow().iter().flatten().count()
    }
}

impl TableMem for Mem {
    type Table = usize;

    fn alloc(&self) -> Option<usize> {
        self.budget.set(self.budget.get().checked_sub(1)?);
        let mut t = self.tables.borrow_mut();
        t.push(Some(vec![0; ITEMS]));
        self.seen.borrow_mut().push(vec![u64::MAX; ITEMS]);
        Some(t.len() - 1)
    }

    fn free(&self, table: usize) {
        assert!(self.tables.borrow_mut()[table].take().is_some());
    }

    fn oa(&self, table: usize) -> Oa {
        Oa((table as u64 + 1) << 12)
    }

    fn table_at(&self, oa: Oa) -> usize {
        (oa.0 >> 12) as usize - 1
    }

    fn name(&self, table: usize) -> u64 {
        // As the kernel's own addresses.
        u64::MAX << 47 | self.oa(table).0
    }

    fn named(&self, name: u64) -> usize {
        assert_eq!(name >> 47, u64::MAX >> 47);
        self.table_at(Oa(name & (u64::MAX >> 17)))
    }

    fn load(&self, table: usize, index: usize) -> u64 {
        self.tables.borrow()[table].as_ref().unwrap()[index]
    }

    fn store(&self, table: usize, index: usize, word: u64) {
        self.tables.borrow_mut()[table].as_mut().unwrap()[index] = word;
    }

    fn cmpxchg(&self, table: usize, index: usize, old: u64, new: u64) -> Result<(), u64> {
        if self.race.take() {
            let theirs = self.alloc().unwrap();
            let child = ((new >> 9) & 7) as u8 - 1;
            self.store(table, index, AmdV1::table(self.oa(theirs), child));
        }
        let is = self.load(table, index);
        if is == old {
            self.store(table, index, new);
            Ok(())
        } else {
            Err(is)
        }
    }

    fn swap(&self, table: usize, index: usize, word: u64) -> u64 {
        let old = self.load(table, index);
        self.store(table, index, word);
        old
    }

    fn written(&self, table: usize, first: usize, count: usize) {
        let tables = self.tables.borrow();
        let run = &tables[table].as_ref().unwrap()[first..first + count];
        self.seen.borrow_mut()[table][first..first + count].copy_from_slice(run);
    }
}

/// A unit that does not look into the processor's caches.
struct Walker<'a>(&'a Mem);

impl TableMem for Walker<'_> {
    type Table = usize;

    fn alloc(&self) -> Option<usize> {
        None
    }

    fn free(&self, _table: usize) {}

    fn oa(&self, table: usize) -> Oa {
        self.0.oa(table)
    }

    fn table_at(&self, oa: Oa) -> usize {
        self.0.table_at(oa)
    }

    fn name(&self, table: usize) -> u64 {
        self.0.name(table)
    }

    fn named(&self, name: u64) -> usize {
        self.0.named(name)
    }

    fn load(&self, table: usize, index: usize) -> u64 {
        self.0.seen.borrow()[table][index]
    }

    fn store(&self, _table: usize, _index: usize, _word: u64) {}

    fn cmpxchg(&self, _table: usize, _index: usize, _old: u64, new: u64) -> Result<(), u64> {
        Err(new)
    }

    fn swap(&self, _table: usize, _index: usize, word: u64) -> u64 {
        word
    }
}

fn root(mem: &Mem, levels: u8) -> Root<usize> {
    root_of::<AmdV1>(mem, levels)
}

fn root_of<F: Format>(mem: &Mem, levels: u8) -> Root<usize> {
    let table = mem.alloc().unwrap();
    mem.written(table, 0, ITEMS);
    Root {
        table,
        level: levels - 1,
        page_sizes: F::PAGE_SIZES,
    }
}

type Model = BTreeMap<u64, (u64, Perm)>;

/// A page is as the model says, for the driver and for a unit.
fn check<F: Format>(mem: &Mem, root: Root<usize>, model: &Model, pages: impl Iterator<Item = u64>) {
    for page in pages {
        let at = Iova(page << 12);
        let is = lookup::<F, _>(mem, root, at).map(|(oa, perm, _)| (oa.0, perm));
        assert_eq!(is, model.get(&page).copied(), "page {page:#x}");
        let seen = lookup::<F, _>(&Walker(mem), root, at).map(|(oa, perm, _)| (oa.0, perm));
        assert_eq!(seen, is, "page {page:#x} as a unit sees it");
    }
}

/// One call: map or not, the page, the number of pages, the output page, the permissions.
type Op = (bool, u64, u64, u64, usize);

fn like_a_map_of_pages<F: Format>(ops: Vec<Op>, base: u64, levels: u8, perms: [Perm; 3]) {
    let mem = Mem::new();
    let r = root_of::<F>(&mem, levels);
    let mut model = Model::new();
    // What was mapped by one call is unmapped by one call, as the core does it.
    let mut live: Vec<(u64, u64)> = Vec::new();
    for (is_map, page, len, oa, perm) in ops {
        let perm = perms[perm];
        let page = base + page;
        if is_map {
            let free = (page..page + len)
                .take_while(|p| !model.contains_key(p))
                .count() as u64;
            let got = map::<F, _>(&mem, r, Iova(page << 12), Oa(oa << 12), len << 12, perm);
            let done = match got {
                Ok(()) => len,
                Err(e) => e.mapped_bytes >> 12,
            };
            assert!(done <= free);
            assert_eq!(got.is_ok(), free == len);
            for i in 0..done {
                model.insert(page + i, ((oa + i) << 12, perm));
            }
            if done > 0 {
                live.push((page, done));
            }
        } else if !live.is_empty() {
            let (page, len) = live.swap_remove(page as usize % live.len());
            let u = unmap::<F, _>(&mem, r, Iova(page << 12), len << 12);
            assert_eq!(u.bytes, len << 12);
            assert_eq!(u.cleared, Range::with_len(page << 12, len << 12));
            for i in 0..len {
                model.remove(&(page + i));
            }
        }
        check::<F>(&mem, r, &model, base..base + 2800);
    }
    free_all::<F, _>(&mem, r);
    assert_eq!(mem.live(), 0);
}

#[test]
fn largest_pages_are_used() {
    let mem = Mem::new();
    let r = root(&mem, 4);
    let big = |iova, oa, len, lg2| {
        map::<AmdV1, _>(&mem, r, Iova(iova), Oa(oa), len, Perm::RW).unwrap();
        assert_eq!(lookup::<AmdV1, _>(&mem, r, Iova(iova)).unwrap().2, lg2);
    };
    big(0x4000_0000, 0x8000_0000, 0x4000_0000, 30);
    big(0x20_0000, 0x40_0000, 0x20_0000, 21);
    big(0x1_0000, 0x3_0000, 0x1_0000, 16);
    big(0x1000, 0x2000, 0x1000, 12);
    big(0x80_0000_0000, 0x100_0000_0000, 0x40_0000_0000, 38);
}

#[test]
fn a_live_leaf_is_not_overwritten() {
    let mem = Mem::new();
    let r = root(&mem, 4);
    map::<AmdV1, _>(&mem, r, Iova(0x3000), Oa(0x1000), 0x1000, Perm::RW).unwrap();
    let e = map::<AmdV1, _>(&mem, r, Iova(0x1000), Oa(0x9000), 0x4000, Perm::RO).unwrap_err();
    // The page before the live one would have been the first half of an 8 KiB entry.
    assert_eq!(e.mapped_bytes, 0x1000);
    assert_eq!(e.cause, MapError::AlreadyMapped(Iova(0x2000)));
    assert_eq!(
        lookup::<AmdV1, _>(&mem, r, Iova(0x3000)),
        Some((Oa(0x1000), Perm::RW, 12))
    );
}

#[test]
fn a_table_in_the_way_is_filled_not_replaced() {
    let mem = Mem::new();
    let r = root(&mem, 4);
    map::<AmdV1, _>(&mem, r, Iova(0x20_0000), Oa(0x1000), 0x1000, Perm::RW).unwrap();
    assert_eq!(
        unmap::<AmdV1, _>(&mem, r, Iova(0x20_0000), 0x1000).bytes,
        0x1000
    );
    let tables = mem.live();
    map::<AmdV1, _>(&mem, r, Iova(0), Oa(0), 0x80_0000, Perm::RW).unwrap();
    let size = |iova| lookup::<AmdV1, _>(&mem, r, Iova(iova)).unwrap().2;
    assert!(size(0x20_0000) < 21 && size(0x40_0000) >= 21);
    assert!(mem.live() <= tables + 1);
    assert_eq!(
        unmap::<AmdV1, _>(&mem, r, Iova(0), 0x80_0000).bytes,
        0x80_0000
    );
}

#[test]
fn a_large_entry_goes_whole_and_is_reported_whole() {
    let mem = Mem::new();
    let r = root(&mem, 4);
    map::<AmdV1, _>(&mem, r, Iova(0x10000), Oa(0x30000), 0x10000, Perm::RW).unwrap();
    let u = unmap::<AmdV1, _>(&mem, r, Iova(0x10000), 0x1000);
    assert_eq!(u.bytes, 0x10000);
    assert_eq!(u.cleared, Range::new(0x10000, 0x1ffff));
    assert_eq!(lookup::<AmdV1, _>(&mem, r, Iova(0x1f000)), None);
}

#[test]
fn ranges_outside_the_root_are_refused() {
    let mem = Mem::new();
    for levels in 1..=6u8 {
        let r = root(&mem, levels);
        let top = last_iova(levels);
        let at = Iova(top & !0xfff);
        map::<AmdV1, _>(&mem, r, at, Oa(0x5000), 0x1000, Perm::RW).unwrap();
        assert_eq!(
            lookup::<AmdV1, _>(&mem, r, Iova(top)).unwrap().0,
            Oa(0x5fff)
        );
        let e = map::<AmdV1, _>(&mem, r, at, Oa(0x5000), 0x2000, Perm::RW);
        assert_eq!(e.unwrap_err().cause, MapError::BadRange);
        assert_eq!(unmap::<AmdV1, _>(&mem, r, at, 0x2000).bytes, 0x1000);
    }
}

#[test]
fn the_loser_of_an_install_race_uses_the_winners_table() {
    let mem = Mem::new();
    let r = root(&mem, 4);
    mem.race.set(true);
    map::<AmdV1, _>(&mem, r, Iova(0x1000), Oa(0x7000), 0x1000, Perm::RW).unwrap();
    assert!(lookup::<AmdV1, _>(&mem, r, Iova(0x1000)).is_some());
    free_all::<AmdV1, _>(&mem, r);
    assert_eq!(mem.live(), 0);
}

#[test]
fn each_failing_allocation_leaves_a_mapped_prefix_and_no_leak() {
    for budget in 1..12 {
        let mem = Mem::new();
        mem.budget.set(budget);
        let r = root(&mem, 4);
        let at = 0x7fff_ffff_0000u64 - 0x40_0000;
        let len = 0x80_0000;
        let got = map::<AmdV1, _>(&mem, r, Iova(at), Oa(0x1000), len, Perm::RW);
        let mapped = match got {
            Ok(()) => len,
            Err(e) => {
                assert_eq!(e.cause, MapError::NoMemory);
                e.mapped_bytes
            }
        };
        for page in 0..len >> 12 {
            let is = lookup::<AmdV1, _>(&mem, r, Iova(at + (page << 12))).is_some();
            assert_eq!(is, page << 12 < mapped);
        }
        assert_eq!(unmap::<AmdV1, _>(&mem, r, Iova(at), mapped).bytes, mapped);
        free_all::<AmdV1, _>(&mem, r);
        assert_eq!(mem.live(), 0);
    }
}

proptest! {
    #[test]
    fn maps_and_unmaps_like_a_map_of_pages(
        ops in proptest::collection::vec((any::<bool>(), 0u64..2048, 1u64..700, 0u64..4096, 0usize..3), 1..60),
        base in prop_oneof![Just(0u64), Just(0x3_ff00), Just(0x7_ffff_f000 - 0x1000)],
        levels in 4u8..=6,
    ) {
        like_a_map_of_pages::<AmdV1>(ops.clone(), base, levels, [Perm::RW, Perm::RO, Perm::WO]);
        like_a_map_of_pages::<VtdSs>(ops.clone(), base, levels.min(5), [Perm::RW, Perm::RO, Perm::WO]);
        // A first-stage leaf that may be written may be read.
        like_a_map_of_pages::<X86>(ops, base, levels.min(5), [Perm::RW, Perm::RO, Perm::RW]);
    }

    #[test]
    fn the_page_size_is_the_largest_that_fits(iova in 0u64..1 << 40, oa in 0u64..1 << 40, len in 1u64..1 << 30) {
        let (iova, oa, len) = (iova & !0xfff, oa & !0xfff, (len + 0xfff) & !0xfff);
        let mem = Mem::new();
        let r = root(&mem, 4);
        map::<AmdV1, _>(&mem, r, Iova(iova), Oa(oa), len, Perm::RW).unwrap();
        let is = lookup::<AmdV1, _>(&mem, r, Iova(iova)).unwrap().2;
        let want = (12..48)
            .rev()
            .find(|n| AmdV1::PAGE_SIZES >> n & 1 != 0 && (iova | oa) % (1 << n) == 0 && len >= 1 << n)
            .unwrap();
        prop_assert_eq!(is, want);
    }
}

/// Leaf tables written without a walk say the same as the mapper would, and a unit sees it.
fn leaves_are_as_mapped<F: Format>(first: usize, count: usize, oa: u64) {
    let mem = Mem::new();
    let root = root_of::<F>(&mem, 3);
    let (base, oa) = (7u64 << 21, oa << 12);
    let table = leaf::leaf_table::<F, _>(&mem, root, Iova(base)).unwrap();
    assert_eq!(
        leaf::leaf_table::<F, _>(&mem, root, Iova(base + 0x1000)),
        Ok(table)
    );
    assert_eq!(leaf::clear(&mem, table, first, count), Err(leaf::NotMapped));
    leaf::fill::<F, _>(&mem, table, first, Oa(oa), count, Perm::RO, root.page_sizes);
    mem.written(table, first, count);
    for i in 0..ITEMS {
        let at = Iova(base + ((i as u64) << 12));
        let found = lookup::<F, _>(&Walker(&mem), root, at).map(|(a, p, _)| (a.0, p));
        let is = (first..first + count).contains(&i);
        // First-stage tables have no read-only for nobody's sake but the unit's: they do have it.
        assert_eq!(
            found,
            is.then(|| (oa + ((i - first) as u64) * 4096, Perm::RO))
        );
    }
    assert_eq!(leaf::extent(&mem, table, first, ITEMS - first), count);
    leaf::clear(&mem, table, first, count).unwrap();
    mem.written(table, first, count);
    assert_eq!(leaf::clear(&mem, table, first, count), Err(leaf::NotMapped));
    assert!((0..ITEMS).all(|i| mem.load(table, i) == 0));
    assert_eq!(leaf::detach::<F, _>(&mem, root, Iova(base)), Some(table));
    assert_eq!(leaf::detach::<F, _>(&mem, root, Iova(base)), None);
    assert_eq!(lookup::<F, _>(&Walker(&mem), root, Iova(base)), None);
    mem.free(table);
    free_all::<F, _>(&mem, root);
    assert_eq!(mem.live(), 0);
}

proptest! {
    #[test]
    fn leaves_without_a_walk(first in 0usize..512, count in 1usize..513, oa in 0u64..1 << 30) {
        let count = count.min(ITEMS - first);
        leaves_are_as_mapped::<AmdV1>(first, count, oa);
        leaves_are_as_mapped::<VtdSs>(first, count, oa);
        leaves_are_as_mapped::<X86>(first, count, oa);
    }
}
