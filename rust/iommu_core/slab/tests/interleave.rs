// SPDX-License-Identifier: GPL-2.0

//! Two CPUs in all orders of their steps (loom), on spaces of a few chunks: what is freed elsewhere,
//! taken from another CPU's reserve, turned to another size or given back is neither lost nor given
//! out twice.

use std::{
    boxed::Box,
    collections::BTreeMap,
    sync::OnceLock,
    vec::Vec, //
};

use loom::{
    sync::{
        atomic::{
            fence,
            AtomicU64,
            Ordering, //
        },
        Arc,
        Mutex, //
    },
    thread,
};

use super::{
    churn::Model,
    defer::{
        Alarm,
        Batch,
        Deferred,
        Put, //
    },
    *, //
};
use crate::commit::{
    Commit,
    Ticket, //
};

/// Loom's words; parts are made before the threads start.
struct Loom;

/// A word whose every access is a step.
struct Step(AtomicU64);

impl Step {
    /// A step that is fully ordered, as the kernel means it: with respect to all other accesses, not
    /// only to those that are sequentially consistent, too.
    fn full<R>(&self, step: impl FnOnce(&AtomicU64) -> R) -> R {
        fence(Ordering::SeqCst);
        let result = step(&self.0);
        fence(Ordering::SeqCst);
        result
    }
}

impl Word for Step {
    fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }
    fn load(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
    fn store(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }
    fn swap(&self, value: u64) -> u64 {
        self.full(|word| word.swap(value, Ordering::SeqCst))
    }
    fn cas(&self, old: u64, new: u64) -> Result<(), u64> {
        self.full(|word| word.compare_exchange(old, new, Ordering::SeqCst, Ordering::Acquire))
            .map(|_| ())
    }
}

struct Made<T>(OnceLock<Box<T>>);

impl<T: Send + Sync> Link<T> for Made<T> {
    fn empty() -> Self {
        Self(OnceLock::new())
    }
    fn get(&self) -> Option<&T> {
        self.0.get().map(|b| &**b)
    }
    fn get_or_make(&self, make: impl FnOnce() -> T) -> Option<&T> {
        Some(self.0.get_or_init(|| Box::new(make())))
    }
}

impl Env for Loom {
    type Word = Step;
    type Link<T: Send + Sync + 'static> = Made<T>;
}

type LoomSpace = Space<Loom, Vec<CpuSlots<Loom>>>;

/// Runs a model with so many changes of the thread at any point; `PREEMPTIONS` adds some, which takes
/// minutes each.
fn explore(preemptions: usize, f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    let more = std::env::var("PREEMPTIONS").map_or(0, |n| n.parse().unwrap());
    builder.preemption_bound = Some(preemptions + more);
    builder.max_branches = 100_000;
    builder.check(f);
}

/// A space of so many chunks, the first of which has only single pages.
fn space(chunks: u64) -> Arc<LoomSpace> {
    let slots = (0..2).map(|_| CpuSlots::new()).collect();
    let s = Space::new((chunks << CHUNK_SHIFT) - 1, slots);
    s.open().unwrap();
    Arc::new(s)
}

/// Runs two things at once; each returns what it has got (address, pages), which must not overlap, nor
/// what was there before. Then everything goes back, and nothing is missing.
fn both(
    s: &Arc<LoomSpace>,
    before: &[(u64, u32)],
    a: impl FnOnce(&LoomSpace) -> Vec<(u64, u32)> + Send + 'static,
    b: impl FnOnce(&LoomSpace) -> Vec<(u64, u32)> + Send + 'static,
) {
    let other = s.clone();
    let t = thread::spawn(move || a(&other));
    let mut got = b(s);
    got.extend(t.join().unwrap());
    let mut model = Model(BTreeMap::new());
    for (iova, pages) in before.iter().chain(&got) {
        model.add(*iova, *pages);
    }
    for iova in model.0.keys() {
        s.free(&s.object(*iova).unwrap()).unwrap();
    }
    s.drain();
    while let Some((c, _)) = s.reclaim(0) {
        s.reclaimed(c);
    }
    let n = s.counts();
    assert_eq!(
        (n.used_pages(), n.runs, n.in_slots),
        (1, 0, [0; ORDERS]),
        "{n:?} {got:x?} {before:x?}"
    );
    // What was listed can be found again: all of the space can be used.
    let mut left = 0;
    while s.alloc(0, 256, u64::MAX).is_ok() {
        left += 1;
    }
    assert_eq!(left, 2 * (n.unused + u64::from(n.empty)), "{n:?}");
}

fn take(s: &LoomSpace, cpu: usize, pages: u32) -> Vec<(u64, u32)> {
    s.alloc(cpu, pages, u64::MAX)
        .map(|o| (o.iova, pages))
        .into_iter()
        .collect()
}

/// Takes everything of a size; the addresses.
fn take_all(s: &LoomSpace, cpu: usize, pages: u32) -> Vec<u64> {
    core::iter::from_fn(|| s.alloc(cpu, pages, u64::MAX).ok().map(|o| o.iova)).collect()
}

fn give(s: &LoomSpace, iova: u64) {
    s.free(&s.object(iova).unwrap()).unwrap();
}

#[test]
fn what_another_cpu_frees_is_not_lost() {
    explore(4, || {
        let s = space(2);
        let all = take_all(&s, 0, 256);
        let (first, second) = (all[0], all[1]);
        both(
            &s,
            &[(second, 256)],
            move |s| {
                give(s, first);
                Vec::new()
            },
            |s| take(s, 1, 256),
        );
    });
}

#[test]
fn two_frees_of_one_chunk_leave_it_empty() {
    explore(4, || {
        let s = space(2);
        let all = take_all(&s, 0, 256);
        let (first, second) = (all[0], all[1]);
        both(
            &s,
            &[],
            move |s| {
                give(s, first);
                Vec::new()
            },
            move |s| {
                give(s, second);
                Vec::new()
            },
        );
    });
}

#[test]
fn what_is_freed_while_its_home_is_left_is_found() {
    explore(4, || {
        let s = space(2);
        let first = take(&s, 0, 256)[0].0;
        take(&s, 0, 256);
        let other = s.clone();
        let t = thread::spawn(move || give(&other, first));
        s.drain();
        t.join().unwrap();
        assert_eq!(take(&s, 1, 256), [(first, 256)]);
    });
}

#[test]
fn a_reserve_is_taken_once() {
    explore(3, || {
        let s = space(2);
        let first = take(&s, 0, 256);
        // The other object is in the slot of CPU 0; CPU 1 has to take it from there.
        both(&s, &first, |s| take(s, 0, 256), |s| take(s, 1, 256));
    });
}

#[test]
fn a_chunk_turns_to_another_size_only_when_it_is_empty() {
    explore(2, || {
        let s = space(2);
        let all = take_all(&s, 0, 256);
        let (first, second) = (all[0], all[1]);
        give(&s, first);
        both(
            &s,
            &[],
            move |s| {
                give(s, second);
                take(s, 0, 256)
            },
            |s| take(s, 1, 128),
        );
    });
}

#[test]
fn a_chunk_is_given_back_or_used() {
    explore(2, || {
        let s = space(2);
        for iova in take_all(&s, 0, 256) {
            give(&s, iova);
        }
        s.drain();
        both(
            &s,
            &[],
            |s| {
                if let Some((c, _)) = s.reclaim(0) {
                    s.reclaimed(c);
                }
                Vec::new()
            },
            |s| take(s, 1, 256),
        );
    });
}

#[test]
fn a_run_and_a_chunk_do_not_meet() {
    explore(3, || {
        let s = space(3);
        both(&s, &[], |s| take(s, 0, 512), |s| take(s, 1, 256));
    });
}

#[test]
fn a_list_knows_what_is_listed() {
    explore(4, || {
        let tree = Arc::new(Tree::<Loom>::new(63));
        for c in [0, 1] {
            tree.make_chunk(c).unwrap();
        }
        tree.list(Class::EMPTY, 0);
        let other = tree.clone();
        let t = thread::spawn(move || other.unlist(Class::EMPTY, 0));
        tree.list(Class::EMPTY, 1);
        assert!(t.join().unwrap());
        assert_eq!(tree.find(Class::EMPTY, 0, 63), Some(1));
        assert!(tree.unlist(Class::EMPTY, 1));
        assert_eq!(tree.find(Class::EMPTY, 0, 63), None);
    });
}

#[test]
fn what_is_put_off_is_done_once() {
    explore(4, || {
        let all = Arc::new((Batch::<Loom>::new(), Alarm::<Loom>::new()));
        let put = |all: &(Batch<Loom>, Alarm<Loom>), iova| {
            let kept = all.0.put(Deferred::new(iova, 1).unwrap()) == Put::Kept;
            (kept, kept && all.1.is_wanted())
        };
        assert_eq!(put(&all, 0x1000), (true, true));
        let other = all.clone();
        let t = thread::spawn(move || put(&other, 0x2000));
        // The timer runs out.
        assert!(all.1.rings());
        let mut done: Vec<_> = all.0.take().map(Deferred::iova).collect();
        let (kept, starts) = t.join().unwrap();
        // What the timer has not found has started another one, or was refused.
        let missed = kept && !done.contains(&0x2000);
        assert!(!missed || starts, "nobody comes for it");
        done.extend(all.0.take().map(Deferred::iova));
        done.sort_unstable();
        let wanted: &[u64] = if kept { &[0x1000, 0x2000] } else { &[0x1000] };
        assert_eq!(done, wanted);
    });
}

/// A unit that does its commands while the doorbell is rung.
struct Ring {
    commit: Commit<Loom>,
    /// What has been written: commands, and the numbers of batches that close them.
    written: Mutex<Vec<Result<u32, Ticket>>>,
    /// What the unit has been told of, and has done.
    tail: AtomicU64,
    done: AtomicU64,
    commands: AtomicU64,
}

impl Ring {
    fn ring(&self, tail: u64) {
        assert!(
            self.tail.swap(tail, Ordering::SeqCst) < tail,
            "the tail goes back"
        );
        for entry in self.written.lock().unwrap().iter().take(tail as usize) {
            match entry {
                Ok(command) => self.commands.fetch_or(1 << command, Ordering::SeqCst),
                Err(batch) => self.done.swap(batch.0.into(), Ordering::SeqCst),
            };
        }
        self.commit.rung();
    }

    fn close(&self, written: &mut Vec<Result<u32, Ticket>>) -> Option<u64> {
        written.push(Err(self.commit.close()?));
        Some(written.len() as u64)
    }

    /// Runs a command to completion, as the driver does.
    fn run(&self, command: u32) {
        let (ticket, closed) = {
            let mut written = self.written.lock().unwrap();
            written.push(Ok(command));
            (self.commit.open(), self.close(&mut written))
        };
        if let Some(tail) = closed {
            self.ring(tail);
        }
        while !ticket.is_done(self.done.load(Ordering::Acquire) as u32) {
            if self.commit.is_left_open(ticket) {
                let closed = {
                    let mut written = self.written.lock().unwrap();
                    match self.commit.is_left_open(ticket) {
                        true => self.close(&mut written),
                        false => None,
                    }
                };
                if let Some(tail) = closed {
                    self.ring(tail);
                }
            }
            thread::yield_now();
        }
        assert_ne!(
            self.commands.load(Ordering::SeqCst) & 1 << command,
            0,
            "not done"
        );
    }
}

#[test]
fn each_command_is_done_when_its_waiter_goes_on() {
    explore(4, || {
        let ring = Arc::new(Ring {
            commit: Commit::new(),
            written: Mutex::new(Vec::new()),
            tail: AtomicU64::new(0),
            done: AtomicU64::new(0),
            commands: AtomicU64::new(0),
        });
        let other = ring.clone();
        let t = thread::spawn(move || (0..2).for_each(|i| other.run(i)));
        ring.run(2);
        t.join().unwrap();
        assert_eq!(ring.commands.load(Ordering::SeqCst), 7);
    });
}
