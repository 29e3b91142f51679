# SPDX-License-Identifier: GPL-2.0
"""An NVMe disk comes and goes under I/O; nothing is left behind."""

import re

from vm import Machine

GUEST = """
pages() { sed -n 's/^nr_iommu_pages //p' /proc/vmstat; }
gone() { [ ! -e /dev/nvme0n1 ]; }
i=0
while [ $i -lt $CYCLES ]; do
    echo "READY $i"
    wait_for /dev/nvme0n1 30 || exit 1
    dd if=/dev/nvme0n1 of=/dev/null bs=64k iflag=direct >/dev/null 2>&1 &
    sleep 0.2
    echo "BUSY $i"
    wait_until 30 gone || exit 1
    wait
    echo "GONE $i $(pages)"
    i=$((i + 1))
done
# The disk is gone before the slot is: without waiting the machine might end before the host knows.
wait_host done
[ "$VM_FLAVOUR" = lean ] || kmemleak_check || exit 1
"""


def run(suite):
    """Cycles over QMP; the number of IOMMU pages after each removal must not grow."""
    quick = suite.options.quick
    cycles = 10 if quick else 100
    m = Machine(**suite.options.machine(), script=f"CYCLES={cycles}\n" + GUEST,
                devices=["port"], modules=["nvme"], timeout=400)
    gone = []
    reason = ""
    with m:
        try:
            for i in range(cycles):
                m.wait_for(f"READY {i}\\b", 60)
                # A disk of its own each time: QEMU lets go of the last one some time after the event.
                m.qmp("blockdev-add", driver="null-co", size=67108864, **{"node-name": f"hd{i}", "read-zeroes": True})
                m.qmp("device_add", driver="nvme", id="hot", bus="port0", serial="hot", drive=f"hd{i}")
                m.wait_for(f"BUSY {i}\\b", 60)
                m.qmp("device_del", id="hot")
                m.qmp_client.wait_event("DEVICE_DELETED", 60, device="hot")
                m.wait_for(f"GONE {i}\\b", 60)
            m.send("done")
        except Exception as e:  # pylint: disable=broad-except
            reason = f"{type(e).__name__}: {e}"
        r = m.finish()
    gone = [int(x) for x in re.findall(r"GONE \d+ (\d+)", r.output)]
    if not reason and not r.ok:
        reason = r.reason
    suite.result(f"hotplug {cycles} cycles under I/O", reason or ("" if len(gone) == cycles else f"{len(gone)} cycles"), r.log)
    # The counter is kept per CPU and folded late, so it wavers: what the last quarter has at least
    # must not be more than what the first has at most. One leaked page a cycle would be.
    quarter = cycles // 4
    first, last = gone[:quarter], gone[-quarter:]
    grew = len(gone) == cycles and min(last) > max(first) + 5
    suite.result("hotplug leaves no IOMMU pages", f"{max(first)} became {min(last)}" if grew else "", r.log)
