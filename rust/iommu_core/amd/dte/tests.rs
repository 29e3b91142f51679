// SPDX-License-Identifier: GPL-2.0

//! Tests of device table entries and of the update planner.

use super::*;
use proptest::prelude::*;
use std::string::String;
use std::vec;
use std::vec::Vec;

const DID: DomainId = DomainId(5);

#[test]
fn constructors_give_the_words_of_the_figure() {
    assert_eq!(Dte::blocked().0, [1, 0, 0, 0]);
    assert_eq!(Dte::identity(DID).0, [0x6000_0000_0000_0003, 5, 0, 0]);
    let paging = Dte::paging(Oa(0x12_3456_7000), 4, DID).unwrap();
    assert_eq!(paging.0, [0x6000_0012_3456_7803, 5, 0, 0]);
    assert_eq!(
        (paging.mode(), paging.root(), paging.did()),
        (4, Oa(0x12_3456_7000), DID)
    );
    assert_eq!(paging.with_iotlb(true).0[1], 0x1_0000_0005);
    assert_eq!(paging.with_iotlb(true).with_iotlb(false), paging);
    let logged = Dte::blocked_with_events(Oa(0x9000), DID).unwrap();
    assert_eq!(logged.0, [0x9803, 5, 0, 0]);
    assert!(!logged.is_blocked() && Dte::blocked().is_blocked());
}

#[test]
fn impossible_tables_are_refused() {
    for (root, levels) in [(0x1000, 0), (0x1000, 7), (0x1800, 4), (1 << 52, 4)] {
        assert_eq!(Dte::paging(Oa(root), levels, DID), None);
    }
    assert_eq!(Dte::blocked_with_events(Oa(8), DID), None);
}

#[test]
fn each_ivhd_flag_sets_its_own_bit() {
    for (data, word, bit) in [
        (0x01, 2, 56),
        (0x02, 2, 57),
        (0x04, 2, 58),
        (0x20, 1, 41),
        (0x40, 2, 62),
        (0x80, 2, 63),
    ] {
        let mut expected = Dte::blocked();
        expected.0[word] |= 1 << bit;
        assert_eq!(Dte::blocked().with_ivhd_flags(data), expected, "{data:#x}");
    }
    assert_eq!(Dte::blocked().with_ivhd_flags(0x08), Dte::blocked());
}

#[test]
fn system_management_type_1_brings_write_permission() {
    let dte = Dte::blocked().with_ivhd_flags(0x10);
    assert_eq!(dte.0, [1 | 1 << 62, 1 << 40, 0, 0]);
    assert!(dte.is_blocked());
    assert_eq!(
        Dte::blocked().with_ivhd_flags(0x30).0,
        [1, 3 << 40, 0, 0],
        "type 3 needs no work-around"
    );
}

#[test]
fn interrupt_fields_are_kept_and_nothing_else() {
    let found = Dte([u64::MAX, u64::MAX, u64::MAX, u64::MAX]);
    let dte = Dte::blocked().with_interrupts_of(&found);
    assert_eq!(dte.0, [1, 0, 0xf70f_ffff_ffff_ffff, 0]);
    assert!(dte.remaps_interrupts());
    let none = dte.with_interrupts_of(&Dte::default());
    assert_eq!(none, Dte::blocked());
}

/// What a view means to the device, by the rules the planner promises, written without the masks of
/// the code under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct View {
    dma: Option<[u64; 3]>,
    interrupts: [u64; 2],
}

fn view(dte: Dte) -> View {
    let [a, b, c, d] = dte.0;
    let on = |n: u32| a >> n & 1 == 1;
    let field = |word: u64, hi: u32, lo: u32| (word >> lo) & ((1 << (hi - lo + 1)) - 1);
    let dma = match (on(0), on(1)) {
        (false, _) => Some([0; 3]),
        // System management treatment is not part of a blocked view's identity.
        (true, false) => None,
        (true, true) => {
            let mut words = [a, b, 0];
            if field(a, 11, 9) == 0 {
                words[0] &= !(((1 << 40) - 1) << 12);
            }
            if on(55) {
                words[2] = field(c, 55, 54);
            } else {
                words[0] &= !(0x1f << 56);
                words[1] &= !(0xffff << 16 | ((1 << 21) - 1) << 43);
            }
            Some(words)
        }
    };
    let pass = c & 0xc700_0000_0000_0000;
    let table = if c & 1 == 1 {
        c & 0x300f_ffff_ffff_ffff
    } else {
        0
    };
    View {
        dma,
        interrupts: [pass | table, d],
    }
}

/// Plays `steps` against a hardware that may start a fetch at any time, read the two halves at
/// different times in either order, and keep what it got until the next invalidation.
fn check(current: Dte, target: Dte, steps: &[Step]) -> Result<(), String> {
    let allowed = |seen: Dte| {
        let (seen, old, new) = (view(seen), view(current), view(target));
        let blocked =
            seen.dma.is_none() && [old.interrupts, new.interrupts].contains(&seen.interrupts);
        seen == old || seen == new || blocked
    };
    let mut memory = current;
    let mut epoch = vec![memory];
    let mut epochs = Vec::new();
    for step in steps {
        match *step {
            Step::Write { half, value } => {
                memory = memory.with_half(half, value);
                epoch.push(memory);
            }
            Step::Invalidate => {
                epochs.push(core::mem::replace(&mut epoch, vec![memory]));
            }
        }
    }
    if memory != target {
        return Err(std::format!("ends at {memory:?}"));
    }
    if epoch.len() > 1 {
        return Err("stale copies outlive the plan".into());
    }
    epochs.push(epoch);
    for epoch in epochs {
        for low in &epoch {
            for high in &epoch {
                let seen = low.with_half(Half::High, high.half(Half::High));
                if !allowed(seen) {
                    return Err(std::format!("torn: {seen:?}"));
                }
            }
        }
    }
    Ok(())
}

fn corpus() -> Vec<Dte> {
    let interrupts = [
        0,
        0x8000_0000_0000_0000,
        0x2000_0000_4000_0013,
        0x2000_0000_5000_0013,
    ];
    let mut all = vec![Dte::default()];
    for word2 in interrupts {
        let found = Dte([0, 0, word2, 0]);
        for dte in [
            Dte::blocked(),
            Dte::blocked().with_ivhd_flags(0x10),
            Dte::identity(DomainId(1)),
            Dte::paging(Oa(0x1000), 3, DomainId(2)).unwrap(),
            Dte::paging(Oa(0x2000), 4, DomainId(3)).unwrap(),
            // Guest translation, four and five levels.
            Dte([0x6180_0000_0000_0003 | 1 << 55, 7 | 9 << 16, 0, 0]),
            Dte([0x6180_0000_0000_0003 | 1 << 55, 8 | 9 << 16, 1 << 54, 0]),
        ] {
            let mut dte = dte.with_interrupts_of(&found);
            all.push(dte);
            dte.0[3] = 1 << 54;
            all.push(dte);
        }
        all.push(found);
    }
    all
}

#[test]
fn no_update_ever_shows_a_torn_entry() {
    for current in corpus() {
        for target in corpus() {
            let plan = plan_update(&current, &target);
            check(current, target, plan.steps())
                .unwrap_or_else(|e| panic!("{current:?} -> {target:?}: {e} in {plan:?}"));
        }
    }
}

#[test]
fn a_change_of_domain_is_one_store() {
    let found = Dte([0, 0, 0x2000_0000_4000_0013, 0]);
    let a = Dte::paging(Oa(0x1000), 3, DID).unwrap();
    let a = a.with_interrupts_of(&found);
    let b = Dte::identity(DomainId(1)).with_interrupts_of(&found);
    for (from, to) in [
        (a, b),
        (b, a),
        (found, a),
        (a, found),
        (Dte::blocked(), Dte::identity(DID)),
    ] {
        let plan = plan_update(&from, &to);
        assert_eq!(plan.steps().len(), 2, "{plan:?}");
        assert!(!plan.blocks_dma());
    }
    assert_eq!(plan_update(&a, &a).steps(), &[]);
}

#[test]
fn the_guest_paging_mode_is_set_before_and_cleared_after_it_is_read() {
    let host = Dte::paging(Oa(0x1000), 3, DID).unwrap();
    let guest = Dte([0x6180_0000_0000_0003 | 1 << 55, 8 | 9 << 16, 1 << 54, 0]);
    for (from, to, first) in [(host, guest, Half::High), (guest, host, Half::Low)] {
        let plan = plan_update(&from, &to);
        assert!(!plan.blocks_dma());
        assert!(matches!(plan.steps()[0], Step::Write { half, .. } if half == first));
    }
}

#[test]
fn the_checker_catches_wrong_plans() {
    let a = Dte([0x6000_0000_0000_1603, 1, 0x2000_0000_4000_0013, 0]);
    let b = Dte([0x6000_0000_0000_2603, 2, 0x2000_0000_5000_0013, 0]);
    let good = plan_update(&a, &b);
    assert!(good.blocks_dma());
    assert_eq!(check(a, b, good.steps()), Ok(()));
    let low = Step::Write {
        half: Half::Low,
        value: b.half(Half::Low),
    };
    let high = Step::Write {
        half: Half::High,
        value: b.half(Half::High),
    };
    let inv = Step::Invalidate;
    for bad in [
        &[low, high, inv][..],
        &[high, inv, low, inv],
        &[low, inv, high, inv],
        &[low, inv],
    ] {
        assert!(check(a, b, bad).is_err(), "{bad:?}");
    }
    // Every invalidation and every store of the good plan is needed.
    for gone in 0..good.steps().len() {
        let mut steps = good.steps().to_vec();
        steps.remove(gone);
        assert!(check(a, b, &steps).is_err(), "without step {gone}");
    }
}

fn any_dte() -> impl Strategy<Value = Dte> {
    // Few distinct values a field, so that halves are often equal.
    let small = prop::sample::select(vec![0u64, 1, 3, 0x1000, u64::MAX, 1 << 55, 1 << 54]);
    (
        any::<[bool; 3]>(),
        0u64..8,
        [small.clone(), small.clone(), small.clone(), small],
    )
        .prop_map(|(flags, mode, [a, b, c, d])| {
            let a = a & !(3 | 7 << 9 | 1 << 55)
                | u64::from(flags[0])
                | u64::from(flags[1]) << 1
                | u64::from(flags[2]) << 55
                | mode << 9;
            Dte([a, b, c, d])
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn no_update_between_odd_entries_is_torn(current in any_dte(), target in any_dte()) {
        let plan = plan_update(&current, &target);
        prop_assert_eq!(check(current, target, plan.steps()), Ok(()));
    }

    #[test]
    fn bits_outside_used_do_not_matter(dte in any_dte(), noise: [u64; 4]) {
        let mut other = dte;
        for ((word, used), noise) in other.0.iter_mut().zip(dte.used()).zip(noise) {
            *word ^= noise & !used;
        }
        prop_assert_eq!(view(dte), view(other));
        prop_assert!(dte.same_to_hardware(&other));
    }
}
