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
        iova::{
            Allocator,
            Refusal,
            Request, //
        },
        pt::{
            self,
            amd_v1::AmdV1,
            Format,
            Root,
            TableMem, //
        },
    };
    use kernel_iommu::hw_pages::{
        Gfp,
        HwPages, //
    };

    use crate::glue::{
        Slots,
        Tables,
        Window, //
    };

    #[test]
    fn tables_of_the_kernel_hold_what_is_mapped() {
        let mem = Tables {
            gfp: Gfp::Kernel,
            flush: true,
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

    #[test]
    fn windows_are_asked_for_and_installed() {
        let Ok(slots) = Slots::new(2) else { return };
        let mut a = Allocator::new(slots);
        let req = Request {
            pages: 1,
            limit: u64::MAX,
            boundary: u64::MAX,
        };
        assert_eq!(a.alloc(req), Err(Refusal::NeedWindow(0)));
        let Ok(window) = Window::new(Gfp::Kernel) else {
            return;
        };
        assert!(a.install(0, window).is_ok());
        assert_eq!(a.alloc(req), Ok(Iova(0x1000)));
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
