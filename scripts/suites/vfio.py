# SPDX-License-Identifier: GPL-2.0
"""iommufd and VFIO: upstream's selftests, built from the kernel source, and a test of ours of what they leave out.

Upstream's tests take a device that a driver of its own had before. Each program has a machine of its own: what crashes
the kernel spoils no other's results. Without the C driver there is no interrupt remapping, so both of VFIO's ways to
IOMMUs are told that this is known; so is the C driver's machine, where nothing else differs.
"""

import os
import re
import shutil
import subprocess
import threading

from vm import Machine
from vm.errors import VmError
from vm.host import cache, digest, in_root, in_root_env, paths, read_input, write_atomic

from .lib import TOP

SOURCE = "tools/testing/selftests"
PROGRAMS = ("vfio_iommufd_setup_test", "vfio_pci_device_test", "vfio_dma_mapping_test")
# iommufd first: the others load it, too, and then without its parameter.
MODULES = ["iommufd=allow_unsafe_interrupts=1", "vfio_iommu_type1=allow_unsafe_interrupts=1", "vfio-pci"]
# What a test says when it leaves itself out, and why that is all right; any other skip is a failure.
SKIPS = {}

# libuuid's header is not in the tool root; one function of it is used, for tokens of virtual functions.
UUID = """
#include <stdio.h>
typedef unsigned char uuid_t[16];
static inline int uuid_parse(const char *in, uuid_t out)
{
	int i, at = 0, n = 0;

	for (i = 0; i < 16; i++, at += n + (in[at + n] == '-'))
		if (sscanf(in + at, "%2hhx%n", &out[i], &n) != 1 || n != 2)
			return -1;
	return in[at] ? -1 : 0;
}
"""

# PROGRAM is the test; the 1 GiB page comes from the command line.
GUEST = """
echo 8 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
dev=$(bdf_of igb) || exit 1
unbind "$dev"
bind "$dev" vfio-pci
$PROGRAM "$dev"
"""

LIFE = """
set -- $(bdfs_of 1234:11e8)
[ "$(group_of "$1")" != "$(group_of "$2")" ] || { echo "both devices are in group $(group_of "$1")"; exit 1; }
for dev; do bind "$dev" vfio-pci; done
iommufd_life "$@" $REFUSED
"""


def build():
    """Builds upstream's VFIO selftests into the cache; returns their folder."""
    source = os.path.join(paths()["SRC"], SOURCE)
    parts = [UUID, paths()["ROOT"], source]
    for folder, folders, files in os.walk(os.path.join(source, "vfio")):
        folders.sort()
        parts += [read_input(os.path.join(folder, f), "test") for f in sorted(files)]
    parts += [read_input(os.path.join(source, f), "test") for f in ("kselftest.h", "kselftest_harness.h", "lib.mk")]
    where = cache("vfio-selftests", digest(*parts))
    if os.path.exists(where):
        return where
    # Another suite may be building the same: whoever is first wins.
    partial = f"{where}.{os.getpid()}.{threading.get_ident()}.partial"
    os.makedirs(f"{partial}/uuid")
    write_atomic(f"{partial}/uuid/uuid.h", UUID.encode())
    with open(f"{where}.log", "w", encoding="utf-8") as log:
        make = ["make", "-C", f"{source}/vfio", f"OUTPUT={partial}", "CC=gcc", "LDLIBS=", "LDFLAGS=-static -pthread",
                f"EXTRA_CFLAGS=-O2 -I{partial}"]
        if subprocess.run(in_root(make), env=in_root_env([source]), stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False).returncode:
            shutil.rmtree(partial)
            raise VmError(f"building upstream's VFIO selftests failed: {where}.log")
    try:
        os.rename(partial, where)
    except OSError:
        shutil.rmtree(partial)
    return where


def run(suite):
    """A boot for each program; the C driver's score is the one to reach."""
    folder = build()
    for program in PROGRAMS:
        boot(suite, program, f"PROGRAM={program}\n{GUEST}", devices=["igb"], mem="4G", append="hugepagesz=1G hugepages=1",
             files=[f"{folder}/{program}:/bin/{program}"])
    refused = "all-flags-refused" if suite.options.driver == "rust" else ""
    boot(suite, "iommufd_life", f"REFUSED={refused}\n{LIFE}", devices=["edu", "edu"], tools=[os.path.join(TOP, SOURCE, "iommu/iommufd_life.c")])


def boot(suite, program, script, **config):
    """Runs one program and counts its KTAP lines."""
    config = suite.options.machine() | config | {"modules": MODULES, "timeout": 200}
    if config["driver"] != "rust":
        config["ko"] = ""
    name = f"{suite.name}[{suite.options.driver}] {program}"
    r = Machine(script=script, **config).run()
    lines = re.findall(r"^(not ok|ok) \d+ (?:- )?(.*)$", r.output, re.M)
    plan = re.findall(r"^1\.\.(\d+)", r.output, re.M)
    before = suite.passed, suite.failed
    for state, text in lines:
        test, _, skipped = text.partition("# SKIP")
        test = f"{name}: {test.split(' # ')[0].strip()}"
        if state == "ok" and skipped:
            reason = next((why for pattern, why in SKIPS.items() if re.search(pattern, text)), "")
            suite.skip(test, f"{skipped.strip()} ({reason})")
            if not reason:
                suite.result(test, f"left out without a known reason: {skipped.strip()}", r.log)
        else:
            suite.result(test, "" if state == "ok" else said(r.output, test), r.log)
    if plan != [str(len(lines))] or not lines:
        suite.result(f"{name} plan", f"{len(lines)} results, plan {', '.join(plan) or 'missing'}: {r.reason}", r.log)
    elif not r.ok and suite.failed == before[1]:
        suite.result(f"{name} end", r.reason, r.log)
    suite.say(f"# {suite.options.label()}{name}: {suite.passed - before[0]} passed, {suite.failed - before[1]} failed, plan {'/'.join(plan)}")


def said(output, test):
    """What is printed between a failed test's beginning and its result: the last line with something to tell."""
    name = test.rpartition(": ")[2]
    told = re.findall(r"^(?:# )?(?!#? *(?:RUN|FAIL|OK)\b)(.*\S.*)$",
                      output.partition(f"{name} ...\n")[2].partition(f"not ok ")[0] or output.partition(" " + name)[0], re.M)
    return told[-1].strip() if told else "the guest says so"
