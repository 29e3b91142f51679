# SPDX-License-Identifier: GPL-2.0
"""IOMMU groups of topologies QEMU can build, against what is written here and the C driver's.

docs/groups.md argues each case in which ours differ from the C driver's.
"""

import json
import re

from vm import Machine

from .lib import side_by_side
from .topologies import TOPOLOGIES

LINKS = """for g in /sys/kernel/iommu_groups/*; do for d in "$g"/devices/*; do echo "member ${g##*/} ${d##*/}"; done; done
"""
SHOW = {"rust": f"cat /sys/kernel/debug/rust_iommu/groups.json\n{LINKS}", "c": LINKS}

# All functions but the machine's own leave, from the top at once or one by one from below, and come back.
REPLUG = """
replug() {
    for d in $1; do
        case ${d##*/} in 0000:00:0[02].*|0000:00:1f.*) ;; *) [ ! -e "$d/remove" ] || echo 1 >"$d/remove" ;; esac
    done
    echo 1 >/sys/bus/pci/rescan
}
all() { for d in /sys/bus/pci/devices/*; do echo "$d"; done; }
"""


def run(suite):
    """Boots each topology with the driver; with the C driver, the groups it has are expected. With
    ours, they are the same after everything has come back."""
    driver = suite.options.driver
    topologies = TOPOLOGIES[::4] if suite.options.quick else TOPOLOGIES

    def boot(t):
        show = f"{t.before}\n{SHOW[driver]}\n"
        if driver == "rust":
            show = REPLUG + show + "".join(f'replug "$(all | {order})"\n{show}' for order in ("sort", "sort -r"))
        return Machine(**suite.options.machine(), script=show, machine_args=t.args, append=t.append,
                       modules=list(t.modules), load=False, rust_params=t.params if driver == "rust" else "").run()

    for t, r in zip(topologies, side_by_side(boot, topologies), strict=True):
        reason = "" if r.ok else r.reason
        if not reason:
            seen = list(from_json(r.output)) if driver == "rust" else [from_links(r.output)]
            wanted = normal(t.groups if driver == "rust" or t.c is None else t.c)
            times = {"rust": ["at start", "after removal from the top", "after removal from below"], "c": ["at start"]}[driver]
            reason = "; ".join(f"{when}: wanted '{wanted}', got '{got}'" for when, got in zip(times, seen, strict=True) if got != wanted)
        suite.result(f"groups[{driver}] {t.name}", reason, r.log)
    if driver == "rust":
        below_a_switch(suite)


def below_a_switch(suite):
    """Cards plugged into a switch have the groups of a cold boot."""
    cold = next(t for t in TOPOLOGIES if t.name == "switch with two ports")
    bare = cold.args[:cold.args.index("-device e1000e")]
    m = Machine(**suite.options.machine(), script=f"wait_host show\n{SHOW['rust']}", machine_args=bare, modules=["e1000e"])
    reason = ""
    with m:
        try:
            for port, bdf in [("s1", "04:00.0"), ("s0", "03:00.0")]:
                m.qmp("device_add", driver="e1000e", bus=port)
                m.wait_for(rf"{bdf}: Adding to iommu group", 60)
            m.send("show")
        except Exception as e:  # pylint: disable=broad-except
            reason = f"{type(e).__name__}: {e}"
        r = m.finish()
    got = list(from_json(r.output)) if r.ok else [r.reason]
    if not reason and got != [normal(cold.groups)]:
        reason = f"wanted '{normal(cold.groups)}', got {got}"
    suite.result("groups[rust] cards plugged into a switch", reason, r.log)


def normal(text):
    """Groups in a fixed order: '00:04.0 01:00.0 | 00:05.0'."""
    return " | ".join(sorted(" ".join(sorted(g.split())) for g in text.split("|")))


def keep(bdf):
    """The machine's own functions, the same in every topology, are left out."""
    return not re.match(r"00:(00|02|1f)\.", bdf)


def join(groups):
    """Groups as text; empty ones go."""
    texts = (" ".join(sorted(m for m in g if keep(m))) for g in groups)
    return " | ".join(sorted(t for t in texts if t))


def from_json(output):
    """The partitions that the driver explains, in order; and those of the core, which lacks ports
    that had their driver before, must be the same."""
    for view, links in re.findall(r'^(\{"groups".*?\n\]\}$)(.*?)(?=\{"groups"|\Z)', output, re.M | re.S):
        groups = [[m["id"].removeprefix("0000:") for m in g["members"] if m["device"]] for g in json.loads(view)["groups"]]
        known = re.findall(r"^member \d+ 0000:(\S+)$", links, re.M)
        core, ours = from_links(links), join([m for m in g if m in known] for g in groups)
        yield join(groups) if core == ours else f"{join(groups)}, but the core has {core}"


def from_links(output):
    """The partition in sysfs."""
    groups = {}
    for number, bdf in re.findall(r"^member (\d+) 0000:(\S+)$", output, re.M):
        groups.setdefault(number, []).append(bdf)
    return join(groups.values())
