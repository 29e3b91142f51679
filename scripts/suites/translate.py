# SPDX-License-Identifier: GPL-2.0
"""The unit really translates: an illegal DMA is blocked with a driver, and is not without one."""


def run(suite):
    """Both halves; the control comes first."""
    for driver in ("none", suite.options.driver):
        suite.guest("translate.sh", driver=driver, devices=["testdev"])
