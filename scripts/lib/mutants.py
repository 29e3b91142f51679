# SPDX-License-Identifier: GPL-2.0
"""The ways scripts/mutants breaks the driver, and who has to notice."""

import dataclasses

from two_units import CALLBACKS, GUARD, GUARD_OF_TWO, NO_GUARD, TWO_UNITS


@dataclasses.dataclass(frozen=True)
class Mutant:
    """In `file`, `old` (there exactly once) becomes `new`; `suite` (or several), on a machine with `unit`, must fail
    in a line that matches `caught_by`; where that is empty, all of it must pass: a variant that no
    emulated unit has."""

    name: str
    file: str
    old: str
    new: str
    suite: str
    caught_by: str
    unit: str = "amd-vi"
    unit_args: str = ""
    # More changes: (file, old, new) each.
    more: tuple = ()
    flavour: str = "lean"
    # Part of every run, whatever else is left out.
    always: bool = False


DRIVER = "drivers/iommu/rust_iommu"
AMD = f"{DRIVER}/amd_vi"
VTD = f"{DRIVER}/vt_d"

# A method without callers would be a warning.
UNMAP_FLUSH = "            Some(u) => u.after_unmap(domain.id(), span),"
NO_UNMAP_FLUSH = (UNMAP_FLUSH, "            Some(u) => if span.pages == u64::MAX { u.after_unmap(domain.id(), span) } else { Ok(()) },")

# A VT-d descriptor for pages.
PAGES = "            false => Descriptor::pages(did, Block::new(first, lg2), leaf_only),"
UNMAP = "        self.invalidate(did, span, true)\n"

# The allocator's invariants: what is broken, and the host test that notices.
SLAB = [
    ("object-stays-free", "slot.rs", "match self.objects.cas(now, now & now.wrapping_sub(1)) {", "match self.objects.cas(now, now) {", "slab::tests::as_a_map"),
    ("free-is-lost", "chunk.rs", "        self.word(word).or(bits)\n", "        self.word(word).load() & !bits\n", "slab::tests::as_a_map"),
    ("limit-is-doubled", "mod.rs", "let end = limit.saturating_add(1) >> CHUNK_SHIFT;", "let end = limit.saturating_add(1) >> (CHUNK_SHIFT - 1);",
     "slab::tests::threads::many"),
    ("claim-takes-nothing", "chunk.rs", "            let taken = word.and(!bit) & bit != 0;", "            let taken = word.load() & bit != 0;", "slab::tests::claims"),
    ("runs-anywhere", "search.rs", "let lg2 = count.next_power_of_two().trailing_zeros();\n        let class = if", "let lg2 = 0;\n        let class = if",
     "slab::tests::runs"),
    ("double-free-passes", "mod.rs", "        if before & bits != 0 {", "        if before & bits == u64::MAX {", "slab::tests::wild"),
    ("left-chunk-is-forgotten", "chunk.rs", "self.has_free() && self.claim_listing()", "!self.has_free() && self.claim_listing()", "slab::tests::a_small_space"),
    ("chunk-turns-while-in-use", "chunk.rs", "if got == full(order, i) &&", "if (got == full(order, i) || got != 0) &&", "slab::tests::threads::many"),
    ("reserves-stay-where-they-are", "mod.rs", "                Some(0) if self.stocked.swap(0) == 0 => break,", "                Some(0) if self.stocked.swap(0) != u64::MAX => break,", "slab::tests::a_small_space"),
    ("long-call", "run.rs", "const GATHER: usize = 16;", "const GATHER: usize = 4096;", "slab::tests::threads::no_call"),
    ("free-looks-before-it-gives", "chunk.rs", "        self.place.swap(place::NOWHERE);\n        self.has_free() && self.claim_listing()",
     "        let has_free = self.has_free();\n        self.place.swap(place::NOWHERE);\n        has_free && self.claim_listing()", "slab::tests::interleave::what_is_freed"),
    ("bit-above-is-cleared-for-good", "tree.rs", "        if node.word(class).load() != 0 {\n            if region", "        if node.word(class).load() == u64::MAX {\n            if region",
     "slab::tests::interleave::a_list"),
]

MUTANTS = [
    *(Mutant(f"two-units-{unit}", CALLBACKS, GUARD, GUARD_OF_TWO, "translate io life", "", unit, more=TWO_UNITS, always=True) for unit in ("amd-vi", "vt-d")),
    *(Mutant(f"two-units-inject-{unit}", CALLBACKS, GUARD, GUARD_OF_TWO, "inject", "", unit, more=TWO_UNITS, flavour="debug") for unit in ("amd-vi", "vt-d")),
    Mutant("two-units-devices-too-early", CALLBACKS, GUARD, NO_GUARD, "translate", "the kernel died", more=TWO_UNITS, always=True),
    # What a user does first: the demo must not pass.
    Mutant("demo-not-loaded", f"{DRIVER}/rust_iommu_main.rs", "Self::start(module, params).inspect_err", "Self::start(module, params).and_then(|_| Err(ENODEV)).inspect_err", "demo", "a module did not load"),
    Mutant("demo-nic-not-served", f"{DRIVER}/ops.rs", "(self.dma == params::Dma::Rust || !maps_in_two_steps(pdev))", "self.dma == params::Dma::Rust && !maps_in_two_steps(pdev)",
           "demo", "e1000e is not served by rust"),
    Mutant("demo-dma-not-blocked", f"{DRIVER}/ops.rs", "    fn def_domain_type(&self, _dev: &device::Device, _data: &Arc<Device>) -> Option<DomainType> {\n        None",
           "    fn def_domain_type(&self, _dev: &device::Device, _data: &Arc<Device>) -> Option<DomainType> {\n        Some(DomainType::Identity)", "demo", "illegal DMA was not blocked.*the canary changed"),
    Mutant("demo-data-differ", f"{DRIVER}/ops.rs", "            write: prot.write,\n", "            write: false,\n", "demo", "NVMe data differ|no NVMe disk"),
    Mutant("fault-handler-is-not-told", "rust/kernel/iommu/fault.rs", "rust_helper_iommu_report_fault(domain.0,", "rust_helper_iommu_report_fault(if write { null_mut() } else { domain.0 },",
           "life", "the handler is told", "vt-d"),
    Mutant("unmap-without-invalidation-vfio", f"{DRIVER}/iommu.rs", *NO_UNMAP_FLUSH, "reach", "after unmap|after remap"),
    Mutant("unmap-without-invalidation-dma", f"{DRIVER}/iommu.rs", *NO_UNMAP_FLUSH, "oracle", "used again before its invalidation"),
    Mutant("unmap-invalidates-too-little", f"{DRIVER}/iommu.rs",
           UNMAP_FLUSH,
           """            Some(u) => u.after_unmap(domain.id(), PageSpan { pages: span.pages.div_ceil(2), ..span }),""",
           "oracle", "after each of|nothing in the end"),
    Mutant("map-without-invalidation", f"{AMD}/unit.rs", "        if !self.np_cache {\n            return Ok(());",
           "        if !self.np_cache || span.pages > 0 {\n            return Ok(());",
           "oracle", "each map and each unmap|after each of"),
    Mutant("read-only-is-writable", f"{DRIVER}/ops.rs",
           "            write: prot.write,\n", "            write: true,\n",
           "reach", "read-only"),
    Mutant("write-only-is-readable", f"{DRIVER}/ops.rs",
           "            read: prot.read,\n", "            read: true,\n",
           "reach", "write-only"),
    Mutant("blocked-passes", f"{AMD}/unit.rs", "let logged = Dte::blocked_with_events(Oa(self.empty_root.phys()), BLOCKED_DID);",
           "let logged = Some(Dte::identity(BLOCKED_DID));",
           "reach", "claimed"),
    Mutant("alias-blocked-under-others", f"{DRIVER}/attach.rs", "|rid| to == StaticDomain::Blocked && is_shared(&others, dev, rid);",
           "|rid| to == StaticDomain::Blocked && is_shared(&others, dev, rid) && dev.rids.is_empty();", "aliases", "stays with"),
    Mutant("joined-groups-assigned", f"{DRIVER}/ops.rs", "if group::exist_apart(&members) {", "if group::exist_apart(&members) && members.is_empty() {",
           "aliases", "user space does not get"),
    Mutant("phantoms-count-as-known", f"{DRIVER}/group.rs", ".filter(|k| k.device)", ".filter(|k| k.device || true)",
           "aliases", "a line says so"),
    Mutant("late-comers-have-no-group", "drivers/iommu/rust_iommu/group.rs", "*known = compute(self.policy, firmware_alias)?;",
           "if known.is_empty() {\n                    *known = compute(self.policy, firmware_alias)?;\n                }", "shuffle", "steps under I/O"),
    Mutant("pointers-left-behind", f"{AMD}/hardware.rs", "            io.write64(value, *reg);", "            let _ = (value, reg);",
           "life", "plan"),
    Mutant("addresses-reused-in-doubt", f"{DRIVER}/iommu.rs", UNMAP_FLUSH, "            Some(u) => u.after_unmap(domain.id(), span).or(Ok(())),",
           "life", "kept back"),
    Mutant("overflow-not-restarted", f"{AMD}/events.rs", "            self.restart();\n", "            let _ = Self::restart;\n",
           "life", "events after an overflow"),
    Mutant("faults-not-limited", "drivers/iommu/rust_iommu/fault.rs", "const BURST: u32 = 10;", "const BURST: u32 = 1 << 30;",
           "life", "few lines"),
    Mutant("release-under-a-driver", "drivers/iommu/rust_iommu/machine.rs", "if dev.has_driver() && Group::of(dev.device()).is_some() {",
           "if dev.has_driver() && false {", "life", "release is refused|names a device"),
    Mutant("tables-leak", "drivers/iommu/rust_iommu/domain.rs", "        pt::free_all::<F, _>(&tables, self.root);", "        let _ = pt::free_all::<F, Tables<'_>>;",
           "hotplug", "leaves no IOMMU pages"),
    Mutant("memory-of-firmware-lost-at-load", f"{DRIVER}/iommu.rs", "if !has_driver && family.required(&dev, &rids)?.is_empty() {",
           "if !has_driver && (rids.len() > 9 || family.required(&dev, &rids)?.len() < 99) {", "required", "all the time"),
    Mutant("memory-of-firmware-elsewhere", f"{DRIVER}/attach.rs", "Some(_) => Err(EBUSY),", "Some(_) => Ok(()),", "required", "not attached"),
    Mutant("short-masks-pass", f"{DRIVER}/dma_ops.rs", "        last_ram().max(self.last_pluggable)\n", "        last_ram().min(self.last_pluggable).min(1)\n",
           "masks", "what it is attached to"),
    Mutant("own-domain-kept", f"{DRIVER}/attach.rs", "        dev.set_state(State::Identity);\n", "        undo.clear();\n",
           "masks", "afterwards it is passed through", "vt-d"),
    Mutant("vtd-unmap-without-invalidation", f"{VTD}/unit.rs",
           UNMAP, f"        if span.pages != u64::MAX {{\n            return Ok(());\n        }}\n{UNMAP}",
           "reach", "after unmap|after remap", "vt-d"),
    Mutant("vtd-unmap-invalidates-another-domain", f"{VTD}/unit.rs", PAGES,
           PAGES.replace("did,", "DomainId(did.0 ^ 1),"), "reach", "after unmap|after remap", "vt-d"),
    Mutant("vtd-first-stage-unmap-without-invalidation", f"{VTD}/unit.rs", PAGES.replace("false => Descriptor::", "true => Descriptor::first_"),
           PAGES.replace("false", "true"), "commands", "first stage tables", "vt-d", "scalable-mode=on,fsts=on"),
    Mutant("vtd-upper-levels-dropped", f"{VTD}/unit.rs", UNMAP, UNMAP.replace("true", "false"),
           "commands", "upper levels", "vt-d"),
    Mutant("vtd-map-without-invalidation", f"{VTD}/unit.rs", "if !self.caps().caching_mode {", "if !self.caps().caching_mode || span.pages > 0 {",
           "oracle", "each map and each unmap|after each of", "vt-d"),
    Mutant("vtd-entry-stays-cached", f"{VTD}/unit.rs", "            Mode::Legacy => self.command(&[context, all]),", "            Mode::Legacy => self.command(&[all]),",
           "reach", "claimed", "vt-d"),
    Mutant("vtd-fault-records-stay", f"{VTD}/hardware.rs", "        io.write32((VALID >> 32) as u32, at + 12);\n", "        let _ = VALID;\n",
           "life", ".", "vt-d"),
    Mutant("vtd-without-pass-through-types", f"{VTD}/unit.rs", "        self.caps().pass_through\n", "        false\n", "types", "", "vt-d"),
    Mutant("vtd-without-pass-through-masks", f"{VTD}/unit.rs", "        self.caps().pass_through\n", "        false\n",
           "masks", "", "vt-d", "scalable-mode=on,fsts=on"),
    Mutant("vtd-lost-units-devices-taken", f"{VTD}/unit.rs", " && !self.lost.iter().any(|l| l.name(&chain))", " && self.lost.iter().all(|l| l.name(&chain) || true)",
           "tables", "rest-lost", "vt-d"),
    Mutant("vtd-unnamed-functions-blocked", f"{DRIVER}/ops.rs", "            Some(Refusal::NoUnit) => self.pass_unnamed(group::sbdf(&pdev)),\n",
           "            Some(Refusal::NoUnit) if pdev.segment() == 77 => self.pass_unnamed(group::sbdf(&pdev)),\n",
           "tables", "scope-only-ioapic", "vt-d"),
] + [
    # The rules of the group engine; "host" is the core crate's own test of the topologies.
    Mutant(f"group-{name}", "rust/iommu_core/group.rs", old, new, "host", "every_topology_has_its_groups")
    for name, old, new in [
        ("real-dma", "nodes.join(f.id, real, Rule::RealDma, why);", "let _ = real;"),
        ("dma-alias", "nodes.join(f.id, f.in_segment(rid), Rule::DmaAlias, why);", ""),
        ("phantom", "nodes.join(f.id, id, Rule::PhantomFunction, why);", "let _ = id;"),
        ("firmware-alias", "nodes.join(f.id, f.in_segment(rid), Rule::FirmwareAlias, why);", "let _ = rid;"),
        ("bridge-alias", "nodes.join(f.id, alias, Rule::BridgeAlias, why);", "let _ = alias;"),
        ("shared-bus", "nodes.join(f.id, bridge.id, Rule::SharedBus, why);", "let _ = bridge;"),
        ("multifunction", "if let Some(first) = first.filter(|first| *first != f.id) {", "if let Some(first) = first.filter(|_| false) {"),
        ("isolated-stays-out", "let is_peer = |other: &Function<'_>| other.multifunction && same_device(functions, f, other);",
         "let is_peer = |other: &Function<'_>| other.multifunction && f.isolates().is_err() && same_device(functions, f, other);"),
        ("companion", "nodes.join(f.id, host, Rule::Companion, why);", "let _ = host;"),
        ("open-switch", "nodes.join(f.id, up.id, Rule::OpenSwitch { at, missing }, why);", "let _ = (up, at, missing);"),
        ("no-acs", "            if let Err(missing) = port.isolates() {", "            if let (Err(missing), false) = (port.isolates(), true) {"),
        ("open-neighbour", "open.map(|(at, missing)| Rule::OpenNeighbour {", "open.filter(|_| false).map(|(at, missing)| Rule::OpenNeighbour {"),
        ("first-port-decides", "let gap = ancestors(functions, f).find_map(|port| {", "let gap = ancestors(functions, f).take(1).find_map(|port| {"),
        ("virtual-functions", "if a.is_virtual || b.is_virtual || place(a) != place(b) {", "if place(a) != place(b) {"),
        ("ari", "    on_link || a.id.rid.dev() == b.id.rid.dev()", "    (on_link && false) || a.id.rid.dev() == b.id.rid.dev()"),
        ("quirk-ignored", "            Some(true) => return Ok(()),", "            Some(true) => {}"),
    ]
] + [
    *(Mutant(f"slab-{name}", f"rust/iommu_core/slab/{file}", old, new, "host", test) for name, file, old, new, test in SLAB),
    Mutant("tables-freed-while-cached", f"{DRIVER}/release.rs", "    if tables != 0 && unit.forget(domain).is_err() {", "    if tables > 999 && unit.forget(domain).is_err() {",
           "commands", "only once the unit", "vt-d"),
    Mutant("replaced-table-cached", f"{DRIVER}/release.rs", "    if unit.forget(domain).is_ok() {", "    if !core::ptr::from_ref(unit).cast::<u8>().is_null() {",
           "commands", "that a large page replaces", "vt-d"),
    Mutant("replaced-table-known", "rust/iommu_core/pt/near.rs", "            let _ = entry.cas(word, 0);", "            let _ = word;", "reach", "in its place again", "vt-d"),
    Mutant("memory-is-kept", f"{DRIVER}/machine.rs", "        self.driver.free_spare_tables(most)\n", "        self.driver.free_spare_tables(most.min(0))\n",
           "life", "memory: next to none when"),
    Mutant("lazy-without-invalidation", f"{DRIVER}/lazy.rs", "Some(spans) if ranges.next().is_none() => unit.after_unmaps(domain, spans),",
           "Some(spans) if ranges.next().is_none() => if spans.len() > 64 { unit.after_unmaps(domain, spans) } else { Ok(()) },", "oracle", "lazy: no IOVA is used again"),
    Mutant("lazy-for-ever", f"{DRIVER}/lazy.rs", "Put::Kept if lazy.alarm.is_wanted() => domain.start_timer(Delta::from_millis(WINDOW_MS)),",
           "Put::Kept if lazy.alarm.is_wanted() => domain.start_timer(Delta::from_secs(WINDOW_MS * 600)),", "life", "lazy: nor 20 ms later"),
    Mutant("wait-with-interrupts-off", f"{DRIVER}/queue.rs", "        let ticket = match self.append(unit, &[command]) {",
           "        let _irq = IrqSaved::new();\n        let ticket = match self.append(unit, &[command]) {", "life", "wait: (the waiting CPU takes|at once)"),
    Mutant("alarm-stays-set", "rust/iommu_core/slab/defer.rs", "        self.0.swap(0) != 0", "        self.0.load() != 0", "host", "slab::tests::interleave::what_is_put"),
    Mutant("first-stage-moves-through-nothing", "rust/iommu_core/vtd/entry.rs", ".write(Half::Low, current.with_id(spare).half(Half::Low))",
           ".write(Half::Low, [0; 2])", "host", "vtd::entry::tests::hardware_never"),
    Mutant("commit-two-at-the-doorbell", "rust/iommu_core/commit.rs", "        if self.ringing.load() != 0 {\n            return None;\n        }\n        let open",
           "        let open", "host", "slab::tests::interleave::each_command"),
    Mutant("leaf-cache-of-another-chunk", "rust/iommu_core/pt/near.rs", "word >> PAGE_BITS == iova >> TAG_SHIFT", "word >> PAGE_BITS <= iova >> TAG_SHIFT",
           "host", "pt::tests::near::a_cache"),
]
