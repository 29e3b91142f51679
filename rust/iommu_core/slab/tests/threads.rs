// SPDX-License-Identifier: GPL-2.0

//! Many CPUs at once, for real: no page is in use twice, nothing is lost. `SLAB_OPS` sets the number of
//! calls; 100 million take some minutes (`scripts/check slab`).

use std::{
    env,
    sync::{
        atomic::{
            AtomicU64,
            AtomicU8,
            Ordering, //
        },
        Mutex,
        OnceLock, //
    },
    thread,
    vec::Vec, //
};

use super::*;

/// A generator that is good enough and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 33) % u64::from(n)) as u32
    }
}

fn pages(random: &mut Random) -> u32 {
    match random.below(100) {
        0..=69 => 1,
        70..=93 => 2 + random.below(15),
        94..=98 => 32 + random.below(225),
        _ => 512 + random.below(3000),
    }
}

/// One CPU's share of the calls. What it maps, another one may unmap.
fn work(s: &TestSpace, cpu: usize, ops: u64, used: &[AtomicU8], shared: &Mutex<Vec<(u64, u32)>>) {
    let mut random = Random(0x9e37_79b9 + cpu as u64);
    let mut live: Vec<(u64, u32)> = Vec::new();
    for i in 0..ops {
        let many = live.len() > 3000;
        if random.below(100) < if many { 30 } else { 55 } || live.is_empty() {
            let n = pages(&mut random);
            let limit = if random.below(50) == 0 {
                (1 << 28) - 1
            } else {
                u64::MAX
            };
            let Ok(o) = s.alloc(cpu, n, limit) else {
                continue;
            };
            let first = (o.iova >> PAGE_SHIFT) as usize;
            assert!(first > 0 && o.iova + u64::from(n) * PAGE_SIZE - 1 <= limit);
            for page in &used[first..first + n as usize] {
                assert_eq!(page.swap(1, Ordering::Relaxed), 0, "given out twice");
            }
            live.push((o.iova, n));
        } else {
            let (iova, n) = live.swap_remove(random.below(live.len() as u32) as usize);
            let (iova, n) = match random.below(8) {
                // Unmapped where it was not mapped.
                0 => {
                    let mut shared = shared.lock().unwrap();
                    shared.push((iova, n));
                    let at = random.below(shared.len() as u32) as usize;
                    shared.swap_remove(at)
                }
                _ => (iova, n),
            };
            let first = (iova >> PAGE_SHIFT) as usize;
            for page in &used[first..first + n as usize] {
                assert_eq!(page.swap(0, Ordering::Relaxed), 1);
            }
            s.free(&s.object(iova).unwrap()).unwrap();
        }
        if i % 100_000 == 99_999 {
            s.drain();
            while let Some((c, _)) = s.reclaim(0) {
                s.reclaimed(c);
            }
        }
    }
    shared.lock().unwrap().append(&mut live);
}

#[test]
fn many_cpus_at_once() {
    let ops: u64 = env::var("SLAB_OPS").map_or(2_000_000, |n| n.parse().unwrap());
    let last = (4u64 << 30) - 1;
    let s = space(last, 4);
    let used: Vec<AtomicU8> = (0..=(last >> PAGE_SHIFT))
        .map(|_| AtomicU8::new(0))
        .collect();
    let left = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for cpu in 0..4 {
            let (s, used, left) = (&s, &used, &left);
            scope.spawn(move || work(s, cpu, ops / 4, used, left));
        }
    });
    for (iova, _) in left.into_inner().unwrap() {
        s.free(&s.object(iova).unwrap()).unwrap();
    }
    s.drain();
    while let Some((c, _)) = s.reclaim(0) {
        s.reclaimed(c);
    }
    let n = s.counts();
    assert_eq!((n.used_pages(), n.runs, n.empty), (1, 0, 0), "{n:?}");
    assert_eq!(n.unused + 1, 2048);
}

/// Words that count their accesses: what a call costs does not depend on what is in use.
struct Counting;

struct Counted(AtomicU64);

static STEPS: OnceLock<AtomicU64> = OnceLock::new();

fn steps() -> &'static AtomicU64 {
    STEPS.get_or_init(|| AtomicU64::new(0))
}

impl Word for Counted {
    fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }
    fn load(&self) -> u64 {
        steps().fetch_add(1, Ordering::Relaxed);
        Word::load(&self.0)
    }
    fn store(&self, value: u64) {
        steps().fetch_add(1, Ordering::Relaxed);
        Word::store(&self.0, value);
    }
    fn swap(&self, value: u64) -> u64 {
        steps().fetch_add(1, Ordering::Relaxed);
        Word::swap(&self.0, value)
    }
    fn cas(&self, old: u64, new: u64) -> Result<(), u64> {
        steps().fetch_add(1, Ordering::Relaxed);
        Word::cas(&self.0, old, new)
    }
}

impl Env for Counting {
    type Word = Counted;
    type Link<T: Send + Sync + 'static> = OnceLock<Box<T>>;
}

/// The most accesses to shared words that one call makes, in any state: see the module's documentation.
const MOST_STEPS: u64 = 1500;

#[test]
fn no_call_takes_many_steps() {
    let slots = (0..4)
        .map(|_| CpuSlots::<Counting>::new())
        .collect::<Vec<_>>();
    let s = Space::new((16u64 << 30) - 1, slots);
    s.open().unwrap();
    let (mut most, mut random, mut live) = (0, Random(7), Vec::new());
    let mut call = |what: &mut dyn FnMut()| {
        let before = steps().load(Ordering::Relaxed);
        what();
        most = most.max(steps().load(Ordering::Relaxed) - before);
    };
    // Until everything below 4 GiB is used, and with holes that fit nothing.
    for round in 0..4u32 {
        let mut full = 0;
        while full < 100 {
            let n = [1, 2, 3, 700][round as usize];
            call(
                &mut || match s.alloc(random.below(4) as usize, n, u32::MAX.into()) {
                    Ok(o) => live.push(o.iova),
                    Err(_) => full += 1,
                },
            );
        }
        for i in (0..live.len()).rev().step_by(2) {
            let iova = live.swap_remove(i);
            call(&mut || {
                s.free(&s.object(iova).unwrap()).unwrap();
            });
        }
    }
    for iova in live {
        call(&mut || {
            s.free(&s.object(iova).unwrap()).unwrap();
        });
    }
    assert!(most < MOST_STEPS, "{most}");
}
