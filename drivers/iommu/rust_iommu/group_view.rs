// SPDX-License-Identifier: GPL-2.0

//! The groups as people and programs read them: members, why they are together, what would part them.

use iommu_core::{
    group::Reason,
    id::Sbdf, //
};
use kernel::{
    fmt,
    prelude::*,
    sync::Arc, //
};
use kernel_iommu::{
    iommu::group::Group,
    pci_topology::PciDev, //
};

use crate::{
    group::Snapshot,
    machine::Machine, //
};

/// A requester ID with its group; whether a device has it, and whether the core has that in a group.
struct Member {
    id: Sbdf,
    group: Sbdf,
    device: bool,
    translated: bool,
    /// Its isolation is asserted by the parameter `isolate`.
    asserted: bool,
}

/// The partition of this moment, by group.
struct View {
    members: KVVec<Member>,
    reasons: KVVec<(Sbdf, Reason)>,
}

impl View {
    fn take(m: &Machine) -> Result<Self> {
        let snap = Snapshot::take(m.driver.groups().policy)?;
        let mut members = KVVec::new();
        let mut all = KVVec::new();
        let mut pushed: Result = Ok(());
        let each = |id, group, dev: Option<&PciDev>| {
            let member = Member {
                id,
                group,
                device: dev.is_some(),
                translated: dev.is_some_and(|dev| Group::of(dev.device()).is_some()),
                asserted: dev.is_some_and(|dev| {
                    let (vendor, device) = dev.ids();
                    m.driver.groups().policy.asserted.covers(id, vendor, device)
                }),
            };
            if pushed.is_ok() {
                pushed = members.push(member, GFP_KERNEL).map_err(Error::from);
            }
        };
        let alias = |id| m.driver.firmware_alias(id);
        let mut lost: Result = Ok(());
        snap.partition(alias, each, |why| {
            if lost.is_ok() {
                lost = all.push(why, GFP_KERNEL).map_err(Error::from);
            }
        })?;
        pushed.and(lost)?;
        let mut reasons = KVVec::with_capacity(all.len(), GFP_KERNEL)?;
        for why in all.iter() {
            let at = members.binary_search_by_key(&why.a, |m: &Member| m.id);
            if let Some(member) = at.ok().and_then(|at| members.get(at)) {
                reasons.push((member.group, *why), GFP_KERNEL)?;
            }
        }
        Ok(Self { members, reasons })
    }

    /// The names of all groups, in ascending order: each is its own lowest member.
    fn groups(&self) -> impl Iterator<Item = Sbdf> + use<'_> {
        self.members
            .iter()
            .filter(|m| m.id == m.group)
            .map(|m| m.id)
    }

    fn members_of(&self, group: Sbdf) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |m| m.group == group)
    }

    fn reasons_of(&self, group: Sbdf) -> impl Iterator<Item = &Reason> {
        let of_group = self.reasons.iter().filter(move |(g, _)| *g == group);
        of_group.map(|(_, why)| why)
    }

    /// What undoes the reasons of a group, each once.
    fn remedies_of(&self, group: Sbdf) -> impl Iterator<Item = &'static str> + use<'_> {
        let all = move || self.reasons_of(group).map(|why| why.rule.remedy());
        all()
            .enumerate()
            .filter(move |(at, remedy)| !all().take(*at).any(|r| r == *remedy))
            .map(|(_, remedy)| remedy)
    }
}

/// For people.
pub(crate) fn text(m: &Arc<Machine>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Ok(view) = View::take(m) else {
        return writeln!(f, "no memory, or see the kernel log");
    };
    for group in view.groups() {
        writeln!(f, "pci-{}", group)?;
        for m in view.members_of(group) {
            let note = match (m.device, m.translated) {
                (false, _) => " (no device)",
                (true, false) => " (not translated)",
                (true, true) => "",
            };
            let asserted = if m.asserted {
                " (isolation asserted by isolate=)"
            } else {
                ""
            };
            writeln!(f, "  {}{}{}", m.id, note, asserted)?;
        }
        for why in view.reasons_of(group) {
            writeln!(f, "  because {}", why)?;
        }
        for (n, remedy) in view.remedies_of(group).enumerate() {
            let word = if n > 0 { "and" } else { "to part them:" };
            writeln!(f, "  {} {}", word, remedy)?;
        }
    }
    Ok(())
}

/// For programs: JSON. No text in it needs escapes.
pub(crate) fn json(m: &Arc<Machine>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Ok(view) = View::take(m) else {
        return writeln!(f, "{{}}");
    };
    write!(f, "{{\"groups\": [")?;
    for (n, group) in view.groups().enumerate() {
        let comma = if n > 0 { "," } else { "" };
        write!(
            f,
            "{}\n {{\"name\": \"pci-{}\", \"members\": [",
            comma, group
        )?;
        for (n, m) in view.members_of(group).enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            write!(
                f,
                "{}{{\"id\": \"{}\", \"device\": {}, \"translated\": {}, \"asserted\": {}}}",
                comma, m.id, m.device, m.translated, m.asserted
            )?;
        }
        write!(f, "], \"reasons\": [")?;
        for (n, why) in view.reasons_of(group).enumerate() {
            let comma = if n > 0 { "," } else { "" };
            write!(
                f,
                "{}\n  {{\"rule\": \"{}\", \"a\": \"{}\", \"b\": \"{}\", \"text\": \"{}\", \"remedy\": \"{}\"}}",
                comma,
                why.rule.name(),
                why.a,
                why.b,
                why,
                why.rule.remedy()
            )?;
        }
        write!(f, "]}}")?;
    }
    writeln!(f, "\n]}}")
}
