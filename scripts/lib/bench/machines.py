# SPDX-License-Identifier: GPL-2.0
"""The machines of the benchmark: boots, measures, returns rows."""

import os
import re
import sys

from vm import Machine

from . import plan

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
MODULE = os.path.join(TOP, "build/lean/tests/dma_bench.ko")

START = """
bind "$(bdf_of 1234:11e8)" dma_bench
run() { echo "$*" >/sys/kernel/debug/dma_bench/run || { echo "cannot run: $*"; exit 1; }; cat /sys/kernel/debug/dma_bench/run; }
"""
TRACES = {"vt-d": ["vtd_inv_desc_iotlb_pages", "vtd_inv_desc_iotlb_domain", "vtd_inv_desc_iotlb_global", "vtd_inv_desc_wait_sw", "vtd_reg_write",
                   "vtd_reg_read"],
          "amd-vi": ["amdvi_mmio_write", "amdvi_mmio_read", "amdvi_pages_inval", "amdvi_completion_wait", "amdvi_command_exec"]}


class Bench:
    """Runs machines and collects rows."""

    def __init__(self, say, quick=False, ko=""):
        self.say, self.quick, self.ko, self.rows = say, quick, ko, []

    def config(self, unit, peer):
        """Arguments of Machine() that all boots have."""
        c = {"unit": unit, "mem": "2G", "devices": ["edu"], "modules": [MODULE], "timeout": 900} | peer.machine()
        if peer.driver == "rust":
            c["ko"] = self.ko or os.path.join(TOP, "build/lean/rust_iommu.ko")
        return c

    def row(self, unit, peer, workload, metric, value, **more):
        """One figure."""
        self.rows.append({"unit": unit, "driver": peer.driver, "dma": peer.dma, "mode": peer.mode, "workload": workload, "metric": metric,
                          "value": value} | more)

    def take(self, unit, peer, text, prefix=""):
        """Rows and counts that the module has printed."""
        for work, call, mean, p50, p99, most, calls in re.findall(r"^ROW (\S+) (\S+) (\d+) (\d+) (\d+) (\d+) (\d+)$", text, re.M):
            name = prefix + (f"{work}_{call}" if not work.startswith(("single_", "sg")) else f"{call}_{work.removeprefix('single_')}")
            self.row(unit, peer, name, "insns", int(mean), p50=int(p50), p99=int(p99), max=int(most), calls=int(calls))
        for work, metric, value in re.findall(r"^COUNT (\S+) (\S+) (\d+)$", text, re.M):
            self.row(unit, peer, prefix + work, metric, int(value))

    def instructions(self, unit, peer):
        """Costs of single calls, and what reached memory after its unmap."""
        script = START + "".join(f"run {w}\n" for w in plan.counted(peer, self.quick) + ["probe"])
        if peer.driver == "rust":
            script += "cat /sys/kernel/debug/rust_iommu/domains 2>/dev/null | sed 's/^/# /'\n"
        r = Machine(script=script, icount=True, **self.config(unit, peer)).run()
        self.take(unit, peer, r.output)
        return "" if r.ok else f"{r.reason} (log: {r.log})"

    def public(self, unit, peer):
        """The kernel's own dma_map_benchmark; what it costs to attach a group to another domain, to boot, to load the module."""
        script = ('map_benchmark now boot\nb=$(bdf_of 1234:11e8)\nbind "$b" dma_map_benchmark\nmap_benchmark single 1 && map_benchmark sg 16 || exit 1\nunbind "$b"\n'
                  'g=/sys/kernel/iommu_groups/$(group_of "$b")/type\nold=$(cat "$g")\n'
                  'map_benchmark write attach "$g" identity "$old" identity "$old" identity "$old" identity "$old" || exit 1\n')
        if peer.driver == "rust":
            script += ('release_units && rmmod rust_iommu && map_benchmark module '
                       f'"$(find /lib/modules -name rust_iommu.ko)" dma={peer.dma} "$RELEASE" || exit 1\n')
        c = self.config(unit, peer) | {"modules": [], "tools": [os.path.join(TOP, "tools/testing/selftests/iommu/map_benchmark.c")]}
        r = Machine(script=script, icount=True, **c).run()
        self.take(unit, peer, r.output)
        return "" if r.ok else f"{r.reason} (log: {r.log})"

    def commands(self, unit, peer):
        """What the unit is told, counted in QEMU's trace."""
        script = START + "".join(f"wait_host go\nrun {what}\n" for _, what, _ in plan.TRACED) + "wait_host go\n"
        m = Machine(script=script, icount=True, traces=TRACES[unit], **self.config(unit, peer))

        def count(i, text):
            name, _, calls = plan.TRACED[i]
            pages = self.count(unit, peer, name, calls, text)
            unmapped = re.findall(r"^COUNT mixed unmapped_pages (\d+)$", "\n".join(m.console.of("script")), re.M)
            if name == "mixed" and unmapped and pages:
                self.row(unit, peer, name, "invalidated_per_unmapped", round(pages / int(unmapped[-1]), 3))

        return self.traced(m, plan.TRACED, count)

    def count(self, unit, peer, name, calls, text):
        """Rows of one traced workload. Returns the number of pages that were named, 0 if that is unknown."""
        if unit == "vt-d":
            doorbells = len(re.findall(r"^vtd_reg_write addr 0x88 ", text, re.M))
            waits = len(re.findall(r"^vtd_inv_desc_wait_sw", text, re.M))
            # Reading registers: but for the interrupt remapping none belongs to a steady path.
            reads = len(re.findall(r"^vtd_reg_read", text, re.M))
            pages = [1 << int(m, 16) for m in re.findall(r"^vtd_inv_desc_iotlb_pages .* mask 0x([0-9a-f]+)", text, re.M)]
            wide = len(re.findall(r"^vtd_inv_desc_iotlb_(?:domain|global)", text, re.M))
        else:
            doorbells = len(re.findall(r"^amdvi_mmio_write AMDVI_MMIO_COMMAND_TAIL", text, re.M))
            waits = len(re.findall(r"^amdvi_completion_wait", text, re.M))
            reads = len(re.findall(r"^amdvi_mmio_read", text, re.M))
            # The trace has no sizes.
            pages, wide = [1] * len(re.findall(r"^amdvi_pages_inval", text, re.M)), 0
        for metric, value in (("doorbells", doorbells), ("waits", waits), ("invalidations", len(pages) + wide), ("mmio_reads", reads),
                              ("domain_invalidations", wide)):
            self.row(unit, peer, name, metric, round(value / calls, 3))
        return sum(pages) if unit == "vt-d" and not wide else 0

    def threads(self, unit, peer):
        """Two processors on one domain, in pairs one after the other; and unmap on another processor than map."""
        pairs = 3 if self.quick else 12
        ms = 200
        script = START + f"for i in $(seq {pairs}); do run threads 1 {ms}; run threads 2 {ms}; done\nrun cross {ms}\n"
        script += "".join(f"wait_host go\nrun threads {n} 100\n" for n in (1, 2)) + "wait_host go\n"
        m = Machine(script=script, smp=2, traces=TRACES[unit], **self.config(unit, peer))
        with m:
            for event in TRACES[unit]:
                m.qmp("trace-event-set-state", name=event, enable=False)
            m.wait_for("host: ready", 300)
            output = "\n".join(m.console.of("script"))
            ns = {n: [int(v) for v in re.findall(rf"^COUNT threads_{n} unmap_ns (\d+)$", output, re.M)] for n in (1, 2)}
            ratios = sorted(b / a for a, b in zip(ns[1], ns[2]))
            if ratios:
                self.row(unit, peer, "threads", "unmap_2_by_1", round(ratios[len(ratios) // 2], 2), min=round(ratios[0], 2),
                         max=round(ratios[-1], 2), pairs=len(ratios), ns_1=ns[1], ns_2=ns[2])
            self.take(unit, peer, "\n".join(line for line in output.split("\n") if line.startswith("COUNT cross")))
            for event in TRACES[unit]:
                m.qmp("trace-event-set-state", name=event, enable=True)
            begin = os.path.getsize(m.trace_file)
            m.send("go")
            for n in (1, 2):
                m.wait_for("host: ready", 300)
                with open(m.trace_file, encoding="utf-8", errors="replace") as f:
                    f.seek(begin)
                    text = f.read()
                begin += len(text.encode())
                done = re.findall(rf"^COUNT threads_{n} unmaps (\d+)$", "\n".join(m.console.of("script")), re.M)
                # Where the unit wants to hear of maps, too, those have doorbells of their own.
                bells = len(re.findall(r"^vtd_reg_write addr 0x88 |^amdvi_mmio_write AMDVI_MMIO_COMMAND_TAIL", text, re.M))
                self.row(unit, peer, f"threads_{n}", "doorbells", round(bells / int(done[-1]), 3))
                m.send("go")
            r = m.finish()
        return "" if r.ok else f"{r.reason} (log: {r.log})"

    def devices(self, unit, peer):
        """A real disk and a real network: what the unit is told for a request or a megabyte."""
        reads = "fio --name=x --filename=/dev/nvme0n1 --direct=1 --ioengine=libaio --minimal"
        works = (("nvme_4k_qd32", f"{reads} --rw=randread --bs=4k --iodepth=32 --number_ios=2000 >/dev/null", 2000),
                 ("nvme_128k_seq", f"{reads} --rw=read --bs=128k --iodepth=4 --number_ios=500 >/dev/null", 500),
                 ("e1000e_get_mib", "serve_get /tmp/blob; [ $(stat -c %s /tmp/blob) = 8388608 ]", 8))
        script = 'wait_for /dev/nvme0n1 20 && net_up "$(nic_of "$(bdf_of e1000e)")" || exit 1\n'
        script += "".join(f"wait_host go\n{{ {command}; }} || exit 1\n" for _, command, _ in works) + "wait_host go\n"
        c = self.config(unit, peer) | {"devices": ["nvme", "e1000e"], "modules": [], "programs": ["fio"], "serve": os.path.join(TOP, "build/bench.blob")}
        m = Machine(script=script, smp=1, traces=TRACES[unit], **c)
        return self.traced(m, [name for name, *_ in works], lambda i, text: self.count(unit, peer, works[i][0], works[i][2], text))

    @staticmethod
    def traced(m, parts, count):
        """Runs a machine whose script waits for the host before each part and at the end; `count` gets each part's trace."""
        with m:
            begin = 0
            for i in range(len(parts) + 1):
                m.wait_for("host: ready", 200)
                with open(m.trace_file, encoding="utf-8", errors="replace") as f:
                    f.seek(begin)
                    text = f.read()
                begin += len(text.encode())
                if i:
                    count(i - 1, text)
                m.send("go")
            r = m.finish()
        return "" if r.ok else f"{r.reason} (log: {r.log})"


def versions():
    """What the figures hold for."""
    from vm.host import in_root_output, kernel_dir
    kernel = kernel_dir("lean")
    with open(os.path.join(kernel, "include/config/kernel.release"), encoding="utf-8") as f:
        release = f.read().strip()
    with open(os.path.join(kernel, ".config"), encoding="utf-8") as f:
        config = f.read()
    flags = {name: f"CONFIG_{name}=y" in config for name in ("FTRACE", "LOCKDEP", "RUST_INLINE_HELPERS", "PREEMPT_LAZY", "CPU_MITIGATIONS")}
    qemu = in_root_output(["qemu-system-x86_64", "--version"]).split("\n")[0]
    return {"kernel": release, "qemu": qemu, "config": flags, "command": " ".join(["scripts/bench", *sys.argv[1:]])}
