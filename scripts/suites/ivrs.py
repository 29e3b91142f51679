# SPDX-License-Identifier: GPL-2.0
"""Mutilated IVRS tables: no crash, no hang, a few lines, and I/O works in every case."""

import os
import re
import subprocess
import sys
import tempfile

from vm import Machine

from .lib import TOP

# Lines of the module in the log that one table may cost.
MAX_LINES = 12
# Tables that are booted; a spread over all kinds.
TABLES, QUICK_TABLES = 60, 6


def run(suite):
    """Takes the guest's own table, breaks it in all ways, boots with a spread of the results."""
    if suite.options.driver != "rust":
        return
    with open(os.path.join(TOP, "tools/testing/selftests/iommu/ivrs.sh"), encoding="utf-8") as f:
        script = f.read()
    with tempfile.TemporaryDirectory(prefix="rust-iommu-ivrs.") as d:
        for path, wanted in spread(suite, d):
            name = os.path.basename(path).removesuffix(".aml")
            r = Machine(driver="none", flavour=suite.options.flavour, devices=["nvme"], load=False,
                        acpi_tables=[f"IVRS={path}"], script=script, timeout=60,
                        files=[f"{TOP}/build/{suite.options.flavour}/rust_iommu.ko:/lib/modules/rust_iommu.ko"]).run()
            lines = int((re.findall(r"^lines (\d+)", r.output, re.M) or ["0"])[0])
            reason = "" if r.ok else r.reason
            if not reason and lines > MAX_LINES:
                reason = f"{lines} lines in the log"
            if not reason and wanted == "refused" and "loaded 0" in r.output and name != "checksum":
                reason = "loaded with a table that cannot be read"
            suite.result(f"ivrs {name}", reason, r.log)


def spread(suite, folder):
    """Yields (file, expected) of the tables to boot."""
    r = Machine(driver="none", devices=["nvme"], flavour=suite.options.flavour,
                script="od -An -v -tx1 /sys/firmware/acpi/tables/IVRS").run()
    base = os.path.join(folder, "base.dat")
    with open(base, "wb") as f:
        f.write(bytes.fromhex(r.output))
    make = os.path.join(TOP, "scripts/lib/ivrs_mutants.py")
    subprocess.run([sys.executable, make, "--base", base, "-o", folder], check=True, stdout=subprocess.DEVNULL)
    with open(os.path.join(folder, "MANIFEST.tsv"), encoding="utf-8") as f:
        rows = [line.rstrip("\n").split("\t") for line in f if ".aml\t" in line]
    step = max(1, len(rows) // (QUICK_TABLES if suite.options.quick else TABLES))
    for file, wanted, *_ in rows[::step]:
        yield os.path.join(folder, file), wanted
