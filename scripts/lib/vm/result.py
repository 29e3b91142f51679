# SPDX-License-Identifier: GPL-2.0
"""What came out of a boot."""

import dataclasses


@dataclasses.dataclass
class Result:
    """The end of one machine.

    `status` is the script's exit status, or 124 (time-out), 125 (a module did not load, or the
    machine ended without a status), 126 (a kernel splat although the script returned 0).
    `reason` is empty exactly if all is well.
    """

    status: int
    reason: str
    output: str
    console: str
    splats: list
    qemu: str
    log: str
    seconds: float

    @property
    def ok(self):
        """True if the script returned 0 and the kernel had nothing to complain about."""
        return not self.reason
