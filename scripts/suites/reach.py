# SPDX-License-Identifier: GPL-2.0
"""What devices in the hands of user space can reach: edu and iommu-testdev by way of VFIO."""

import os
import re
import tempfile

from .lib import TOP

FAULT = {("rust", "amd-vi"): "rust_iommu: ivhd0: ", ("c", "amd-vi"): "IO_PAGE_FAULT",
         ("rust", "vt-d"): "rust_iommu: dmar0: ", ("c", "vt-d"): "DMAR: [DMA "}
TRACE = {"amd-vi": ("amdvi_page_fault", r"guest physical address (0x[0-9a-f]+)"), "vt-d": ("vtd_dmar_fault", r"addr (0x[0-9a-f]+)")}


def run(suite):
    """One boot a device; what the program says was refused, QEMU must have refused."""
    driver, unit = suite.options.driver, suite.options.unit
    event, address = TRACE[unit]
    tools = os.path.join(TOP, "tools/testing/selftests/iommu")
    vfio = ["vfio_iommu_type1=allow_unsafe_interrupts=1", "vfio-pci"]
    rights = "write-implies-read" if "fsts=on" in suite.options.unit_args else ""
    suite.guest("claimed.sh", devices=["testdev"], tools=[f"{tools}/vfio_claim.c"], modules=vfio)
    for device, ids in [("edu", "1234:11e8"), ("testdev", "1b36:0005")]:
        with tempfile.TemporaryDirectory() as tmp:
            r = suite.guest("vfio_dma.sh", before=f"DEVICE={ids}\nFAULT='{FAULT[driver, unit]}'\nRIGHTS={rights}\n", title=device, devices=[device],
                            tools=[f"{tools}/vfio_dma.c"], modules=vfio,
                            traces=[f"{event}:{tmp}/trace"])
            with open(f"{tmp}/trace", encoding="utf-8") as f:
                seen = {int(x, 16) for x in re.findall(address, f.read())}
        refused = {int(x, 16) for x in re.findall(r"^# refused (0x[0-9a-f]+)", r.output, re.M)}
        missing = ", ".join(hex(x) for x in sorted(refused - seen))
        suite.result(f"{suite.name}[{driver}] {device}: the unit refused at these addresses",
                     "" if refused and not missing else f"the trace lacks {missing or 'all'}", r.log)
