# SPDX-License-Identifier: GPL-2.0
"""What a VT-d unit is told while a disk works: pages of one domain, last level only, of the kind of its tables.

QEMU's unit forgives more than real ones: it drops what is cached of a first-stage table by a
descriptor for second-stage ones, too, and knows no caches of upper levels.

Source: Intel Virtualization Technology for Directed I/O, D51397-016 (revision 4.1), 6.5.2.
"""

import os
import re

from vm import Machine

from .lib import TOP

GUEST = """
wait_for /dev/nvme0n1 20 || exit 1
unmaps() { sed -n 's/^.*unmaps \\([0-9]*\\) .*$/\\1/p' /sys/kernel/debug/rust_iommu/devices | sort -n | tail -n 1; }
before=$(unmaps)
wait_host begin
dd if=/dev/nvme0n1 of=/dev/null bs=4k count=1000 iflag=direct 2>/dev/null
echo "UNMAPS $(($(unmaps) - before))"
wait_host end
"""
PAGES, LEAF_ONLY = 3, 1 << 6
# By type of descriptor in the trace: a global or domain-wide one of any type is out of place here.
KINDS = {"iotlb": "second stage", "p-iotlb": "first stage"}


# Pages enough for 195 leaf tables, most of which are freed after their unmap.
TABLES = """
bind "$(bdf_of 1234:11e8)" dma_bench
run() { echo "$1" >/sys/kernel/debug/dma_bench/run; }
tables() { sed -n 's/.* leaf tables \\([0-9]*\\)$/\\1/p' /sys/kernel/debug/rust_iommu/domains | sort -n | tail -n 1; }
run "hold 100000"
before=$(tables)
wait_host begin
run "drop 100000"
echo "FREED $((before - $(tables)))"
wait_host end
"""

# A large page where a small one was.
LARGE = """
load vfio-pci
bind "$(bdf_of 1234:11e8)" vfio-pci
echo 1 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
vfio_large "$(bdf_of 1234:11e8)" </dev/ttyS1
"""
# A domain-wide invalidation in the trace.
WHOLE = ["vtd_inv_desc_iotlb_domain", "vtd_inv_desc_iotlb_pasid"]


def run(suite):
    """What single pages need; then what tables need before they are freed."""
    if suite.options.unit != "vt-d" or suite.options.driver != "rust":
        suite.skip("all", "the trace of this unit does not show it")
        return
    pages(suite)
    tables(suite)
    large(suite)


def tables(suite):
    """A freed table may be in a cache of upper levels, which only domain-wide invalidations are sure to empty."""
    bench = os.path.join(TOP, "build", suite.options.flavour, "tests/dma_bench.ko")
    freed, trace, r = traced(suite, TABLES, r"FREED (-?\d+)", devices=["edu"], modules=[bench],
                             traces=WHOLE)
    whole = count_whole(trace)
    result(suite, r, "tables are freed", "" if freed > 100 else f"{freed} of 195")
    # At most eight tables go with one invalidation.
    result(suite, r, "only once the unit has dropped all of their domain", "" if whole * 8 >= freed else f"{whole} invalidations for {freed} tables")


def large(suite):
    """A table whose place a large page takes may be in such a cache, too."""
    tool = os.path.join(TOP, "tools/testing/selftests/iommu/vfio_large.c")
    _, trace, r = traced(suite, LARGE, r"LARGE (1)", devices=["edu"], tools=[tool], traces=WHOLE,
                         modules=["vfio_iommu_type1=allow_unsafe_interrupts=1", "vfio-pci"])
    whole = count_whole(trace)
    result(suite, r, "the unit drops a table that a large page replaces", "" if whole == 1 else f"{whole} invalidations of the domain")


def count_whole(trace):
    """Domain-wide invalidations."""
    return len(re.findall(r"^vtd_inv_desc_iotlb_(?:domain|pasid )", trace, re.M))


def pages(suite):
    """One boot."""
    unmaps, trace, r = traced(suite, GUEST, r"UNMAPS (\d+)", devices=["nvme"], traces=["vtd_inv_desc"])
    wanted = "first stage" if "fsts=on" in suite.options.unit_args else "second stage"
    seen = [(kind, int(hi, 16), int(lo, 16)) for kind, hi, lo in
            re.findall(r"invalidate desc type (\S+) high (0x[0-9a-f]+) low (0x[0-9a-f]+)", trace)]
    flushes = [(KINDS[k], (lo >> 4) & 3, hi) for k, hi, lo in seen if k in KINDS]
    other = sorted({k for k, _, _ in seen if k not in KINDS} - {"wait"})
    result(suite, r, "each unmap has its invalidation", "" if 1000 <= unmaps <= len(flushes) else f"{unmaps} unmaps, {len(flushes)} invalidations")
    result(suite, r, "all are of single pages", f"{sum(g != PAGES for _, g, _ in flushes)} are not" * any(g != PAGES for _, g, _ in flushes))
    result(suite, r, "all leave upper levels cached", f"{sum(not hi & LEAF_ONLY for *_, hi in flushes)} do not" * any(not hi & LEAF_ONLY for *_, hi in flushes))
    result(suite, r, f"all are for {wanted} tables", f"{sum(k != wanted for k, *_ in flushes)} are not" * any(k != wanted for k, *_ in flushes))
    result(suite, r, "nothing else is dropped", ", ".join(other))


def traced(suite, script, answer, **config):
    """The number that the script tells between `begin` and `end`, the trace of that time, and the machine's result."""
    m = Machine(**suite.options.machine(), script=script, rust_params="dma=rust", timeout=120, **config)
    with m:
        m.wait_for("host: ready", 60)
        start = os.path.getsize(m.trace_file)
        m.send("begin")
        number = int(m.wait_for(answer, 60)[1])
        with open(m.trace_file, encoding="utf-8") as f:
            f.seek(start)
            trace = f.read()
        m.send("end")
        return number, trace, m.finish()


def result(suite, r, test, reason):
    """One test of the trace."""
    suite.result(f"commands {test}", reason or ("" if r.ok else r.reason), r.log)
