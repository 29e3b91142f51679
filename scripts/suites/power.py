# SPDX-License-Identifier: GPL-2.0
"""Sleep (ACPI S3), after which a unit has forgotten everything; and shutdown, after which it is off."""

import re
import tempfile
import time

from vm import VmError

# What QEMU says when translation is switched, and what it says last when it is off.
SWITCHED = {"amd-vi": ("amdvi_mmio_write", r"MMIO_CONTROL write .* val 0x([0-9a-f]+)", lambda value: int(value, 16) & 1),
            "vt-d": ("vtd_dmar_enable", r"enable (\d)", int)}
DISK = "-device nvme,serial=x,drive=hd0,addr=8 -blockdev raw,node-name=hd0,file.driver=file,file.filename="


def run(suite):
    """One boot; the driver's machine only."""
    if suite.options.driver != "rust":
        return
    event, pattern, is_on = SWITCHED[suite.options.unit]
    with tempfile.TemporaryDirectory() as tmp:
        config = {"devices": ["nvme", "testdev"]}
        if suite.options.unit == "amd-vi":
            # QEMU's AMD unit looks for a device by its bus number when an entry is invalidated, and bridges
            # get theirs back long after the unit: behind one a disk would stay untranslated.
            with open(f"{tmp}/disk", "wb") as f:
                f.truncate(64 << 20)
            config = {"devices": ["testdev"], "machine_args": f"{DISK}{tmp}/disk", "modules": ["nvme"]}
        r = suite.guest("power.sh", **config, during=sleep, traces=[f"{event}:{tmp}/trace"], timeout=100)
        with open(f"{tmp}/trace", encoding="utf-8") as f:
            states = [is_on(value) for value in re.findall(pattern, f.read())]
    off = len(states) > 1 and not states[-1]
    suite.result(f"{suite.name} the unit is off when the machine is", "" if off else f"switched {states}", r.log)


def sleep(machine):
    """Wakes the machine whenever it has fallen asleep, unless it wakes up by itself."""
    for _ in range(90):
        try:
            machine.wait_for("sleep state S5", 1)
            break
        except VmError:
            if machine.qmp("query-status")["status"] == "suspended":
                machine.qmp("system_wakeup")
    # After a sleep QEMU does not do what powers a machine off.
    time.sleep(2)
    machine.qmp("quit")
