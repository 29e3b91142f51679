# SPDX-License-Identifier: GPL-2.0
"""Devices come and go at random on three ports while a fourth does I/O; groups are as after a cold boot."""

import json
import random
import re

from vm import Machine

GUEST = """
dd if=/dev/nvme0n1 of=/dev/null bs=64k iflag=direct 2>/dev/null &
i=0
while read -r line </dev/ttyS1; do
    case $line in
    end) break ;;
    show) echo "STATE $(tr -d '\\n' </sys/kernel/debug/rust_iommu/groups.json)" ;;
    esac
done
kill %1 2>/dev/null || :
[ "$VM_FLAVOUR" = lean ] || kmemleak_check || exit 1
"""
KINDS = {"nvme": {"driver": "nvme"}, "e1000e": {"driver": "e1000e"}, "virtio-rng-pci": {"driver": "virtio-rng-pci", "iommu_platform": True}}


def run(suite):
    """200 steps, 20 with --quick."""
    steps = 20 if suite.options.quick else 200
    rng, plugged, reason = random.Random(20261), {}, ""
    m = Machine(**suite.options.machine(), script=GUEST, devices=["nvme:null=1", "port", "port", "port"], modules=["e1000e"],
                timeout=600)
    step = 0
    with m:
        try:
            m.wait_for("nvme0: .*queues|vm-ready", 60)
            for step in range(steps):
                port = rng.randrange(3)
                if port in plugged:
                    m.qmp("device_del", id=f"hot{port}")
                    m.qmp_client.wait_event("DEVICE_DELETED", 60, device=f"hot{port}")
                    del plugged[port]
                else:
                    kind = rng.choice(sorted(KINDS))
                    more = {}
                    if kind == "nvme":
                        # A disk of its own each time: QEMU lets go of the last one some time after the event.
                        m.qmp("blockdev-add", driver="null-co", size=67108864, **{"node-name": f"hd{step}", "read-zeroes": True})
                        more = {"drive": f"hd{step}", "serial": f"s{port}"}
                    m.qmp("device_add", id=f"hot{port}", bus=f"port{port}", **KINDS[kind], **more)
                    plugged[port] = kind
                reason = settled(m, 2 + len(plugged))
                if reason:
                    break
            m.send("end")
        except Exception as e:  # pylint: disable=broad-except
            reason = f"{type(e).__name__}: {e}"
        r = m.finish()
    reason = reason and f"step {step}: {reason}"
    suite.result(f"shuffle {steps} steps under I/O", reason or ("" if r.ok else r.reason), r.log)


def settled(machine, wanted):
    """Asks until the functions below the ports are `wanted` minus one, each in a group of its own."""
    for _ in range(60):
        machine.send("show")
        state = json.loads(machine.wait_for("STATE (.*)$", 60)[1])
        below = [(g["name"], m) for g in state["groups"] for m in g["members"] if not re.match(r"0000:00:", m["id"])]
        alone = len({name for name, _ in below}) == len(below)
        if len(below) == wanted - 1 and alone and all(m["translated"] for _, m in below):
            return ""
    return f"groups are {below}"
