# SPDX-License-Identifier: GPL-2.0
"""Memory that firmware wants a device to reach (RMRR, IVMD), in tables made for it."""

import os
import tempfile

import dmar_mutants
import ivrs_table

from .lib import TOP, firmware_table

TABLES = {
    "amd-vi": ("IVRS", lambda base, start, size, func: ivrs_table.good(base, "ivmd", (start, size, 0x40 + func))),
    "vt-d": ("DMAR", lambda base, start, size, func: dmar_mutants.good(base, ["rmrr", str(start), str(size), "8", str(func)])),
}
TESTDEVS = "-device iommu-testdev,addr=8.0,multifunction=on -device iommu-testdev,addr=8.1 -device iommu-testdev,addr=9 "
DISK = ("-blockdev null-co,node-name=hd0,size=67108864,read-zeroes=on -device nvme,serial=x,drive=hd0,addr=8.0,multifunction=on "
        "-device iommu-testdev,addr=8.1 ")


def run(suite):
    """A device that never stops; and one whose memory another device's mappings have taken."""
    if suite.options.driver != "rust":
        return
    boot(suite, "required.sh", TESTDEVS, (0x3000800, 0x1000, 0), "memmap=1M$0x3000000", ["vfio-pci"])
    boot(suite, "required_clash.sh", DISK, (0x2000, 0x2000, 1), "memmap=8K$0x2000", ["nvme"])


def boot(suite, script, devices, memory, append, modules):
    """One boot, with a table of the machine's own and the memory (start, length, function of 00:08) added."""
    signature, make = TABLES[suite.options.unit]
    table = make(firmware_table(suite, signature, machine_args=devices), *memory)
    with tempfile.TemporaryDirectory(prefix="rust-iommu-required.") as d:
        with open(f"{d}/table", "wb") as f:
            f.write(table)
        tests = os.path.join(TOP, "tools/testing/selftests/iommu")
        suite.guest(script, driver="none", machine_args=devices, load=False, append=append,
                    acpi_tables=[f"{signature}={d}/table"], files=[suite.options.module()], modules=modules,
                    tools=[f"{tests}/vfio_claim.c", f"{tests}/iommu_testdev.c"])
