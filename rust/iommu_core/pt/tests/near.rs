// SPDX-License-Identifier: GPL-2.0

//! The cache of leaf tables, and large pages in the place of leaf tables.

use super::{
    super::near::Near,
    *, //
};

/// With the cache of leaf tables everything is as without.
fn near_is_as_far<F: Format>(ops: &[(bool, u64, u64, u64)]) {
    let (mem, other) = (Mem::new(), Mem::new());
    let (root, plain) = (root_of::<F>(&mem, 4), root_of::<F>(&other, 4));
    let near = Near::<crate::slab::StdEnv>::new();
    for (maps, at, pages, oa) in ops {
        // A handful of chunks that share entries of the cache.
        let (at, len) = (
            (at % 1200 + ((at % 3) << 24)) << 12,
            (pages % 40 / 3 + 1) << 12,
        );
        let (iova, oa) = (Iova(at), Oa(oa << 12));
        if *maps && len == 4096 && near.map_page::<F, _>(&mem, iova, oa, Perm::RW) {
            map::<F, _>(&other, plain, iova, oa, len, Perm::RW).unwrap();
        } else if !*maps && len == 4096 && near.unmap_page::<F, _>(&mem, iova) {
            assert_eq!(
                unmap::<F, _>(&other, plain, iova, len).cleared,
                Range::with_len(at, len)
            );
        } else if *maps {
            let a = near.map::<F, _>(&mem, root, iova, oa, len, Perm::RW);
            let b = map::<F, _>(&other, plain, iova, oa, len, Perm::RW);
            assert_eq!(a.is_ok(), b.is_ok());
            if let (Err(a), Err(b)) = (a, b) {
                // How much was mapped before may differ; the caller unmaps that.
                unmap::<F, _>(&mem, root, iova, a.mapped_bytes);
                unmap::<F, _>(&other, plain, iova, b.mapped_bytes);
            }
        } else {
            let a = near.unmap::<F, _>(&mem, root, iova, len);
            let b = unmap::<F, _>(&other, plain, iova, len);
            assert_eq!((a.bytes, a.cleared), (b.bytes, b.cleared));
        }
        for page in (at >> 12).saturating_sub(50)..(at >> 12) + 90 {
            let iova = Iova(page << 12 | 0x123);
            let want = lookup::<F, _>(&other, plain, iova).map(|(oa, _, _)| oa);
            let far = lookup::<F, _>(&Walker(&mem), root, iova).map(|(oa, _, _)| oa);
            assert_eq!(far, want);
            assert_eq!(near.lookup::<F, _>(&mem, iova).or(far), want);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_cache_of_leaf_tables_changes_nothing(
        ops in proptest::collection::vec((any::<bool>(), 0u64..4000, 0u64..40, 0u64..1 << 20), 1..60)
    ) {
        near_is_as_far::<AmdV1>(&ops);
        near_is_as_far::<VtdSs>(&ops);
        near_is_as_far::<X86>(&ops);
    }
}

#[test]
fn a_leaf_table_is_known_once_it_was_used() {
    let mem = Mem::new();
    let root = root_of::<VtdSs>(&mem, 4);
    let near = Near::<crate::slab::StdEnv>::new();
    let (first, second) = (Iova(0x5000), Iova(0x6000));
    assert!(!near.map_page::<VtdSs, _>(&mem, first, Oa(0x1000), Perm::RW));
    near.map::<VtdSs, _>(&mem, root, first, Oa(0x1000), 4096, Perm::RW)
        .unwrap();
    assert!(near.map_page::<VtdSs, _>(&mem, second, Oa(0x2000), Perm::RW));
    assert!(near.unmap_page::<VtdSs, _>(&mem, first));
    let found = lookup::<VtdSs, _>(&Walker(&mem), root, second).unwrap();
    assert_eq!(found.0, Oa(0x2000));
    let known = |iova| near.lookup::<VtdSs, _>(&mem, iova);
    assert_eq!((known(second), known(first)), (Some(found.0), None));
}

/// A large page takes the place of an empty table, and only of an empty one.
fn large_in_place_of_small<F: Format>() {
    const LARGE: u64 = 1 << 21;
    let mem = Mem::new();
    let root = root_of::<F>(&mem, 4);
    let near = Near::<crate::slab::StdEnv>::new();
    let (iova, oa) = (Iova(3 * LARGE), Oa(7 * LARGE));
    let small =
        |near: &Near<_>| near.map::<F, _>(&mem, root, Iova(4 * LARGE), Oa(0x1000), 4096, Perm::RW);
    small(&near).unwrap();
    // Two large pages, of which the second has a table in the way.
    let map = || near.map::<F, _>(&mem, root, iova, oa, 2 * LARGE, Perm::RW);
    let stopped = MapFailure {
        mapped_bytes: LARGE,
        cause: MapError::Table(Iova(4 * LARGE)),
    };
    assert_eq!(map(), Err(stopped));
    unmap::<F, _>(&mem, root, iova, LARGE);
    assert_eq!(
        leaf::detach_empty::<F, _>(&mem, root, Iova(4 * LARGE)),
        None
    );
    near.unmap::<F, _>(&mem, root, Iova(4 * LARGE), 4096);
    assert_eq!(map(), Err(stopped));
    unmap::<F, _>(&mem, root, iova, LARGE);
    near.forget(Iova(4 * LARGE));
    let table = leaf::detach_empty::<F, _>(&mem, root, Iova(4 * LARGE)).unwrap();
    map().unwrap();
    let seen = lookup::<F, _>(&Walker(&mem), root, Iova(4 * LARGE + 0x5123)).unwrap();
    assert_eq!((seen.0, seen.2), (Oa(8 * LARGE + 0x5123), 21));
    // Small ones after it are in another table.
    near.unmap::<F, _>(&mem, root, iova, 2 * LARGE);
    mem.free(table);
    small(&near).unwrap();
    assert!(lookup::<F, _>(&Walker(&mem), root, Iova(4 * LARGE)).is_some());
}

#[test]
fn large_pages_take_the_place_of_empty_tables() {
    large_in_place_of_small::<AmdV1>();
    large_in_place_of_small::<VtdSs>();
    large_in_place_of_small::<X86>();
}
