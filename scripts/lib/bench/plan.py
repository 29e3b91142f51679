# SPDX-License-Identifier: GPL-2.0
"""What is measured: the configurations that are compared, and the workloads of a machine."""

import dataclasses

UNITS = ("vt-d", "amd-vi")
# Seconds of work of the largest workloads; 1,000,000 live mappings everywhere would take an hour.
FULL, SHORT = 1_000_000, 100_000


@dataclasses.dataclass(frozen=True)
class Peer:
    """One configuration. `live`: how many live mappings the growth workload goes up to."""

    driver: str  # rust, c, or none for pass-through
    dma: str     # rust or core
    mode: str    # strict, lazy or identity
    live: int = SHORT

    def name(self):
        """A short name."""
        if self.driver == "none":
            return "pass-through"
        return f"C {self.mode}" if self.driver == "c" else f"rust dma={self.dma} {self.mode}"

    def machine(self):
        """Its part of the arguments of Machine()."""
        append = {"strict": "iommu.strict=1", "lazy": "iommu.strict=0", "identity": "iommu.passthrough=1"}[self.mode]
        if self.driver == "rust":
            return {"driver": "rust", "rust_params": f"dma={self.dma}", "append": append}
        return {"driver": "c", "append": append}


PEERS = (
    Peer("none", "core", "identity"),
    Peer("c", "core", "strict", FULL),
    Peer("c", "core", "lazy"),
    Peer("rust", "core", "strict", FULL),
    Peer("rust", "core", "lazy"),
    Peer("rust", "rust", "strict", FULL),
    Peer("rust", "rust", "lazy"),
)

W1_PAGES = (1, 2, 4, 8, 16, 32, 33, 64, 128, 256, 512, 1024)
# Entries, bytes of an entry, layout (see dma_bench_work.c), calls.
W2_LISTS = ((16, 4096, 0, 1000), (16, 4096, 1, 500), (16, 4096, 2, 500), (16, 65536, 0, 300), (16, 1 << 20, 0, 100), (512, 4096, 0, 50))


def counted(peer, quick):
    """Workloads for a machine whose clock counts instructions."""
    lines = [f"single {n} {2000 if n <= 16 else 300}" for n in W1_PAGES]
    lines += ["sg %d %d %d %d" % w for w in W2_LISTS]
    lines += ["coherent 500", "request 32 300", f"mixed {20_000 if quick else 200_000}"]
    if peer.driver != "none":
        lines += [f"live {10_000 if quick else peer.live}"]
        lines += [] if quick else ["exhaust"]
    return lines


# Name, what is traced, calls of it, which the counts are divided by.
TRACED = (
    ("map_4k", "hold 256", 256),
    ("unmap_4k", "drop 256", 256),
    ("sg16_4k", "sg 16 4096 0 100", 125),
    ("request_128k", "request 32 50", 50),
    ("mixed", "mixed 4000", 4000),
)
