// SPDX-License-Identifier: GPL-2.0

//! A heap sort that cannot panic and needs no memory: the library's sorts have panics inside.

/// Sorts in place by ascending `key`; elements of equal keys end up in any order.
pub fn sort_by_key<T: Copy, K: Ord>(items: &mut [T], key: impl Fn(&T) -> K) {
    let len = items.len();
    for at in (0..len / 2).rev() {
        sift(items, at, len, &key);
    }
    for end in (1..len).rev() {
        swap(items, 0, end);
        sift(items, 0, end, &key);
    }
}

fn swap<T: Copy>(items: &mut [T], i: usize, j: usize) {
    if let (Some(x), Some(y)) = (items.get(i).copied(), items.get(j).copied()) {
        for (at, item) in [(i, y), (j, x)] {
            if let Some(slot) = items.get_mut(at) {
                *slot = item;
            }
        }
    }
}

/// Moves item `at` down the heap of the first `len` items to its place.
fn sift<T: Copy, K: Ord>(items: &mut [T], mut at: usize, len: usize, key: &impl Fn(&T) -> K) {
    // An absent child is [`None`], below every key.
    let key_of = |items: &[T], i: usize| items.get(..len).and_then(|n| n.get(i)).map(key);
    loop {
        let left = at.saturating_mul(2).saturating_add(1);
        let right = left.saturating_add(1);
        let child = if key_of(items, right) > key_of(items, left) {
            right
        } else {
            left
        };
        if key_of(items, child) <= key_of(items, at) {
            break;
        }
        swap(items, at, child);
        at = child;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn sorts_as_the_library_does(mut items: Vec<u16>) {
            let mut wanted = items.clone();
            wanted.sort();
            sort_by_key(&mut items, |x| *x);
            prop_assert_eq!(items, wanted);
        }
    }
}
