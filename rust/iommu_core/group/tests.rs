// SPDX-License-Identifier: GPL-2.0

//! Tests of grouping: the topologies QEMU can build, the ones it cannot, and order independence.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

mod topologies;

use topologies::{topologies, Topology};

type Functions = Vec<Function<'static>>;

/// Groups of a snapshot as text, and the reasons in the order they were given.
///
/// `00:01.0 01:00.0 | 00:02.0 (03:00.0)`: groups in ascending order, an ID without device in
/// parentheses.
fn solve(functions: &[Function<'_>]) -> (String, Vec<Reason>) {
    solve_in(functions, &mut vec![Node::EMPTY; nodes_needed(functions)])
}

fn solve_in(functions: &[Function<'_>], scratch: &mut [Node]) -> (String, Vec<Reason>) {
    let mut reasons = Vec::new();
    let result = partition(functions, scratch, |r| reasons.push(r)).unwrap();
    let mut groups: BTreeMap<Sbdf, Vec<String>> = BTreeMap::new();
    for m in result.members() {
        assert!(m.group <= m.id);
        assert_eq!(result.group_of(m.id), Some(m.group));
        assert_eq!(m.function.map_or(m.id, |i| functions[i].id), m.id);
        let name = match (m.id.segment, m.function) {
            (0, Some(_)) => m.id.rid.to_string(),
            (0, None) => format!("({})", m.id.rid),
            _ => m.id.to_string(),
        };
        groups.entry(m.group).or_default().push(name);
    }
    // The reasons of a group form a tree over its members.
    let members: usize = groups.values().map(Vec::len).sum();
    assert_eq!(reasons.len(), members - groups.len());
    let text: Vec<String> = groups.into_values().map(|g| g.join(" ")).collect();
    (text.join(" | "), reasons)
}

/// The same snapshot in another order, parents renumbered.
fn permute(functions: &[Function<'static>], order: &[usize]) -> Functions {
    let mut at = vec![0; order.len()];
    for (new, old) in order.iter().enumerate() {
        at[*old] = new;
    }
    order
        .iter()
        .map(|old| {
            let mut f = functions[*old];
            f.parent = f.parent.map(|p| at[p]);
            f
        })
        .collect()
}

#[test]
fn every_topology_has_its_groups() {
    let all = topologies();
    assert!(all.len() >= 40, "{}", all.len());
    let mut wrong = String::new();
    for Topology {
        name,
        functions,
        groups,
    } in all
    {
        let got = solve(&functions).0;
        if got != groups {
            wrong += &format!("{name}\n  wanted {groups}\n  got    {got}\n");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn reasons_read_as_sentences() {
    let mut texts = Vec::new();
    for t in topologies() {
        texts.extend(solve(&t.functions).1.iter().map(Reason::to_string));
    }
    for text in [
        "0000:00:08.0 also issues requests as 0000:00:01.0",
        "firmware says that 0000:00:04.0 issues requests as 0000:00:03.0",
        "10:01:00.0 issues its requests as 0000:00:0e.0",
        "bridge 0000:00:03.0 forwards requests as 0000:01:00.0",
        "0000:01:01.0 is below bridge 0000:00:03.0, which hides requester IDs",
        "0000:01:00.0 and 0000:01:00.1 are functions of one device, whose functions 0000:01:00.0 can reach: it has no ACS capability",
        "0000:00:08.0 and 0000:00:08.1 are functions of one device, whose functions 0000:00:08.0 can reach: it has ACS switched off (SV RR CR UF)",
        "0000:02:00.0 is a port of switch 0000:01:00.0, whose ports 0000:02:01.0 can reach: it has no ACS capability",
        "0000:03:00.0 is below 0000:02:00.0, and 0000:02:01.0 can reach what is below 0000:02:00.0: it has no ACS capability",
        "0000:00:1d.0 drives ports of the USB controller 0000:00:1d.7",
        "0000:00:04.1 also issues requests as 0000:00:04.5, its phantom function",
        "0000:01:00.0 is below 0000:00:04.0 and open to its peers there: 0000:00:04.0 has no ACS capability",
    ] {
        let text = text.replacen("10:01", "1000:01", 1);
        assert!(texts.contains(&text), "{text}: {texts:#?}");
    }
    assert_eq!(Missing::Never.to_string(), "is of a kind without ACS");
    assert_eq!(Missing::Quirk.to_string(), "is known not to isolate");
}

#[test]
fn order_of_discovery_changes_nothing() {
    for t in topologies() {
        let expected = solve(&t.functions);
        let n = t.functions.len();
        let mut order: Vec<usize> = (0..n).collect();
        let mut state = 1u64;
        for _ in 0..200 {
            for i in (1..n).rev() {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                order.swap(i, (state >> 33) as usize % (i + 1));
            }
            assert_eq!(
                solve(&permute(&t.functions, &order)),
                expected,
                "{}",
                t.name
            );
        }
    }
}

#[test]
fn hot_plug_equals_cold_boot() {
    for t in topologies() {
        let expected = solve(&t.functions);
        // Each function that is no one's parent arrives last.
        for late in 0..t.functions.len() {
            if t.functions.iter().any(|f| f.parent == Some(late)) {
                continue;
            }
            let mut order: Vec<usize> = (0..t.functions.len()).filter(|i| *i != late).collect();
            order.push(late);
            let functions = permute(&t.functions, &order);
            let mut scratch = vec![Node::EMPTY; nodes_needed(&functions)];
            // The scratch is not fresh: it holds the groups from before the arrival.
            let (_, before) = functions.split_last().unwrap();
            partition(before, &mut scratch, |_| {}).unwrap();
            assert_eq!(solve_in(&functions, &mut scratch), expected, "{}", t.name);
        }
    }
}

#[test]
fn the_order_of_an_alias_list_changes_nothing() {
    const UP: &[Rid] = &[Rid(8), Rid(16), Rid(24)];
    const DOWN: &[Rid] = &[Rid(24), Rid(8), Rid(16), Rid(8)];
    let mut a = vec![topologies::endpoint(0, 4, 0), topologies::endpoint(0, 5, 0)];
    let mut b = a.clone();
    (a[0].aliases, a[1].aliases) = (UP, DOWN);
    (b[0].aliases, b[1].aliases) = (DOWN, UP);
    assert_eq!(solve(&a), solve(&b));
}

#[test]
fn a_contradicting_snapshot_is_refused() {
    let f = topologies::endpoint(0, 1, 0);
    let mut scratch = [Node::EMPTY; 8];
    let mut run = |functions: &[Function<'_>], n: usize| {
        partition(functions, &mut scratch[..n], |_| {}).err()
    };
    assert_eq!(run(&[f, f], 8), Some(Error::Duplicate { id: f.id }));
    assert_eq!(run(&[f], 0), Some(Error::Scratch { needed: 1 }));
    assert_eq!(run(&[], 0), None);
    let mut own = f;
    own.parent = Some(0);
    assert_eq!(run(&[own], 8), Some(Error::Parent { id: f.id }));
    own.parent = Some(7);
    assert_eq!(run(&[own], 8), Some(Error::Parent { id: f.id }));
}

#[test]
fn each_kind_isolates_as_far_as_it_can() {
    let on = Some(Acs {
        capability: 0x5f,
        control: 0x1d,
    });
    // Alone without ACS, alone with, one of several without, one of several with.
    for (kind, expected) in [
        (Kind::Endpoint, [true, true, false, true]),
        (Kind::UpstreamPort, [true, true, false, true]),
        (Kind::RootPort, [false, true, false, true]),
        (Kind::DownstreamPort, [false, true, false, true]),
        (Kind::EventCollector, [false; 4]),
        (Kind::PcieToPci, [false; 4]),
        (Kind::PciToPcie, [false; 4]),
        (Kind::Conventional, [false; 4]),
        (Kind::ConventionalBridge, [false; 4]),
    ] {
        let got = [(false, None), (false, on), (true, None), (true, on)].map(|(multi, acs)| {
            let mut f = topologies::endpoint(0, 1, 0);
            (f.kind, f.multifunction, f.acs) = (kind, multi, acs);
            f.isolates().is_ok()
        });
        assert_eq!(got, expected, "{kind:?}");
    }
}

#[test]
fn controls_that_are_not_implemented_are_not_required() {
    let mut f = topologies::endpoint(0, 1, 0);
    f.multifunction = true;
    for (capability, control, result) in [
        (0x5f, 0x1d, Ok(())),
        (0x5f, 0x1c, Err(Missing::Enabled(ACS_SV))),
        (0x0c, 0x0c, Ok(())),
        (0, 0, Ok(())),
    ] {
        f.acs = Some(Acs {
            capability,
            control,
        });
        assert_eq!(f.isolates(), result);
    }
    for quirk in [true, false] {
        f.acs_quirk = Some(quirk);
        assert_eq!(f.isolates().is_ok(), quirk);
    }
}

/// `pci_device_group()` over functions in the order they are probed, for snapshots without quirk
/// aliases: written as the kernel walks, one function at a time, taking the first group it finds.
fn as_linux_would(functions: &[Function<'_>]) -> Vec<usize> {
    let mut group: Vec<Option<usize>> = vec![None; functions.len()];
    let acs = |i: usize| functions[i].isolates().is_ok();
    let path = |mut i: usize| loop {
        if !acs(i) {
            return false;
        }
        match functions[i].parent {
            Some(p) => i = p,
            None => return true,
        }
    };
    for dev in 0..functions.len() {
        let mut top = dev;
        let mut found = None;
        let mut up = functions[dev].parent;
        while let (Some(p), None) = (up, found) {
            if functions[p].alias_below().is_some() {
                top = p;
                found = group[p];
            }
            up = functions[p].parent;
        }
        while let (Some(p), None) = (functions[top].parent, found) {
            if path(p) {
                break;
            }
            top = p;
            found = group[p];
        }
        found = found.or(group[top]);
        if found.is_none() && functions[top].multifunction && !acs(top) {
            let slot = |i: usize| {
                let id = functions[i].id;
                (id.segment, id.rid.bus(), id.rid.dev())
            };
            found = (0..functions.len())
                .filter(|i| *i != top && slot(*i) == slot(top) && !acs(*i))
                .find_map(|i| group[i]);
        }
        group[dev] = Some(found.unwrap_or(dev));
    }
    group.into_iter().map(Option::unwrap).collect()
}

/// Trees of at most 24 functions in the order a cold boot finds them.
fn any_tree() -> impl Strategy<Value = Functions> {
    prop::collection::vec(any::<(u8, u8, u8, bool)>(), 1..24).prop_map(|picks| {
        let mut functions: Functions = Vec::new();
        let mut next_bus = 1;
        let mut slots: BTreeMap<(u8, u8), (u8, bool)> = BTreeMap::new();
        for (pick, what, dev, multifunction) in picks {
            let bridges: Vec<usize> = (0..functions.len())
                .filter(|i| functions[*i].secondary_bus.is_some())
                .collect();
            let parent = match usize::from(pick) % (bridges.len() + 1) {
                0 => None,
                n => Some(bridges[n - 1]),
            };
            let bus = parent.map_or(0, |p| functions[p].secondary_bus.unwrap());
            let slot = slots.entry((bus, dev % 3)).or_insert((0, multifunction));
            if slot.0 > 7 || (slot.0 > 0 && !slot.1) {
                continue;
            }
            let kind = [
                Kind::Endpoint,
                Kind::EventCollector,
                Kind::RootPort,
                Kind::UpstreamPort,
                Kind::DownstreamPort,
                Kind::PcieToPci,
                Kind::PciToPcie,
                Kind::Conventional,
                Kind::ConventionalBridge,
            ][usize::from(what) % 9];
            let id = Sbdf {
                segment: 0,
                rid: Rid::new(bus, dev % 3, slot.0),
            };
            slot.0 += 1;
            let mut f = Function::new(id, kind);
            f.parent = parent;
            f.multifunction = slot.1;
            f.acs = (what & 0x80 != 0).then_some(Acs {
                capability: 0x5f,
                control: if what & 0x40 != 0 { 0x1d } else { 0x15 },
            });
            if kind == Kind::Endpoint {
                f.class = [0x0c0300, 0x0c0310, 0x0c0320, 0][usize::from(what >> 4) & 3];
                f.phantom_bits = (pick >> 6).min(3);
                f.is_virtual = !f.multifunction && what & 0x20 != 0;
                f.firmware_alias = (pick & 0x30 == 0x30).then_some(Rid(u16::from(pick)));
            }
            if !matches!(
                kind,
                Kind::Endpoint | Kind::EventCollector | Kind::Conventional
            ) {
                f.secondary_bus = Some(next_bus);
                next_bus += 1;
            }
            functions.push(f);
        }
        functions
    })
}

/// Which requester IDs belong together, from first principles and in no hurry: whom can each function
/// reach past the unit, whose IDs are one, and what follows from both.
fn by_reachability(functions: &[Function<'_>]) -> BTreeMap<Sbdf, Sbdf> {
    let mut together: Vec<(Sbdf, Sbdf)> = Vec::new();
    let above = |f: &Function<'_>| {
        core::iter::successors(f.parent, |i| functions[*i].parent).collect::<Vec<usize>>()
    };
    let place = |f: &Function<'_>| (f.id.segment, f.id.rid.bus());
    for (x, f) in functions.iter().enumerate() {
        let below = |x: usize| {
            functions
                .iter()
                .filter(move |o| above(o).contains(&x))
                .map(|o| o.id)
        };
        let id = |rid: Rid| Sbdf {
            segment: f.id.segment,
            rid,
        };
        // One requester ID.
        together.push((f.id, f.id));
        together.extend(
            f.aliases
                .iter()
                .chain(&f.firmware_alias)
                .map(|r| (f.id, id(*r))),
        );
        let varied = 0b111u8 & !(0b111 >> f.phantom_bits);
        for func in (0..8).filter(|func| func & !varied == f.id.rid.func() & !varied) {
            together.push((f.id, id(Rid::new(f.id.rid.bus(), f.id.rid.dev(), func))));
        }
        // A bridge that hides requester IDs.
        if let Some(alias) = f.alias_below() {
            together.push((f.id, alias));
            together.extend(below(x).map(|b| (f.id, b)));
        }
        let link = |o: &Function<'_>| {
            o.parent
                .is_some_and(|p| matches!(functions[p].kind, Kind::RootPort | Kind::DownstreamPort))
        };
        let one_device: Vec<usize> = (0..functions.len())
            .filter(|i| {
                let o = &functions[*i];
                !o.is_virtual
                    && !f.is_virtual
                    && place(o) == place(f)
                    && (link(f) || o.id.rid.dev() == f.id.rid.dev())
            })
            .collect();
        if matches!(f.class, 0x0c0300 | 0x0c0310) {
            let hosts = one_device.iter().map(|i| &functions[*i]);
            let host = hosts.filter(|o| o.class == 0x0c0320).map(|o| o.id).min();
            together.extend(host.map(|h| (f.id, h)));
        }
        if f.isolates().is_ok() {
            continue;
        }
        // It lets requests go where they want: down again, ...
        together.extend(below(x).map(|b| (f.id, b)));
        // ... to its neighbours in the device and what is below them, ...
        if f.multifunction {
            for n in &one_device {
                together.push((f.id, functions[*n].id));
                together.extend(below(*n).map(|b| (f.id, b)));
            }
        }
        // ... to the other ports of the switch and what is below them, and the switch itself.
        if let (Kind::DownstreamPort, Some(up)) = (f.kind, f.parent) {
            together.push((f.id, functions[up].id));
            for (n, o) in functions.iter().enumerate() {
                if o.kind == Kind::DownstreamPort && o.parent == Some(up) {
                    together.push((f.id, o.id));
                    together.extend(below(n).map(|b| (f.id, b)));
                }
            }
        }
    }
    // The lowest ID each is together with, until nothing changes.
    let mut group: BTreeMap<Sbdf, Sbdf> = BTreeMap::new();
    for (a, b) in &together {
        group.insert(*a, *a);
        group.insert(*b, *b);
    }
    loop {
        let mut changed = false;
        for (a, b) in &together {
            let low = group[a].min(group[b]);
            changed |= group[a] != low || group[b] != low;
            group.insert(*a, low);
            group.insert(*b, low);
        }
        if !changed {
            return group;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    #[test]
    fn groups_are_what_reachability_makes_them(functions in any_tree()) {
        let mut scratch = vec![Node::EMPTY; nodes_needed(&functions)];
        let ours = partition(&functions, &mut scratch, |_| {}).unwrap();
        let ours: BTreeMap<Sbdf, Sbdf> = ours.members().map(|m| (m.id, m.group)).collect();
        prop_assert_eq!(ours, by_reachability(&functions));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn what_the_kernel_joins_is_never_apart(functions in any_tree()) {
        let linux = as_linux_would(&functions);
        let mut scratch = vec![Node::EMPTY; nodes_needed(&functions)];
        let ours = partition(&functions, &mut scratch, |_| {}).unwrap();
        for (i, a) in functions.iter().enumerate() {
            for (j, b) in functions.iter().enumerate() {
                prop_assert!(
                    linux[i] != linux[j] || ours.group_of(a.id) == ours.group_of(b.id),
                    "{} {}", a.id, b.id
                );
            }
        }
    }

    #[test]
    fn any_order_gives_the_same_groups_and_reasons(
        (functions, order) in any_tree().prop_flat_map(|f| {
            let order: Vec<usize> = (0..f.len()).collect();
            (Just(f), Just(order).prop_shuffle())
        }),
        aliases: [(u8, u8); 3],
    ) {
        let mut functions = functions;
        let n = functions.len();
        for (who, rid) in aliases {
            functions[usize::from(who) % n].firmware_alias = Some(Rid(u16::from(rid)));
        }
        prop_assert_eq!(solve(&functions), solve(&permute(&functions, &order)));
    }
}
