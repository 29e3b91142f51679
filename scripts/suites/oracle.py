# SPDX-License-Identifier: GPL-2.0
"""Every map and unmap is followed by an invalidation that covers it, before the IOVA is used again.

A fake device sees what a unit would that caches everything, absent entries included: QEMU tells it
a change only when an invalidation covers it. See scripts/lib/fake_device.py.
"""

import os
import re
import tempfile

from fake_device import FakeDevice

from .lib import TOP

MEMORY = "-object memory-backend-memfd,id=mem,size=1G,share=on -machine memory-backend=mem "
DISK = "-blockdev null-co,node-name=hd0,size=67108864,read-zeroes=on -device nvme,serial=x,drive=hd0,addr=8.0,multifunction=on "


# What drops pages of a domain, in QEMU's trace: its events, and their lines.
INVALIDATIONS = {
    "amd-vi": (["amdvi_pages_inval"], r"amdvi_pages_inval"),
    "vt-d": (["vtd_inv_desc_iotlb_pages", "vtd_inv_desc_iotlb_domain", "vtd_inv_desc_iotlb_pasid_pages", "vtd_inv_desc_iotlb_pasid"],
             r"iotlb invalidate"),
}


def run(suite):
    """User mappings compared after each round; then the DMA API's, from the trace."""
    options = suite.options
    if "fsts=on" in options.unit_args:
        suite.skip("all", "QEMU tells a fake device nothing of first-stage tables")
        return
    if options.unit == "vt-d" and "caching-mode=on" not in options.unit_args:
        # Without it QEMU has nothing to tell a fake device.
        options.unit_args = ",".join(filter(None, [options.unit_args, "caching-mode=on"]))
    with tempfile.TemporaryDirectory() as tmp:
        churn(suite, tmp)
        for dma in ["rust", "core"] if suite.options.driver == "rust" else [""]:
            stream(suite, tmp, dma)
        if suite.options.driver == "rust":
            stream(suite, tmp, "rust", lazy=True)


def churn(suite, tmp):
    """vfio_churn says what it mapped; the fake device is asked whether it sees that."""
    fake = FakeDevice(f"{tmp}/churn.sock")
    rounds, differs = 20 if suite.options.quick else 60, []

    def compare(machine, text):
        wanted = [tuple(int(x, 16) for x in r.split("-")) for r in text.split()]
        seen = fake.snapshot()
        if wanted != seen:
            differs.append(f"mapped {_show(wanted)}, seen {_show(seen)}")
        machine.send("no" if wanted != seen else "yes")

    suite.guest("vfio_churn.sh", before=f"ROUNDS={rounds}\nSEED=20261\n", title="vfio",
                talk={r"^mapped:(.*)$": compare},
                tools=[os.path.join(TOP, "tools/testing/selftests/iommu/vfio_churn.c")],
                modules=["vfio_iommu_type1=allow_unsafe_interrupts=1", "vfio-pci"],
                append="memmap=32M$0x20000000", machine_args=MEMORY + fake.qemu_args(addr="8"))
    fake.close()
    for text in differs[:3]:
        suite.say(f"# {text}")
    suite.result(f"{suite.name} vfio: no map over a map, no cut", "; ".join(fake.errors[:3]))


def _show(ranges):
    return " ".join(f"{a:x}-{b:x}" for a, b in ranges) or "nothing"


def stream(suite, tmp, dma, lazy=False):
    """A disk shares its group with the fake device, which so sees the disk's mappings. In lazy mode an
    unmap is seen late, but no later than when its IOVA is used again."""
    mode = "lazy" if lazy else ""
    fake = FakeDevice(f"{tmp}/stream{dma}{mode}.sock")
    events, pattern = INVALIDATIONS[suite.options.unit]
    seen = {}

    def look(machine, _):
        seen["left"] = fake.snapshot()
        with open(machine.trace_file, encoding="utf-8") as f:
            seen["commands"] = list(read_trace(f, pattern))
        machine.send("look")

    r = suite.guest("stream.sh", title=f"{dma or 'dma'} {mode}".strip(), rust_params=f"dma={dma}" if dma else "",
                    modules=["nvme"], append="iommu.strict=0" if lazy else "",
                    machine_args=MEMORY + DISK + fake.qemu_args(addr="8.1"),
                    talk={r"^host: (ready)": look},
                    traces=["vfio_user_dma_map", "vfio_user_dma_unmap", *events])
    fake.close()
    name = f"{suite.name}[{suite.options.driver}] {dma or 'dma'} {mode}".rstrip() + ":"
    calls = re.search(r"calls: maps (\d+) unmaps (\d+)", r.output)
    commands = seen.get("commands", [])
    reused = [c for c in commands if touching(c["unmaps"], c["maps"])]
    reason = f"{len(reused)} commands bring both, first {reused[0]}" if reused else "; ".join(fake.errors[:3])
    suite.result(f"{name} no IOVA is used again before its invalidation", reason, r.log)
    if calls and calls[1] != "0":  # only our own way counts its calls
        # Two maps at once may be seen by one command, so their pieces are counted.
        maps, unmaps = (sum(len(c[k]) for c in commands) for k in ("maps", "unmaps"))
        few = f"{calls[1]} maps, {maps} seen; {calls[2]} unmaps, {unmaps} seen"
        # What is put off goes together, and neighbours make one piece.
        good = int(calls[1]) <= maps and (int(calls[2]) <= unmaps or lazy) and min(unmaps, int(calls[2])) > 100
        suite.result(f"{name} each map and each unmap has its invalidation", "" if good else few, r.log)
    left = seen.get("left", [(0, 0)])
    suite.result(f"{name} nothing is left when the driver is gone", f"{len(left)} ranges left: {_show(left[:4])}" if left else "", r.log)


def read_trace(lines, pattern):
    """One dict for each page invalidation: what QEMU found unmapped and mapped by it."""
    command = None
    for line in lines:
        if re.search(pattern, line):
            if command:
                yield command
            command = {"unmaps": [], "maps": []}
        elif found := re.search(r"vfio_user_dma_(un)?map +iova (0x[0-9a-f]+) size (0x[0-9a-f]+)", line):
            # Before the first one QEMU itself switches the address space.
            if command:
                command["unmaps" if found[1] else "maps"].append((int(found[2], 16), int(found[3], 16)))
    if command:
        yield command


def touching(some, others):
    """Does any of these (start, size) overlap any of those?"""
    return any(a < d + n and d < a + m for a, m in some for d, n in others)
