# SPDX-License-Identifier: GPL-2.0
"""Memory that firmware wants a device to reach (RMRR, IVMD), in tables made for it."""

import os
import tempfile

import dmar_mutants
import ivrs_table
from vm import Machine

from .lib import TOP

START, LEN = 0x3000800, 0x1000
TABLES = {
    "amd-vi": ("IVRS", lambda base: ivrs_table.good(base, "ivmd", (START, LEN, 0x40))),
    "vt-d": ("DMAR", lambda base: dmar_mutants.good(base, ["rmrr", str(START), str(LEN), "8", "0"])),
}
DEVICES = "-device iommu-testdev,addr=8.0,multifunction=on -device iommu-testdev,addr=8.1 -device iommu-testdev,addr=9 "


def run(suite):
    """One boot, with a table of the machine's own and the memory added."""
    if suite.options.driver != "rust":
        return
    signature, make = TABLES[suite.options.unit]
    bare = suite.options.machine() | {"driver": "none", "ko": "", "machine_args": DEVICES}
    r = Machine(**bare, script=f"od -An -v -tx1 /sys/firmware/acpi/tables/{signature}").run()
    with tempfile.TemporaryDirectory(prefix="rust-iommu-required.") as d:
        with open(f"{d}/table", "wb") as f:
            f.write(make(bytes.fromhex(r.output)))
        tests = os.path.join(TOP, "tools/testing/selftests/iommu")
        suite.guest("required.sh", **{k: bare[k] for k in ("driver", "machine_args")}, load=False, append="memmap=1M$0x3000000",
                    acpi_tables=[f"{signature}={d}/table"], files=[suite.options.module()], modules=["vfio-pci"],
                    tools=[f"{tests}/vfio_claim.c", f"{tests}/iommu_testdev.c"])
