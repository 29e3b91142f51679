# SPDX-License-Identifier: GPL-2.0
"""Boots QEMU machines with an IOMMU and runs scripts in them.

    import sys
    sys.path.insert(0, "scripts/lib")
    from vm import Machine

    with Machine(unit="amd-vi", driver="c", devices=["port"], script="wait_host go") as m:
        m.wait_for("host: ready")
        m.qmp("device_add", driver="e1000e", bus="port0", id="hot")
        m.send("go")
        result = m.finish()
    assert result.ok, result.reason

The command scripts/vm is a thin wrapper; docs/vm.md explains both.
"""

from .errors import VmError
from .machine import Machine
from .qmp import Qmp, QmpError
from .result import Result

__all__ = ["Machine", "Qmp", "QmpError", "Result", "VmError"]
