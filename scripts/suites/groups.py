# SPDX-License-Identifier: GPL-2.0
"""IOMMU groups of topologies QEMU can build, against what is written here and the C driver's.

docs/groups.md argues each case in which ours differ from the C driver's.
"""

import json
import re

from vm import Machine

from .topologies import TOPOLOGIES

SHOW = {
    "rust": "cat /sys/kernel/debug/rust_iommu/groups.json",
    "c": """for g in /sys/kernel/iommu_groups/*; do for d in "$g"/devices/*; do echo "member ${g##*/} ${d##*/}"; done; done""",
}


def run(suite):
    """Boots each topology with the driver; with the C driver, the groups it has are expected."""
    driver = suite.options.driver
    topologies = TOPOLOGIES[::4] if suite.options.quick else TOPOLOGIES
    for t in topologies:
        r = Machine(**suite.options.machine(), script=t.before + "\n" + SHOW[driver], machine_args=t.args, append=t.append,
                    modules=list(t.modules), load=False, rust_params=t.params if driver == "rust" else "").run()
        reason = "" if r.ok else r.reason
        if not reason:
            got = from_json(r.output) if driver == "rust" else from_links(r.output)
            wanted = t.groups if driver == "rust" or t.c is None else t.c
            if got != normal(wanted):
                reason = f"wanted '{normal(wanted)}', got '{got}'"
        suite.result(f"groups[{driver}] {t.name}", reason, r.log)


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
    """The partition that the driver explains."""
    text = output[output.index('{"groups"'):]
    groups = json.loads(text[:text.index("\n]}") + 3])["groups"]
    return join([m["id"].removeprefix("0000:") for m in g["members"] if m["device"]] for g in groups)


def from_links(output):
    """The partition in sysfs."""
    groups = {}
    for number, bdf in re.findall(r"^member (\d+) 0000:(\S+)$", output, re.M):
        groups.setdefault(number, []).append(bdf)
    return join(groups.values())
