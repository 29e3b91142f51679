#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Runs test suites in virtual machines; the last line is "N passed, N failed"."""

import argparse
import importlib
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from suites.lib import Options, Suite  # noqa: E402

SUITES = {
    "translate": "translate",
    "groups": "groups",
    "aliases": "aliases",
    "reach": "reach",
    "oracle": "oracle",
    "io": "io",
    "life": "life",
    "binding": "binding",
    "types": "group_types",
    "shuffle": "shuffle",
    "inject": "inject",
    "hotplug": "hotplug",
    "tables": "tables",
}


def main():
    """Returns the exit status."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--driver", choices=["rust", "c"], default="rust")
    p.add_argument("--flavour", choices=["lean", "debug"], default="lean")
    p.add_argument("--unit", choices=["amd-vi", "vt-d"], default="amd-vi")
    p.add_argument("--unit-args", default="", help="more properties of the unit, as for scripts/vm")
    p.add_argument("--ko", default="", help="the module to test instead of the flavour's")
    p.add_argument("--quick", action="store_true", help="fewer repetitions")
    p.add_argument("suites", nargs="*", metavar="SUITE", help=f"of: {', '.join(SUITES)} (default all)")
    a = p.parse_args()
    wrong = [s for s in a.suites if s not in SUITES]
    if wrong:
        p.error(f"no suite {', '.join(wrong)} (there is: {', '.join(SUITES)})")
    passed = failed = 0
    for name in a.suites or SUITES:
        start, suite = time.monotonic(), Suite(name, Options(a.driver, a.flavour, a.quick, a.ko, a.unit, a.unit_args))
        try:
            importlib.import_module(f"suites.{SUITES[name]}").run(suite)
        except Exception as e:  # a suite that breaks is a failure, and the others still run
            suite.result(f"{name} suite", f"{type(e).__name__}: {e}")
        print(f"# {name}: {time.monotonic() - start:.0f} s", flush=True)
        passed, failed = passed + suite.passed, failed + suite.failed
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
