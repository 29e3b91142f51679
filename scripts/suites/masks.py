# SPDX-License-Identifier: GPL-2.0
"""DMA masks of drivers, on a machine with memory above 1 TiB."""

import os

from .lib import TOP

# QEMU keeps the addresses below 1 TiB free of memory where a machine could have more than that.
HIGH = "-cpu max,-la57,phys-bits=48 -m 5G,slots=1,maxmem=1100G -device edu,dma_mask=0xffffffffffffffff "


def run(suite):
    """One boot; and one that bounces, as it is told."""
    if suite.options.driver != "rust":
        return
    edu = os.path.join(TOP, "build", suite.options.flavour, "tests/edu_dma.ko")
    for params, short in [("", "paging"), ("short_masks=bounce", "identity")]:
        suite.guest("masks.sh", before=f"SHORT={short}\n", title=params, rust_params=params, machine_args=HIGH,
                    files=[f"{edu}:/lib/modules/edu_dma.ko"], timeout=120)
