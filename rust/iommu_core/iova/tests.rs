// SPDX-License-Identifier: GPL-2.0

//! The allocator against a model, and by example.

use super::*;
use proptest::prelude::*;
use std::{boxed::Box, collections::BTreeMap, vec::Vec};

struct Block(Box<Bits>);
impl AsRef<Bits> for Block {
    fn as_ref(&self) -> &Bits {
        &self.0
    }
}
impl AsMut<Bits> for Block {
    fn as_mut(&mut self) -> &mut Bits {
        &mut self.0
    }
}
type Alloc = Allocator<Vec<Slot<Block>>, Block>;

fn allocator(windows: usize) -> Alloc {
    Allocator::new((0..windows).map(|_| Slot::EMPTY).collect())
}

fn fill<R>(a: &mut Alloc, f: impl Fn(&mut Alloc) -> Result<R, Refusal>) -> Result<R, Refusal> {
    loop {
        match f(a) {
            Err(Refusal::NeedWindow(i)) => {
                assert!(a.install(i, Block(Box::new([0; WORDS]))).is_ok())
            }
            r => return r,
        }
    }
}

fn get(a: &mut Alloc, pages: u32, limit: u64, boundary: u64) -> Result<u64, Refusal> {
    fill(a, |a| {
        a.alloc(Request {
            pages,
            limit,
            boundary,
        })
    })
    .map(|i| i.0)
}

#[test]
fn page_zero_is_never_given_out_and_calls_ascend() {
    let mut a = allocator(4);
    let first: Vec<_> = (0..3)
        .map(|_| get(&mut a, 1, u64::MAX, u64::MAX).unwrap())
        .collect();
    assert_eq!(first, [0x1000, 0x2000, 0x3000]);
    assert_eq!(get(&mut a, 1, 0xfff, u64::MAX), Err(Refusal::Full));
}

#[test]
fn impossible_requests_are_told_apart_from_full_ones() {
    let mut a = allocator(1);
    assert_eq!(get(&mut a, 0, u64::MAX, u64::MAX), Err(Refusal::Impossible));
    assert_eq!(
        get(&mut a, WINDOW_PAGES + 1, u64::MAX, u64::MAX),
        Err(Refusal::Impossible)
    );
    assert_eq!(get(&mut a, 3, u64::MAX, 0x1fff), Err(Refusal::Impossible));
    // Page 0 is reserved, so a whole window is never free here.
    assert_eq!(
        get(&mut a, WINDOW_PAGES, u64::MAX, u64::MAX),
        Err(Refusal::Full)
    );
}

#[test]
fn a_full_space_works_again_after_releases() {
    let mut a = allocator(1);
    let mut n = 0;
    while get(&mut a, 1, u64::MAX, u64::MAX).is_ok() {
        n += 1;
    }
    assert_eq!(n, WINDOW_PAGES - 1);
    a.release(Range::with_len(0x5000, 0x1000).unwrap()).unwrap();
    assert_eq!(get(&mut a, 1, u64::MAX, u64::MAX), Ok(0x5000));
    assert_eq!(get(&mut a, 1, u64::MAX, u64::MAX), Err(Refusal::Full));
}

#[test]
fn wild_and_double_frees_change_nothing() {
    let mut a = allocator(2);
    let r = |first, len| Range::with_len(first, len).unwrap();
    let at = get(&mut a, 4, u64::MAX, u64::MAX).unwrap();
    assert!(matches!(
        a.release(r(at, 0x5000)),
        Err(BadFree::NotInUse(_))
    ));
    a.release(r(at, 0x4000)).unwrap();
    assert!(matches!(
        a.release(r(at, 0x4000)),
        Err(BadFree::NotInUse(_))
    ));
    assert!(matches!(a.release(r(0, 0x1000)), Err(BadFree::Reserved(_))));
    assert!(matches!(
        a.release(r(1 << 40, 0x1000)),
        Err(BadFree::NotInUse(_))
    ));
}

#[test]
fn claims_clash_with_allocations_and_not_with_reservations() {
    let mut a = allocator(4);
    let r = |first, len| Range::with_len(first, len).unwrap();
    a.reserve(r(0x123_4567, 0x1000)).unwrap();
    fill(&mut a, |a| a.claim(r(0x123_4000, 0x1000))).unwrap();
    let at = get(&mut a, 2, u64::MAX, u64::MAX).unwrap();
    assert_eq!(
        fill(&mut a, |a| a.claim(r(at + 0x1000, 0x1000))),
        Err(Refusal::Full)
    );
    // Across a window's end, and beyond the last window.
    let end = 1u64 << WINDOW_SHIFT;
    fill(&mut a, |a| a.claim(r(end - 0x1000, 0x2000))).unwrap();
    assert_eq!(
        fill(&mut a, |a| a.claim(r(end, 0x1000))),
        Err(Refusal::Full)
    );
    a.release(r(end - 0x1000, 0x2000)).unwrap();
    fill(&mut a, |a| a.claim(r(1 << 45, 0x1000))).unwrap();
}

proptest! {
    #[test]
    fn behaves_like_a_map_of_ranges(
        ops in proptest::collection::vec(
            (0u8..4, prop_oneof![1u32..80, Just(512), Just(8192), Just(20000)], any::<u16>(), 0u8..4), 1..300),
        reserved in proptest::collection::vec((0u64..1 << 29, 1u64..1 << 21), 0..4),
    ) {
        let mut a = allocator(3);
        let mut live: BTreeMap<u64, u64> = BTreeMap::new();
        let reserved: Vec<Range> = reserved
            .into_iter()
            .map(|(f, l)| Range::with_len(f, l).unwrap())
            .chain(Range::with_len(0, 0x1000))
            .collect();
        for r in &reserved {
            a.reserve(*r).unwrap();
        }
        for (what, pages, pick, lim) in ops {
            if what < 3 {
                let limit = [u64::MAX, 0xff_ffff, 0x87f_ffff, 0x1234_5678][usize::from(lim)];
                let boundary = if what == 0 { 0xff_ffff } else { u64::MAX };
                match get(&mut a, pages, limit, boundary) {
                    Ok(at) => {
                        let r = Range::with_len(at, u64::from(pages) << 12).unwrap();
                        prop_assert!(r.last() <= limit);
                        prop_assert_eq!(r.first() & !boundary, r.last() & !boundary);
                        prop_assert_eq!(at % (u64::from(pages.next_power_of_two()) << 12), 0);
                        prop_assert!(!reserved.iter().any(|x| x.page_cover().overlaps(&r)));
                        let before = live.range(..=r.last()).next_back();
                        prop_assert!(before.is_none_or(|(f, l)| f + l <= at));
                        live.insert(at, r.len_bytes());
                    }
                    Err(Refusal::Full) => {
                        // A brute-force search agrees that there is no place.
                        let step = u64::from(pages.next_power_of_two()) << 12;
                        let len = u64::from(pages) << 12;
                        let end = (3u64 << WINDOW_SHIFT).min(limit.saturating_add(1));
                        let mut at = 0;
                        while at + len <= end {
                            let r = Range::with_len(at, len).unwrap();
                            let used = reserved.iter().any(|x| x.page_cover().overlaps(&r))
                                || live.range(..=r.last()).next_back().is_some_and(|(f, l)| f + l > at);
                            prop_assert!(used, "{:#x} was free for {} pages", at, pages);
                            at += step;
                        }
                    }
                    Err(e) => prop_assert_eq!(e, Refusal::Impossible),
                }
            } else if let Some((f, l)) = live.iter().nth(usize::from(pick) % live.len().max(1)).map(|(f, l)| (*f, *l)) {
                a.release(Range::with_len(f, l).unwrap()).unwrap();
                live.remove(&f);
            }
            let c = a.counts();
            prop_assert_eq!(c.free + c.used, c.windows as u64 * u64::from(WINDOW_PAGES));
        }
    }
}
