# SPDX-License-Identifier: GPL-2.0
"""Load, refusal, release, late load, floods of faults, tests in the kernel."""

import os
import re
import struct
import tempfile

from acpi_override import checksum_fixed
from vm import Machine

from .lib import TOP, firmware_table


def run(suite):
    """All of it, on the debug kernel without what tells its checks no more; the C driver takes part as the one that owns
    the hardware."""
    tools = os.path.join(TOP, "tools/testing/selftests/iommu")
    suite.guest("params.sh", title="parameters", driver="none", files=[suite.options.module()])
    suite.guest("life.sh", devices=["nvme"], tools=[f"{tools}/fill_free.c"])
    suite.guest("faults.sh", devices=["testdev"])
    suite.guest("fault_handler.sh", title="fault handler", devices=["testdev"],
                files=[os.path.join(TOP, "build", suite.options.flavour, "tests/fault_handler.ko") + ":/lib/modules/fault_handler.ko"])
    debug = suite.options.flavour == "debug"
    if not debug:
        suite.guest("broken.sh", rust_params="dma=rust", title="broken", devices=["nvme"], timeout=200)
    bench = os.path.join(TOP, "build", suite.options.flavour, "tests/dma_bench.ko")
    # The DMA debug code wants no page mapped more than seven times.
    pages = 1500 if debug else 100_000
    suite.guest("memory.sh", title="memory", before=f"PAGES={pages}\n", timeout=200, rust_params="dma=rust", devices=["edu"], modules=[bench])
    for title, before, append in ("wait", "LAZY=\n", ""), ("lazy", "LAZY=1\n", "iommu.strict=0"):
        suite.guest("wait.sh", before=before, title=title, append=append, rust_params="dma=rust", smp=2, devices=["edu"],
                    modules=[bench])
    lost_processors(suite)
    suite.guest("takeover.sh", title="take-over", driver="none", load=False, devices=["nvme", "testdev"],
                append="memmap=8M$0x20000000", files=[suite.options.module()])
    if debug:
        kunit(suite)
        return
    suite.guest("acs.sh", title="ACS", driver="none", devices=["nvme"], files=[suite.options.module()])
    suite.guest("refuse.sh", driver="c", devices=["nvme"], files=[suite.options.module()])


def lost_processors(suite):
    """A machine whose firmware names processors that only x2APIC reaches: loading says that they are lost."""
    madt = firmware_table(suite, "APIC")
    # Two in use and one that is not: type 9, 16 bytes, ID, flags, UID (ACPI 6.5, 5.2.12.12).
    madt += b"".join(struct.pack("<BBHIII", 9, 16, 0, apic_id, flags, 100 + i) for i, (apic_id, flags) in enumerate(((300, 1), (4000, 1), (301, 0))))
    table = bytearray(madt)
    struct.pack_into("<I", table, 4, len(table))
    # The kernel prefers the newer of two tables.
    struct.pack_into("<I", table, 24, struct.unpack_from("<I", table, 24)[0] + 1)
    with tempfile.TemporaryDirectory(prefix="rust-iommu-life.") as d:
        with open(f"{d}/table", "wb") as f:
            f.write(checksum_fixed(table))
        for title, tables, wanted in (("as it is", [], 0), ("with more processors", [f"APIC={d}/table"], 1)):
            r = Machine(**suite.options.machine(), acpi_tables=tables, script="dmesg | grep 'rust_iommu: '").run()
            for what, line, times in (("interrupts", "interrupts are not remapped: none are posted", 1),
                                      ("processors", "no x2APIC: 2 processors with APIC IDs above 254 are not used", wanted)):
                got = r.output.count(line)
                suite.result(f"life cost of {what}, machine {title}", "" if got == times and r.ok else f"'{line}' {got} times: {r.reason}", r.log)


def kunit(suite):
    """The suite must have run: it vanishes without a word from a kernel that cannot have it."""
    r = Machine(
        driver="rust",
        flavour="debug",
        append="kunit.enable=1 kunit.autorun=1 kunit.filter_glob=rust_iommu",
        script="dmesg | grep -A12 'Subtest: rust_iommu'",
    ).run()
    ran = re.findall(r"\bok \d+ (\w+)", r.output)
    missing = {
        "tables_of_the_kernel_hold_what_is_mapped",
        "addresses_are_given_out_once",
        "pairs_are_written_whole_and_in_bounds",
    } - set(ran)
    bad = "not ok" in r.output or missing or not r.ok
    suite.result("life kunit rust_iommu", f"missing or failed: {missing or r.reason}" if bad else "", r.log)
