#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Runs test suites in virtual machines; the last line is "N passed, N failed"."""

import argparse
import concurrent.futures
import importlib
import os
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from suites.lib import AT_ONCE, Options, Suite  # noqa: E402
from vm import Machine  # noqa: E402

SUITES = {
    "translate": "translate",
    "sysfs": "sysfs",
    "groups": "groups",
    "aliases": "aliases",
    "reach": "reach",
    "oracle": "oracle",
    "commands": "commands",
    "io": "io",
    "life": "life",
    "binding": "binding",
    "types": "group_types",
    "shuffle": "shuffle",
    "inject": "inject",
    "hotplug": "hotplug",
    "power": "power",
    "required": "required",
    "masks": "masks",
    "tables": "tables",
    "install": "install",
    "distro": "distro",
    "vfio": "vfio",
    "kselftest": "kselftest",
}

# Those that scripts/check runs by themselves: they are about Debian's kernel, and all units at once.
APART = ("distro", "install")

# What `--matrix` runs: unit, its properties, in the quick form, suites (none: all of them).
MATRIX = {
    "lean": [
        ("amd-vi", "", False, []),
        ("vt-d", "", False, ["translate", "sysfs", "reach", "oracle", "commands", "io", "life", "binding", "types", "shuffle", "power", "required",
                             "masks", "tables", "vfio", "kselftest"]),
        ("vt-d", "", True, ["groups", "hotplug"]),
        ("vt-d", "scalable-mode=on", True, ["translate", "reach", "oracle", "commands", "io", "types", "hotplug", "power", "required"]),
        ("vt-d", "scalable-mode=on,fsts=on", True, ["translate", "reach", "commands", "io", "types", "life", "hotplug", "power", "required",
                                                    "masks"]),
        ("vt-d", "caching-mode=on", True, ["translate", "reach", "types"]),
        ("vt-d", "aw-bits=39", True, ["translate", "reach", "types"]),
        ("vt-d", "device-iotlb=on", True, ["translate", "reach", "types"]),
    ],
    # Slow, and for what only its checks see.
    "debug": [
        ("amd-vi", "", True, ["reach", "io", "life", "binding", "types", "shuffle", "inject", "hotplug", "power", "required"]),
        ("vt-d", "", True, ["reach", "types"]),
        ("vt-d", "scalable-mode=on,fsts=on", True, ["reach", "types"]),
    ],
}


def run_one(name, options, say):
    """Runs one suite; returns it with its counts."""
    start, suite = time.monotonic(), Suite(name, options, say)
    try:
        importlib.import_module(f"suites.{SUITES[name]}").run(suite)
    except Exception as e:  # a suite that breaks is a failure, and the others still run
        suite.result(f"{name} suite", f"{type(e).__name__}: {e}")
    say(f"# {options.label()}{name}: {time.monotonic() - start:.0f} s")
    return suite


def run_buffered(name, options):
    """Runs one suite beside others: its lines come when it is done, together."""
    lines = []
    suite = run_one(name, options, lines.append)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
    return suite


def run_all(runs):
    """Runs (suite, options) pairs, several at once; returns the suites."""
    if len(runs) == 1:
        return [run_one(*runs[0], lambda line: print(line, flush=True))]
    Machine.slots = threading.BoundedSemaphore(AT_ONCE)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda run: run_buffered(*run), runs))


def main():
    """Returns the exit status."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--driver", choices=["rust", "c"], default="rust")
    p.add_argument("--flavour", choices=["lean", "debug", "distro"], default="lean")
    p.add_argument("--unit", choices=["amd-vi", "vt-d"], default="amd-vi")
    p.add_argument("--unit-args", default="", help="more properties of the unit, as for scripts/vm")
    p.add_argument("--matrix", action="store_true", help="all units and modes, each with the suites that tell something about it")
    p.add_argument("--ko", default="", help="the module to test instead of the flavour's")
    p.add_argument("--quick", action="store_true", help="fewer repetitions")
    p.add_argument("--list", action="store_true", help="prints the suites' names and ends")
    p.add_argument("suites", nargs="*", metavar="SUITE", help=f"of: {', '.join(SUITES)} (default all)")
    a = p.parse_args()
    if a.list:
        print(" ".join(SUITES))
        return 0
    wrong = [s for s in a.suites if s not in SUITES]
    if wrong:
        p.error(f"no suite {', '.join(wrong)} (there is: {', '.join(SUITES)})")
    everything = [s for s in SUITES if not a.matrix or s not in APART]
    machines = MATRIX[a.flavour] if a.matrix else [(a.unit, a.unit_args, a.quick, a.suites)]
    runs = [(name, Options(a.driver, a.flavour, quick, a.ko, unit, unit_args))
            for unit, unit_args, quick, suites in machines for name in suites or everything if not a.suites or name in a.suites]
    done = run_all(runs)
    passed, failed = sum(s.passed for s in done), sum(s.failed for s in done)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
