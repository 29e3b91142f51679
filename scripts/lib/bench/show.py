# SPDX-License-Identifier: GPL-2.0
"""Shows the figures of bench.json: a table, a picture, and what is void."""

import json

from . import plan

# What the table has: workload, metric, which figure of the row, heading.
CELLS = (
    ("map_4k", "insns", "p50", "map 4 KiB"),
    ("unmap_4k", "insns", "p50", "unmap 4 KiB"),
    ("unmap_4k", "insns", "value", "unmap 4 KiB, mean"),
    ("map_64k", "insns", "p50", "map 64 KiB"),
    ("unmap_64k", "insns", "p50", "unmap 64 KiB"),
    ("map_2048k", "insns", "p50", "map 2 MiB"),
    ("unmap_2048k", "insns", "p50", "unmap 2 MiB"),
    ("map_sg16_4k", "insns", "p50", "map_sg 16 x 4 KiB"),
    ("unmap_sg16_4k", "insns", "p50", "unmap_sg 16 x 4 KiB"),
    ("map_sg512_4k", "insns", "p50", "map_sg 512 x 4 KiB"),
    ("unmap_sg512_4k", "insns", "p50", "unmap_sg 512 x 4 KiB"),
    ("request_128k_map", "insns", "p50", "128 KiB request of 32 pages: map"),
    ("request_128k_unmap", "insns", "p50", "128 KiB request of 32 pages: unmap"),
    ("coherent_4k_map", "insns", "p50", "coherent 4 KiB: alloc"),
    ("coherent_4k_unmap", "insns", "p50", "coherent 4 KiB: free"),
    ("mixed_map", "insns", "value", "mixed sizes: map, mean"),
    ("mixed_unmap", "insns", "value", "mixed sizes: unmap, mean"),
    ("live_1000000_map", "insns", "p50", "map, 1,000,000 live"),
    ("live_1000000_unmap", "insns", "p50", "unmap, 1,000,000 live"),
    ("live_1000000_grow_map", "insns", "max", "dearest map while growing to 1,000,000"),
    ("live_1000000_fragmented_map", "insns", "max", "dearest map, every second page freed"),
    ("exhaust_4k_map", "insns", "max", "dearest map while filling 32 bits"),
    ("exhaust_fragmented_map", "insns", "max", "dearest map, 32 bits fragmented"),
    ("exhaust_fail_map", "insns", "max", "dearest map, 32 bits full"),
    ("live_1000000", "bytes", "value", "bytes a live mapping"),
    ("unmap_4k", "doorbells", "value", "doorbells an unmap"),
    ("unmap_4k", "mmio_reads", "value", "register reads an unmap"),
    ("threads_2", "doorbells", "value", "doorbells an unmap, 2 CPUs"),
    ("threads", "unmap_2_by_1", "value", "unmap wall time, 2 CPUs by 1"),
    ("mixed", "invalidated_per_unmapped", "value", "invalidated by unmapped pages"),
    ("nvme_4k_qd32", "invalidations", "value", "invalidations an NVMe random read of 4 KiB"),
    ("nvme_128k_seq", "invalidations", "value", "invalidations an NVMe read of 128 KiB"),
    ("nvme_128k_seq", "doorbells", "value", "doorbells an NVMe read of 128 KiB"),
    ("e1000e_get_mib", "invalidations", "value", "invalidations a MiB received by e1000e"),
    ("kernel_single_1", "map_100ns", "value", "dma_map_benchmark, a page: map, in 100 instructions, mean"),
    ("kernel_single_1", "unmap_100ns", "value", "dma_map_benchmark, a page: unmap, in 100 instructions, mean"),
    ("kernel_sg_16", "map_100ns", "value", "dma_map_benchmark, 16 entries: map_sg, in 100 instructions, mean"),
    ("kernel_sg_16", "unmap_100ns", "value", "dma_map_benchmark, 16 entries: unmap_sg, in 100 instructions, mean"),
    ("attach", "ns", "value", "a group to another domain and back, each, in instructions and waits"),
    ("boot", "ns", "value", "boot until the first program, in instructions and waits"),
    ("module", "load_ns", "value", "load the module, in instructions and waits"),
    ("module", "unload_ns", "value", "release the devices and unload it, in instructions and waits"),
    ("module", "left_kib", "value", "KiB gone after 20 times"),
    ("probe", "reached_after_unmap", "value", "device reaches memory after unmap"),
    ("probe", "reached_20_ms_later", "value", "and 20 ms later"),
)
BARS = (("map_4k", "map 4 KiB"), ("unmap_4k", "unmap 4 KiB"), ("map_sg16_4k", "map_sg 16 × 4 KiB"), ("unmap_sg16_4k", "unmap_sg 16 × 4 KiB"))
COLOURS = {"pass-through": "#b0b0b0", "C strict": "#c0392b", "C lazy": "#e59866", "rust dma=core strict": "#5dade2", "rust dma=core lazy": "#aed6f1",
           "rust dma=rust strict": "#1e8449", "rust dma=rust lazy": "#82e0aa"}


def as_text(result):
    """JSON with a row a line, so that differences can be read."""
    head = {k: v for k, v in result.items() if k != "rows"}
    rows = ",\n".join("  " + json.dumps(r) for r in result["rows"])
    return json.dumps(head, indent=1)[:-2] + f',\n "rows": [\n{rows}\n ]\n}}\n'


def find(result, unit, peer, workload, metric):
    """A row, or None."""
    return next((r for r in result["rows"] if (r["unit"], r["driver"], r["dma"], r["mode"], r["workload"], r["metric"]) ==
                 (unit, peer.driver, peer.dma, peer.mode, workload, metric)), None)


def number(value, workload, metric):
    """As people write it."""
    if metric == "bytes":
        return f"{value / 1_000_000:.1f}"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def table(result):
    """Markdown: a table a unit, a column a configuration."""
    lines = [f"{result['date']}, Linux {result['kernel']}, {result['qemu']}, `{result['command']}`"]
    for unit in plan.UNITS:
        peers = [p for p in plan.PEERS if any((r["unit"], r["driver"], r["dma"], r["mode"]) == (unit, p.driver, p.dma, p.mode) for r in result["rows"])]
        if not peers:
            continue
        lines += ["", f"| {unit} | " + " | ".join(p.name() for p in peers) + " |", "|---|" + "---:|" * len(peers)]
        for workload, metric, figure, title in CELLS:
            rows = [find(result, unit, p, workload, metric) for p in peers]
            if any(rows):
                lines.append(f"| {title} | " + " | ".join(number(r[figure], workload, metric) if r else "–" for r in rows) + " |")
    return "\n".join(lines)


def void(result):
    """Configurations whose figures do not count: strict, but memory could be reached after its unmap; or never at all."""
    lines = []
    for unit in plan.UNITS:
        for p in plan.PEERS:
            mapped, after = (find(result, unit, p, "probe", m) for m in ("reached_mapped", "reached_after_unmap"))
            if mapped and not mapped["value"]:
                lines.append(f"{unit} {p.name()}: the device does not reach memory that is mapped")
            if after and after["value"] and p.mode == "strict":
                lines.append(f"{unit} {p.name()}: the device reaches memory after its unmap")
            later = find(result, unit, p, "probe", "reached_20_ms_later")
            if later and later["value"] and p.driver == "rust":
                lines.append(f"{unit} {p.name()}: the device reaches memory 20 ms after its unmap")
    return lines


def picture(result):
    """SVG: bars of the four commonest calls, a panel a call and unit."""
    out, y, width, label = [], 70, 900, 190
    for unit in plan.UNITS:
        for workload, title in BARS:
            rows = [(p, find(result, unit, p, workload, "insns")) for p in plan.PEERS]
            rows = [(p, r["p50"]) for p, r in rows if r]
            if not rows:
                continue
            most = max(v for _, v in rows)
            out.append(f'<text x="20" y="{y}" font-weight="bold">{unit}: {title}</text>')
            y += 8
            for p, value in rows:
                length = max(2, round((width - label - 130) * value / most))
                out.append(f'<text x="{label - 8}" y="{y + 12}" text-anchor="end">{p.name()}</text>'
                           f'<rect x="{label}" y="{y}" width="{length}" height="15" fill="{COLOURS[p.name()]}"/>'
                           f'<text x="{label + length + 6}" y="{y + 12}">{value:,}</text>')
                y += 19
            y += 26
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" font-family="sans-serif" font-size="12">'
            f'<rect width="{width}" height="{y}" fill="white"/>'
            '<text x="20" y="28" font-size="17" font-weight="bold">Guest instructions of one DMA API call (median; shorter is better)</text>'
            f'<text x="20" y="46">{result["date"]}, Linux {result["kernel"]}, {result["qemu"]}; same kernel, same boot images</text>')
    return head + "\n" + "\n".join(out) + "\n</svg>\n"
