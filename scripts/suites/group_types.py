# SPDX-License-Identifier: GPL-2.0
"""A group's type switched between identity, DMA and DMA-FQ, with I/O after each switch."""


def run(suite):
    """One boot."""
    suite.guest("types.sh", leaks=True, devices=["nvme"])
