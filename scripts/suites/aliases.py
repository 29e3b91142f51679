# SPDX-License-Identifier: GPL-2.0
"""Requester-ID aliases that firmware declares, in tables made for it."""

import os
import tempfile

import ivrs_table as ivrs
from vm import Machine

from .lib import TOP, firmware_table

TESTS = os.path.join(TOP, "tools/testing/selftests/iommu")
CASES = [
    # name, entries, members, the alias, the group's lowest requester ID
    ("two slots, a function that is empty", lambda: ivrs.e_alias(0x40, 0x38) + ivrs.e_alias(0x48, 0x38), "00:08.0 00:09.0", "00:07.0", "00:07.0"),
    ("two slots, another bus", lambda: ivrs.e_alias(0x40, 0x500) + ivrs.e_alias(0x48, 0x500), "00:08.0 00:09.0", "05:00.0", "00:08.0"),
    ("a range", lambda: ivrs.e_alias_start(0x40, 0x38) + ivrs.e_end(0x57), "00:08.0 00:09.0 00:0a.0", "00:07.0", "00:07.0"),
    ("a chain", lambda: ivrs.e_alias(0x40, 0x48) + ivrs.e_alias(0x48, 0x50), "00:08.0 00:09.0 00:0a.0", "00:0a.0", "00:08.0"),
]
DEVICES = "".join(f"-device iommu-testdev,addr={slot} " for slot in "89a")


def run(suite):
    """One boot for each case. The C driver keeps apart what shares an ID without a device, which is
    shown, too."""
    if suite.options.unit != "amd-vi":
        suite.skip("all", "only AMD's table has aliases")
        return
    table = firmware_table(suite, "IVRS", machine_args=DEVICES)
    tool = os.path.join(TESTS, "iommu_testdev.c")
    with tempfile.TemporaryDirectory() as tmp:
        for name, entries, members, alias, lowest in CASES:
            path = os.path.join(tmp, "ivrs.aml")
            with open(path, "wb") as f:
                f.write(ivrs.with_entries_added(table, entries()))
            if name == "a chain" and suite.options.driver == "rust":
                suite.guest("joined.sh", title="joined later", machine_args=DEVICES, acpi_tables=[f"IVRS={path}"], driver="none",
                            tools=[os.path.join(TESTS, "vfio_claim.c")], files=[suite.options.module()],
                            modules=["vfio_iommu_type1=allow_unsafe_interrupts=1", "vfio-pci"])
            if suite.options.driver == "c":
                apart(suite, name, members, path)
                continue
            suite.guest("aliases.sh", title=name, before=f"MEMBERS='{members}'\nALIAS={alias}\nLOWEST={lowest}\n",
                        machine_args=DEVICES, acpi_tables=[f"IVRS={path}"], tools=[tool])


def apart(suite, name, members, path):
    """What the C driver makes of it: docs/groups.md."""
    script = f"for m in {members}; do group_of 0000:$m; done"
    r = Machine(**suite.options.machine(), machine_args=DEVICES, acpi_tables=[f"IVRS={path}"], script=script).run()
    groups, wanted = len(set(r.output.split())), 1 if name == "a chain" else len(members.split())
    suite.result(f"aliases[c] {name}: {wanted} groups", "" if groups == wanted else f"{groups} groups", r.log)
