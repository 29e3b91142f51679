# SPDX-License-Identifier: GPL-2.0
"""nvme bound and unbound, 50 times (10 with --quick)."""


def run(suite):
    """One boot."""
    suite.guest("binding.sh", leaks=True, before=f"CYCLES={10 if suite.options.quick else 50}\n", devices=["nvme"])
