// SPDX-License-Identifier: GPL-2.0

//! What is put off comes back, as often and as long as it was; ranges cover it and leave other chunks
//! alone.

use std::vec::Vec;

use proptest::prelude::*;

use super::{
    defer::{
        Batch,
        Deferred,
        Put,
        Spans,
        BATCH, //
    },
    Std,
};

#[test]
fn an_object_is_one_word() {
    let d = Deferred::new(0x7f_ffff_f000, 4096).unwrap();
    assert_eq!((d.iova(), d.span().pages), (0x7f_ffff_f000, 4096));
    for (iova, pages) in [(0x1000, 0), (0x1000, 4097), (0, 1), (0x1800, 1)] {
        assert_eq!(Deferred::new(iova, pages), None, "{iova:#x} {pages}");
    }
}

#[test]
fn a_batch_says_when_it_is_full() {
    let batch = Batch::<Std>::new();
    let put = |i: u64| batch.put(Deferred::new(i << 12, 1).unwrap());
    for _ in 0..3 {
        let answers: Vec<_> = (1..=BATCH as u64).map(put).collect();
        assert_eq!(answers[..BATCH - 1], [Put::Kept; BATCH - 1]);
        assert_eq!(answers[BATCH - 1], Put::Filled);
        assert_eq!(put(99), Put::Refused);
        let all: Vec<_> = batch.take().map(|d| d.iova() >> 12).collect();
        assert_eq!(all, (1..=BATCH as u64).collect::<Vec<_>>());
        assert_eq!(batch.take().count(), 0);
    }
}

proptest! {
    #[test]
    fn ranges_cover_what_waits(objects in prop::collection::vec((1u64..5, 0u64..16, 0u32..5), 0..BATCH)) {
        let all: Vec<_> = objects
            .iter()
            .map(|(chunk, place, order)| Deferred::new(chunk << 21 | place << (12 + order), 1 << order).unwrap())
            .collect();
        let spans: Vec<_> = Spans::of(all.iter().copied()).collect();
        for d in &all {
            let s = d.span();
            prop_assert!(spans.iter().any(|r| r.first <= s.first && s.first + (s.pages << 12) <= r.first + (r.pages << 12)));
        }
        for r in &spans {
            prop_assert_eq!(r.first >> 21, (r.first + (r.pages << 12) - 1) >> 21);
            // As one block for a command, too.
            let (first, lg2) = r.cover();
            prop_assert!(first <= r.first && r.first + (r.pages << 12) <= first + (4096 << lg2));
            prop_assert!(first % (4096 << lg2) == 0 && lg2 <= 9);
        }
        prop_assert!(spans.len() <= all.len());
    }
}

#[test]
fn objects_go_back_together() {
    let s = super::space((1 << 30) - 1, 2);
    let before = s.counts();
    let taken: Vec<_> = (0..300u32)
        .map(|i| {
            s.alloc(0, [1, 1, 2, 16, 256][i as usize % 5], u64::MAX)
                .unwrap()
                .iova
        })
        .collect();
    assert!(s.free_all(taken.iter().copied()).is_ok());
    assert_eq!(s.counts().used_pages(), before.used_pages());
    // What is free or begins nowhere is told, and the others go back all the same.
    let one = s.alloc(0, 1, u64::MAX).unwrap().iova;
    assert_eq!(
        s.free_all([0x7f_0000_0000, one].into_iter()),
        Err(0x7f_0000_0000)
    );
    assert_eq!(s.free_all([one].into_iter()), Err(one));
    assert_eq!(s.counts().used_pages(), before.used_pages());
}
