# SPDX-License-Identifier: GPL-2.0
"""The figures for people: docs/bench.md, cells that the C driver wins first, and README's short table."""

import re

from . import plan, show

# What README shows: workload, metric, which figure, title, who serves it by default (dma=auto).
SUMMARY = (
    ("map_4k", "insns", "p50", "map 4 KiB", "rust"),
    ("unmap_4k", "insns", "p50", "unmap 4 KiB", "rust"),
    ("map_sg16_4k", "insns", "p50", "map_sg 16 x 4 KiB", "rust"),
    ("request_128k_map", "insns", "p50", "NVMe request of 128 KiB: map", "core"),
    ("exhaust_4k_map", "insns", "max", "dearest map while filling 32 bits", "rust"),
    ("live_1000000", "bytes", "value", "bytes a live mapping", "rust"),
)
# Figures that are no costs.
NO_COST = {"probe"}
BEGIN, END = "<!-- figures: begin (scripts/bench) -->", "<!-- figures: end -->"

HEAD = """# What it costs

Guest instructions of single DMA API calls under QEMU's `-icount`, exact and repeatable; the same kernel and boot images for all.
Emulation shows no time: caches, the wait for the hardware and the price of a register access are not in these figures. QEMU's VT-d walks
past the caches (each write of a table is flushed), its AMD-Vi wants to hear of each map. Lower is better. [dma.md](dma.md) says how it
works, [bench.json](bench.json) has all figures; `make bench` makes them anew.

- A column is a configuration: who drives the unit, who serves the DMA API (`dma=`), strict or lazy mode. `pass-through`: no
  translation. The default, `dma=auto`, is `dma=core` for NVMe and InfiniBand and `dma=rust` for all else.
- `–`: not measured there. The longest workloads run in strict mode only.
- "in instructions and waits": of the emulated clock, which goes on while the guest waits for a device.
- "dearest": the most expensive single call of the workload; all other figures of a call are medians, or means where it says so.
"""


def wins_of_c(result):
    """Rows of a table: each cell in which the C driver is cheaper than one of ours in the same mode."""
    rows = []
    for unit in plan.UNITS:
        for mode in ("strict", "lazy"):
            peers = [p for p in plan.PEERS if p.mode == mode and p.driver != "none"]
            for workload, metric, figure, title in show.CELLS:
                found = {p.dma if p.driver == "rust" else "c": show.find(result, unit, p, workload, metric) for p in peers}
                values = {who: row[figure] for who, row in found.items() if row}
                ours = [v for who, v in values.items() if who != "c"]
                if workload not in NO_COST and "c" in values and ours and max(ours) > values["c"]:
                    cells = [show.number(values[w], workload, metric) if w in values else "–" for w in ("c", "core", "rust")]
                    # Both of ours lose: whoever serves the device by default does.
                    cells.append("yes" if min(ours) > values["c"] else "")
                    rows.append(f"| {unit} | {mode} | {title} | " + " | ".join(cells) + " |")
    return sorted(rows, key=lambda row: not row.endswith("| yes |"))


def document(result):
    """docs/bench.md."""
    rows = wins_of_c(result)
    lines = [HEAD, "## Cells that the C driver wins", ""]
    if rows:
        lines += ["First those in which neither of our ways is cheaper. In the others one is, mostly the default's for what it serves.", ""]
        lines += ["| unit | mode | | C | dma=core | dma=rust | both |", "|---|---|---|---:|---:|---:|---|", *rows]
    else:
        lines += ["None."]
    return "\n".join(lines) + "\n\n## All cells\n\n![Instructions of one DMA API call](bench.svg)\n\n" + show.table(result) + "\n"


def summary(result):
    """README's table: the C driver and ours in strict mode, on both units."""
    heads = " | ".join(f"{unit}: C | ours" for unit in plan.UNITS)
    lines = [f"| strict mode | {heads} |", "|---|" + "---:|---:|" * len(plan.UNITS)]
    for workload, metric, figure, title, dma in SUMMARY:
        cells = []
        for unit in plan.UNITS:
            for driver, way in (("c", "core"), ("rust", dma)):
                peer = next(p for p in plan.PEERS if (p.driver, p.dma, p.mode) == (driver, way, "strict"))
                row = show.find(result, unit, peer, workload, metric)
                cells.append(show.number(row[figure], workload, metric) if row else "–")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def with_summary(text, result):
    """The text of README with this summary between its two marks."""
    block = f"{BEGIN}\n{summary(result)}\n{END}"
    new, count = re.subn(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: block, text, flags=re.S)
    if count != 1:
        raise LookupError(f"README has the mark '{BEGIN}' {count} times")
    return new
