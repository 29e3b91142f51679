# SPDX-License-Identifier: GPL-2.0
"""What all suites share: options, one boot with a guest script, and one line a test."""

import concurrent.futures
import dataclasses
import os
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "scripts/lib"))
from vm import Machine  # noqa: E402

# The kselftests, here and in a machine; and what says there that its disks are nobody's (lib.sh).
TESTS = os.path.join(TOP, "tools/testing/selftests/iommu")
IN_GUEST = "/kselftest/iommu"
MARK = ": >/etc/rust_iommu_test_vm\n"
ALLOW = "KSFT_IOMMU_DISRUPTIVE=1\nKSFT_IOMMU_BLOCK=/dev/nvme0n1\nKSFT_IOMMU_BLOCK_WRITE=1\n"


def guest_files():
    """The scripts of the tests, for `files` of a machine."""
    return [f"{TESTS}/{f}:{IN_GUEST}/{f}" for f in sorted(os.listdir(TESTS)) if f.endswith(".sh")]


def guest_script(name, before=""):
    """The script of a machine that runs one test with everything allowed; `before` sets more variables."""
    return f"{MARK}set -a\n{ALLOW}{before}set +a\nexec {IN_GUEST}/{name}\n"


def tap(output):
    """The (state, text, reason of a skip) of each result in KTAP, and the plan: a number, a reason why all is skipped, or None."""
    results = []
    for state, text in re.findall(r"^(not ok|ok) \d+ ?(.*)$", output, re.M):
        text, _, why = text.partition("# SKIP")
        results.append((state, text.removeprefix("- ").strip(), why.strip() or "no reason" if _ else ""))
    plans = re.findall(r"^1\.\.(\d+)(?: # SKIP (.*))?$", output, re.M)
    plan = (plans[0][1] or int(plans[0][0])) if len(plans) == 1 else None
    return results, plan


@dataclasses.dataclass
class Options:
    """What the command line of run.py says."""

    driver: str = "rust"
    flavour: str = "lean"
    quick: bool = False
    ko: str = ""
    unit: str = "amd-vi"
    unit_args: str = ""

    def machine(self):
        """What all machines of a suite have in common."""
        return {"driver": self.driver, "flavour": self.flavour, "ko": self.ko, "unit": self.unit, "unit_args": self.unit_args}

    def module(self):
        """The module, for a machine that loads it itself."""
        return f"{self.ko or os.path.join(TOP, 'build', self.flavour, 'rust_iommu.ko')}:/lib/modules/rust_iommu.ko"

    def label(self):
        """The unit, where it is not the first one."""
        return "" if self.unit == "amd-vi" else f"{self.unit}{',' * bool(self.unit_args)}{self.unit_args} "


# One machine keeps little more than one processor busy.
AT_ONCE = len(os.sched_getaffinity(0))


def side_by_side(boot, things):
    """Calls `boot` for each thing, several at once. Yields what they return, in order."""
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(boot, things)


def firmware_table(suite, signature, **config):
    """The table that the machine's own firmware has."""
    bare = suite.options.machine() | {"driver": "none", "ko": ""} | config
    return bytes.fromhex(Machine(**bare, script=f"od -An -v -tx1 /sys/firmware/acpi/tables/{signature}").run().output)


class Suite:
    """Counts the results of one suite; `say` takes its lines."""

    def __init__(self, name, options, say=lambda line: print(line, flush=True)):
        self.name, self.options, self.say = name, options, say
        self.passed = self.failed = 0

    def result(self, test, reason="", log=""):
        """One test; it passed if there is no reason why not."""
        self.passed, self.failed = self.passed + (not reason), self.failed + bool(reason)
        test = self.options.label() + test
        self.say(f"not ok {test}: {reason} (log: {log})" if reason else f"ok {test}")

    def skip(self, what, why):
        """Something that this machine cannot show."""
        self.say(f"skip {self.options.label()}{self.name} {what}: {why}")

    def guest(self, script, before="", title="", talk=None, during=None, leaks=False, **config):
        """Boots, runs a script of the selftests, and reports its results as tests; one that skips all has failed.

        `before` sets variables for it. `talk` has for patterns of the script's lines what is then called,
        with the machine and the pattern's first group, while the guest waits for a line in return. `during`
        is called with the machine while it runs.
        """
        config = self.options.machine() | config
        if config["driver"] != "rust":
            config["ko"] = ""
        # What kmemleak finds counts, at the price of some 20 s.
        before += "LEAKS=1\n" if leaks and config["flavour"] == "debug" else ""
        name = f"{self.name}[{config['driver']}]" + (f" {title}:" if title else "")
        config["files"] = [*config.get("files", []), *guest_files()]
        machine = Machine(script=guest_script(script, before), on_line=lambda *line: answer(*line), **config)

        def answer(source, line):
            for pattern, then in (talk or {}).items() if source == "script" else ():
                if found := re.search(pattern, line):
                    then(machine, found[1])

        with machine:
            if during:
                during(machine)
            r = machine.finish()
        results, planned = tap(r.output)
        for state, text, why in results:
            if why:
                self.say(f"skip {self.options.label()}{name} {f'{text}: ' * bool(text)}{why}")
                continue
            self.result(f"{name} {text}", "" if state == "ok" else "the guest says so", r.log)
        if planned != len(results) or all(why for *_, why in results):
            self.result(f"{name} plan", f"{len(results)} results, plan {planned}: {r.reason}", r.log)
        elif not r.ok and all(state == "ok" for state, *_ in results):
            self.result(f"{name} end", r.reason, r.log)
        return r
