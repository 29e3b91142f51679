# SPDX-License-Identifier: GPL-2.0
"""Mutilated tables of units: no crash, no hang, a few lines, and I/O works in every case."""

import os
import re
import subprocess
import sys
import tempfile

from dmar_mutants import c_driver_survives
from vm import Machine

from .lib import TOP, firmware_table, guest_files, guest_script, side_by_side

# Lines of the module in the log that one table may cost.
MAX_LINES = 12
# Tables that are booted; a spread over all kinds.
TABLES, QUICK_TABLES = 44, 6
# Booted in any case: a wrong answer here loses the machine's disks.
ALWAYS = {"scope-only-ioapic", "one-device-only", "second-unit-hole", "rest-lost"}
# 00:08.0 is behind a unit that cannot be driven: it must not be taken for one of the other unit's.
UNGROUPED = {"DMAR rest-lost"}
TABLE = {"amd-vi": "IVRS", "vt-d": "DMAR"}


def run(suite):
    """Takes the guest's own table, breaks it in all ways, boots with a spread of the results."""
    if suite.options.driver != "rust":
        return
    signature = TABLE[suite.options.unit]
    # The second device is the one that tables name.
    devices = {"devices": ["nvme"], "machine_args": "-device iommu-testdev,addr=8.0 "}
    bare = suite.options.machine() | {"driver": "none", "ko": ""} | devices

    def boot(table):
        path, wanted = table
        r = Machine(**bare, load=False, acpi_tables=[f"{signature}={path}"], script=guest_script("tables.sh"), timeout=120,
                    files=[suite.options.module(), *guest_files()]).run()
        return path, wanted, r

    with tempfile.TemporaryDirectory(prefix="rust-iommu-tables.") as d:
        for path, wanted, r in side_by_side(boot, list(spread(suite, firmware_table(suite, signature, **devices), signature, d))):
            name = os.path.basename(path).removesuffix(".aml")
            lines = int((re.findall(r"^# lines (\d+)", r.output, re.M) or ["0"])[0])
            reason = "" if r.ok else r.reason
            if not reason and lines > MAX_LINES:
                reason = f"{lines} lines in the log"
            if not reason and wanted == "refused" and "loaded 0" in r.output and name != "checksum":
                reason = "loaded with a table that cannot be read"
            if not reason and f"{signature} {name}" in UNGROUPED and "# grouped" in r.output.split("\n"):
                reason = "00:08.0 is taken for a device of a unit that it is not behind"
            suite.result(f"tables {signature} {name}", reason, r.log)


def read(path):
    """A file's bytes."""
    with open(path, "rb") as f:
        return f.read()


def spread(suite, table, signature, folder):
    """Yields (file, expected) of the tables to boot, made from `table`."""
    base = os.path.join(folder, "base.dat")
    with open(base, "wb") as f:
        f.write(table)
    make = os.path.join(TOP, f"scripts/lib/{signature.lower()}_mutants.py")
    subprocess.run([sys.executable, make, "--base", base, "-o", folder], check=True, stdout=subprocess.DEVNULL)
    with open(os.path.join(folder, "MANIFEST.tsv"), encoding="utf-8") as f:
        rows = [line.rstrip("\n").split("\t") for line in f if ".aml\t" in line]
    if signature == "DMAR":
        # With the others the machine never comes to load a module; they are left to the host's tests.
        rows = [row for row in rows if c_driver_survives(read(os.path.join(folder, row[0])))]
    count = min(len(rows), QUICK_TABLES if suite.options.quick else TABLES)
    chosen = {i * len(rows) // count for i in range(count)}
    for i, (file, wanted, *_) in enumerate(rows):
        if i in chosen or file.partition(".")[0] in ALWAYS:
            yield os.path.join(folder, file), wanted
