// SPDX-License-Identifier: GPL-2.0

//! In-kernel tests of the seam: the core crate's algorithms on the kernel's memory.

#[kernel::macros::kunit_tests(rust_iommu)]
mod tests {
    use iommu_core::{
        addr::{
            Iova,
            Oa,
            Perm, //
        },
        pt::{
            self,
            amd_v1::AmdV1,
            Format,
            Root,
            TableMem, //
        },
        slab::Use, //
    };
    use kernel::prelude::*;
    use kernel_iommu::hw_pages::{
        Gfp,
        HwPages, //
    };

    use crate::{
        addresses::Addresses,
        glue::Tables, //
    };

    #[test]
    fn tables_of_the_kernel_hold_what_is_mapped() {
        let mem = Tables {
            gfp: Gfp::Kernel,
            flush: true,
            reserve: None,
        };
        let Some(table) = mem.alloc() else { return };
        let root = Root {
            table,
            level: 3,
            page_sizes: AmdV1::PAGE_SIZES,
        };
        assert!(mem.table_at(mem.oa(table)) == table);
        let mapped = pt::map::<AmdV1, _>(
            &mem,
            root,
            Iova(0x1f_f000),
            Oa(0x8000_0000),
            0x3000,
            Perm::RW,
        );
        assert!(mapped.is_ok());
        let at = |iova| pt::lookup::<AmdV1, _>(&mem, root, Iova(iova)).map(|(oa, _, _)| oa.0);
        assert_eq!(at(0x1f_f123), Some(0x8000_0123));
        assert_eq!(at(0x20_1fff), Some(0x8000_2fff));
        assert_eq!(at(0x20_2000), None);
        let gone = pt::unmap::<AmdV1, _>(&mem, root, Iova(0x1f_f000), 0x3000);
        assert_eq!(gone.bytes, 0x3000);
        assert_eq!(at(0x20_0000), None);
        pt::free_all::<AmdV1, _>(&mem, root);
    }

    /// A million random calls on 1 GiB: no page is given out twice, everything comes back.
    #[test]
    fn addresses_are_given_out_once() {
        const PAGES: usize = 1 << 18;
        let Ok(addresses) = Addresses::new((1 << 30) - 1) else {
            return;
        };
        let space = &addresses.space;
        let (mut used, mut live) = (KVVec::new(), KVVec::new());
        if used.extend_with(PAGES, false, GFP_KERNEL).is_err() {
            return;
        }
        let start = space.counts().used_pages();
        let mut random = 1u32;
        let mut next = |below: u32| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) % below
        };
        for i in 0..1_000_000 {
            if next(100) < 52 || live.is_empty() {
                let pages = match next(100) {
                    0..=69 => 1,
                    70..=94 => 2 + next(15),
                    95..=98 => 32 + next(225),
                    _ => 512 + next(2000),
                };
                let Ok(o) = space.alloc(i % 7, pages, u64::MAX) else {
                    continue;
                };
                let first = (o.iova >> 12) as usize;
                for page in first..first + pages as usize {
                    assert!(page > 0 && page < PAGES && !used[page]);
                    used[page] = true;
                }
                assert!(o.used_for != Use::None);
                if live.push((o.iova, pages), GFP_KERNEL).is_err() {
                    return;
                }
            } else {
                let at = next(live.len() as u32) as usize;
                let last = live.len() - 1;
                live.swap(at, last);
                let Some((iova, pages)) = live.pop() else {
                    return;
                };
                let first = (iova >> 12) as usize;
                for page in first..first + pages as usize {
                    used[page] = false;
                }
                let freed = space.object(iova).and_then(|o| space.free(&o));
                assert!(freed.is_ok());
            }
            if i % 100_000 == 0 {
                space.drain();
                while let Some((c, _)) = space.reclaim(0) {
                    space.reclaimed(c);
                }
            }
        }
        for (iova, _) in live.iter() {
            assert!(space.object(*iova).and_then(|o| space.free(&o)).is_ok());
        }
        space.drain();
        let end = space.counts();
        assert_eq!(end.used_pages(), start);
        assert_eq!((end.runs, end.in_slots.iter().sum::<u32>()), (0, 0));
    }

    #[test]
    fn pairs_are_written_whole_and_in_bounds() {
        let Ok(pages) = HwPages::new(4096, Gfp::Kernel) else {
            return;
        };
        pages.write_pair(2, 0x1111, 0x2222);
        assert_eq!((pages.read(1), pages.read(2)), (0, 0x1111));
        assert_eq!((pages.read(3), pages.read(4)), (0x2222, 0));
        // Odd and out of bounds: nothing happens.
        pages.write_pair(5, 1, 1);
        pages.write_pair(512, 1, 1);
        assert_eq!((pages.read(5), pages.read(512)), (0, 0));
    }
}
