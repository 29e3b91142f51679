# SPDX-License-Identifier: GPL-2.0
"""Every allocation of load, attach and map fails once (debug kernel: failslab and fail_page_alloc)."""

import os

from .lib import TOP


def run(suite):
    """One boot. Loading has some 2000 allocations, most of them the kernel's own in sysfs: the quick
    form takes each 61st."""
    if suite.options.flavour != "debug" or suite.options.driver != "rust":
        suite.skip("all", "needs the debug flavour and our driver")
        return
    suite.guest("inject.sh", before=f"LOAD_STEP={61 if suite.options.quick else 1}\n", driver="none", load=False,
                devices=["nvme", "testdev"], files=[suite.options.module()],
                modules=[], tools=[os.path.join(TOP, "tools/testing/selftests/iommu/inject.c")],
                timeout=150 if suite.options.quick else 900)
