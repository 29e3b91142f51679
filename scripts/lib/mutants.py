# SPDX-License-Identifier: GPL-2.0
"""The ways scripts/mutants breaks the driver, and who has to notice."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Mutant:
    """In `file`, `old` (there exactly once) becomes `new`; `suite` must fail in a line that matches
    `caught_by`."""

    name: str
    file: str
    old: str
    new: str
    suite: str
    caught_by: str


AMD = "drivers/iommu/rust_iommu/amd_vi"

NO_UNMAP_FLUSH = ("""        let mut result = Ok(());
        for u in self.units.iter() {
            if domain.is_used_by""", """        let mut result = Ok(());
        for u in self.units.iter().take(0) {
            if domain.is_used_by""")

MUTANTS = [
    Mutant("unmap-without-invalidation-vfio", f"{AMD}/mod.rs", *NO_UNMAP_FLUSH, "reach", "after unmap|after remap"),
    Mutant("unmap-without-invalidation-dma", f"{AMD}/mod.rs", *NO_UNMAP_FLUSH, "oracle", "used again before its invalidation"),
    Mutant("unmap-invalidates-too-little", f"{AMD}/mod.rs",
           """                let done = u
                    .queue_invalidate(domain.id(), Pages::covering(range))""",
           """                let half = range.first() + range.len_bytes() / 2;
                let range = Range::new(range.first(), half).unwrap_or(range);
                let done = u
                    .queue_invalidate(domain.id(), Pages::covering(range))""",
           "oracle", "after each of|nothing in the end"),
    Mutant("map-without-invalidation", f"{AMD}/mod.rs", "if u.np_cache && domain.is_used_by(u.index)", "if u.np_cache && domain.is_used_by(u.index + 1)",
           "oracle", "each map and each unmap|after each of"),
    Mutant("read-only-is-writable", f"{AMD}/ops.rs",
           "            write: prot.write,\n        };\n        match domain.map(", "            write: true,\n        };\n        match domain.map(",
           "reach", "read-only"),
    Mutant("write-only-is-readable", f"{AMD}/ops.rs",
           "            read: prot.read,\n            write: prot.write,\n        };\n        match domain.map(",
           "            read: true,\n            write: prot.write,\n        };\n        match domain.map(",
           "reach", "write-only"),
    Mutant("blocked-passes", f"{AMD}/unit.rs", "let dte = Dte::blocked_with_events(Oa(self.empty_root.phys()), BLOCKED_DID);", "let dte = Some(Dte::identity(IDENTITY_DID));",
           "reach", "claimed"),
    Mutant("pointers-left-behind", f"{AMD}/hardware.rs", "            io.write64(value, *reg);", "            let _ = (value, reg);",
           "life", "plan"),
    Mutant("addresses-reused-in-doubt", "drivers/iommu/rust_iommu/dma.rs", "    if flushed.is_err() {", "    if flushed.is_err() && len == 0 {",
           "life", "kept back"),
    Mutant("overflow-not-restarted", f"{AMD}/events.rs", "            self.restart();\n", "            let _ = Self::restart;\n",
           "life", "events after an overflow"),
    Mutant("faults-not-limited", "drivers/iommu/rust_iommu/fault.rs", "const BURST: u32 = 10;", "const BURST: u32 = 1 << 30;",
           "life", "few lines|responsive"),
    Mutant("release-under-a-driver", "drivers/iommu/rust_iommu/machine.rs", "if dev.has_driver() && Group::of(dev.device()).is_some() {",
           "if dev.has_driver() && Group::of(dev.device()).is_none() {", "life", "release is refused|names the device"),
    Mutant("tables-leak", "drivers/iommu/rust_iommu/domain.rs", "        pt::free_all::<F, _>(&Tables(Gfp::Atomic), self.root);", "        let _ = pt::free_all::<F, Tables>;",
           "hotplug", "leaves no IOMMU pages"),
]
