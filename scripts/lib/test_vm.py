#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of scripts/vm, most of them with a real boot. usage: scripts/lib/test_vm.py [-v] [NAME...]"""

import contextlib
import glob
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from vm import Machine, Qmp, VmError  # noqa: E402
from vm.console import Console  # noqa: E402
from vm.cpio import Cpio  # noqa: E402
from vm.host import TOP, in_root, kernel_dir  # noqa: E402

VM = os.path.join(TOP, "scripts", "vm")
TESTDEV = "iommu_testdev -a 1b36:0005 gpa auto 64"


def vm(*args, **more):
    """Runs the command and returns the finished process."""
    return subprocess.run([VM, *args], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, **more)


def boot(script, **config):
    """Boots without a driver, unless told otherwise, and returns the Result."""
    config.setdefault("driver", "none")
    return Machine(script=script, **config).run()


class Temp(unittest.TestCase):
    """A test with a folder of its own."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="test-vm.", dir="/tmp")
        self.addCleanup(subprocess.run, ["rm", "-rf", self.dir], check=False)

    def put(self, name, data, mode=0o644):
        """Writes a file into the folder and returns its path."""
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            f.write(data)
        os.chmod(path, mode)
        return path


class WithoutBoot(Temp):
    """What can be seen without a machine."""

    def test_wrong_arguments_are_refused_with_one_line(self):
        for args in (
            ["--unit", "smmuv3"], ["--driver", "python"], ["--flavour", "fat"], ["--device", "floppy"], ["--nonsense"],
            ["--machine-args", "-device amd-iommu,dma-remap=on"], ["--machine-args", "-device intel-iommu"],
            ["--machine-args", "-global amd-iommu.dma-remap=off"], ["--machine-args", "-device 'edu"], ["--unit-args", "dma-remap=off"],
            ["--unit", "none", "--unit-args", "xtsup=on"], ["--run", "/nowhere"], ["--run", "x", "--command", "y"],
            ["--file", "a:b"], ["--file", "/nowhere:/b"], ["--file", "/tmp:/b"], ["--file", "/etc/passwd:/init"], ["--module", "no_such"],
            ["--mem", "lots"], ["--smp", "9"], ["--smp", "two"], ["--timeout", "0"], ["--allow", "("], ["--late"],
            ["--rust-params", "dma=rust"], ["--serve", "/etc/passwd"], ["--sink", "/tmp/x"], ["--kernel", "/tmp"],
            ["--device", "nvme:size=0"], ["--device", "edu:size=1M"], ["--device", "nvme:fast"], ["--with", "no-such-program"],
            ["--acpi-table", "IVRS"], ["--acpi-table", "IVRS=/nowhere"], ["--acpi-table", "IVRS=/etc/passwd"], ["--tool", "/nowhere.c"],
            ["--log", "/nowhere/log"], ["--qmp", "/nowhere/socket"],
        ):
            if not {"--driver", "--late", "--rust-params"} & set(args):
                args = ["--driver", "none", *args]
            elif args[0] in ("--late", "--rust-params"):
                args = ["--driver", "c", *args]
            with self.subTest(args=args):
                run = vm(*args)
                self.assertEqual(run.returncode, 2, run.stderr)
                self.assertRegex(run.stderr, r"\Avm: error: [^\n]+\n\Z")
                self.assertEqual(run.stdout, "")
        self.assertEqual(glob.glob("/tmp/rust-iommu-vm.*/kernel.sock"), [])

    def test_a_missing_rust_module_names_the_way_out(self):
        run = vm("--ko", "/nowhere/rust_iommu.ko")
        self.assertEqual(run.returncode, 2)
        self.assertIn("build it with 'make'", run.stderr)

    def test_help_names_every_device_and_has_examples(self):
        text = vm("--help").stdout
        for word in ("nvme", "ahci-disk", "usb-disk", "testdev", "examples:", "exit status:"):
            self.assertIn(word, text)

    def test_cpio_archives_are_read_by_others(self):
        c = Cpio()
        c.file("a/b/c", b"hello", executable=True)
        c.symlink("a/l", "b/c")
        c.directory("a/b")
        path = self.put("x.cpio", c.bytes(512))
        self.assertEqual(os.path.getsize(path) % 512, 0)
        script = f"cd {self.dir} && busybox cpio -idv <x.cpio 2>&1; cat a/l; test -x a/b/c && echo runs"
        out = subprocess.run(in_root(["sh", "-c", script]), capture_output=True, text=True, check=True).stdout
        self.assertIn("hello" + "runs", out)
        self.assertRaises(ValueError, c.file, "a/l", b"again")

    def test_each_complaint_of_the_kernel_is_found_once(self):
        harmless = ["x2apic enabled", "DMA-API: preallocated 65536 debug entries", "no BUGS here", "a warning"]
        bad = ["BUG: sleeping function called from invalid context", "BUG: KASAN: slab-use-after-free in x",
               "WARNING: possible circular locking dependency detected", "WARNING: kernel/x.c:1 at f+0x1/0x2, CPU#1: sh/1",
               "INFO: task sh:1 blocked for more than 120 seconds.", "DMA-API: e1000e: device driver failed",
               "kmemleak: 3 new suspected memory leaks", "watchdog: BUG: soft lockup - CPU#0 stuck", "UBSAN: shift-out-of-bounds",
               "Oops: general protection fault", "WARNING: suspicious RCU usage", "Kernel panic - not syncing: x"]
        with io.StringIO() as log:
            c = Console(log, allow=["3 new suspected"])
            for line in harmless + [x for b in bad for x in ("=====", b, " detail", "---[ end trace ]---")]:
                c.feed("kernel", line.encode() + b"\r\n")
            c.feed("script", b"BUG: said by the script\n")
        self.assertEqual([s.split("\n")[1] for s in c.splats()], [b for b in bad if "kmemleak" not in b])


class Status(Temp):
    """The status and what counts as a failure."""

    def test_the_script_s_status_and_output_pass_through(self):
        run = vm("--driver", "none", "--command", "echo one; echo two >&2; exit 7")
        self.assertEqual((run.returncode, run.stdout), (7, "one\ntwo\n"))
        log = re.search(r"full log: (\S+)", run.stderr)[1]
        self.addCleanup(os.unlink, log)
        with open(log, encoding="utf-8") as f:
            self.assertIn("Linux version", f.read())

    def test_success_is_quiet_and_leaves_nothing(self):
        before = set(glob.glob("/tmp/rust-iommu-vm.*"))
        run = vm("--driver", "none", "--command", "true")
        self.assertEqual((run.returncode, run.stdout, run.stderr), (0, "", ""))
        self.assertEqual(set(glob.glob("/tmp/rust-iommu-vm.*")) - before, set())

    def test_a_splat_fails_a_successful_script(self):
        run = vm("--driver", "none", "--command", "echo 'BUG: KASAN: a test' >/dev/kmsg", "--log", f"{self.dir}/log")
        self.assertEqual(run.returncode, 126)
        self.assertIn("| BUG: KASAN: a test", run.stderr)

    def test_a_splat_can_be_allowed(self):
        run = vm("--driver", "none", "--command", "echo 'BUG: KASAN: a test' >/dev/kmsg", "--allow", "KASAN: a t.st")
        self.assertEqual((run.returncode, run.stderr), (0, ""))

    def test_a_panic_is_a_failure(self):
        r = boot("true", append="rdinit=/bin/false", log=f"{self.dir}/log")
        self.assertEqual(r.status, 125)
        self.assertIn("Kernel panic", r.reason)

    def test_a_power_off_without_a_status_is_a_failure(self):
        r = boot("poweroff -f; sleep 9", log=f"{self.dir}/log")
        self.assertEqual((r.status, r.ok), (125, False))
        self.assertIn("without a status", r.reason)

    def test_a_time_out_ends_the_machine(self):
        start = time.monotonic()
        run = vm("--driver", "none", "--command", "echo waiting; sleep 100", "--timeout", "6", "--log", f"{self.dir}/log")
        self.assertEqual(run.returncode, 124)
        self.assertIn("timed out after 6 s", run.stderr)
        self.assertIn("| waiting", run.stderr)
        self.assertLess(time.monotonic() - start, 12)

    def test_an_interrupt_leaves_no_machine_behind(self):
        with subprocess.Popen([VM, "--driver", "none", "--command", "echo up; sleep 100"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
            self.assertEqual(p.stdout.readline(), "up\n")
            children = subprocess.run(["pgrep", "-f", "qemu-system.*rust-iommu-vm"], capture_output=True, text=True, check=False).stdout.split()
            mine = [c for c in children if self._descends(int(c), p.pid)]
            self.assertTrue(mine)
            p.send_signal(signal.SIGINT)
            _, err = p.communicate(timeout=20)
        self.assertEqual((p.returncode, err), (130, "vm: interrupted\n"))
        time.sleep(0.5)
        self.assertFalse([c for c in mine if self._lives(int(c))])

    @staticmethod
    def _lives(pid):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
        return False

    @staticmethod
    def _descends(pid, ancestor):
        with contextlib.suppress(OSError):
            while pid > 1:
                if pid == ancestor:
                    return True
                with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
                    pid = int(f.read().rsplit(")", 1)[1].split()[1])
        return False

    def test_qemu_s_own_refusal_is_shown(self):
        r = boot("true", machine_args="-device no-such-device", log=f"{self.dir}/log")
        self.assertIn("no-such-device", r.reason)


class Translation(Temp):
    """Whether DMA goes through the unit, seen by iommu-testdev."""

    def fire(self, **config):
        """Fires one DMA at a page nobody mapped and returns the program's status."""
        return boot(TESTDEV, devices=["testdev"], log=f"{self.dir}/log", **config)

    def test_an_unmapped_dma_is_blocked_by_the_c_drivers(self):
        for unit in ("amd-vi", "vt-d"):
            with self.subTest(unit=unit):
                r = self.fire(unit=unit, driver="c")
                self.assertEqual(r.status, 1, r.output)
                self.assertIn("write blocked", r.output)

    def test_nothing_is_blocked_without_a_driver(self):
        for unit in ("amd-vi", "vt-d", "none"):
            with self.subTest(unit=unit):
                r = self.fire(unit=unit)
                self.assertEqual(r.status, 0, r.output)
                self.assertRegex(r.output, ": ok$")

    def test_passthrough_reaches_the_page(self):
        self.assertEqual(self.fire(driver="c", append="iommu=pt").status, 0)

    def test_invalidations_are_traced(self):
        r = self.fire(driver="c", traces=[f"amdvi_*inval*:{self.dir}/trace"])
        self.assertEqual(r.status, 1)
        with open(f"{self.dir}/trace", encoding="utf-8") as f:
            self.assertIn("amdvi_devtab_inval", f.read())


class Guest(Temp):
    """What a script finds in the guest."""

    def test_files_arrive_with_their_execute_bit(self):
        files = [self.put("x", b"#!/bin/sh\necho $1\n", 0o755) + ":/bin/x", self.put("y", bytes(range(256))) + ":/data/deep/y"]
        r = boot("x good; test ! -x /data/deep/y; wc -c </data/deep/y", files=files)
        self.assertEqual((r.status, r.output), (0, "good\n256"))

    def test_programs_of_the_tool_root_run(self):
        r = boot("fio --name=x --filename=/dev/nvme0n1 --rw=randwrite --bs=4k --size=1M --verify=crc32c --ioengine=libaio --direct=1 --minimal >/dev/null",
                 driver="c", devices=["nvme"], programs=["fio"])
        self.assertTrue(r.ok, r.reason + r.output)

    def test_modules_load_in_order_and_a_failure_is_told(self):
        ko = os.path.join(kernel_dir("lean"), "drivers/pci/pci-stub.ko")
        for late in (False, True):
            r = boot("cut -d' ' -f1 /proc/modules; dmesg | grep 'add 1234:5678'", driver="rust", ko=ko,
                     late=late, devices=["e1000e"], rust_params="ids=1234:5678")
            self.assertTrue(r.ok, r.reason)
            names = r.output.split("\n")
            self.assertEqual(names.index("pci_stub") < names.index("e1000e"), late, "the newest module is listed first")
        r = boot("true", modules=["e1000e=no_such=5", "nvme=poll_queues=oops"], log=f"{self.dir}/log")
        self.assertEqual((r.status, r.reason), (125, "a module did not load"))

    def test_the_library_s_helpers(self):
        r = boot("""
            check true true; check_not false false; eq one 1 1
            eq bdf "$(bdf_of nvme)" "$(bdf_of 1b36:0010)"
            check_not "no such device" bdf_of 1b36:ffff
            check disk wait_for /dev/nvme0n1 10; check_not "no file" wait_for /nowhere 1
            check group test -n "$(group_of "$(bdf_of nvme)")"
            fail "on purpose"; plan""", driver="c", devices=["nvme"], log=f"{self.dir}/log")
        self.assertEqual(r.status, 1)
        self.assertEqual(re.findall("^not ok.*", r.output, re.M), ["not ok 9 - on purpose"])
        self.assertIn("1..9", r.output)

    def test_files_go_over_the_network(self):
        data = os.urandom(300000)
        r = boot("n=$(nic_of $(bdf_of e1000e)) && net_up $n && serve_get /x && sink_put /x", driver="c", devices=["e1000e"],
                 serve=self.put("serve", data), sink=f"{self.dir}/sink")
        self.assertTrue(r.ok, r.reason)
        with open(f"{self.dir}/sink", "rb") as f:
            self.assertEqual(f.read(), data)

    def test_an_acpi_table_is_replaced(self):
        r = boot("od -An -v -tx1 /sys/firmware/acpi/tables/IVRS")
        table = bytearray.fromhex(r.output.replace("\n", " "))
        table[24:28] = (9).to_bytes(4, "little")
        table[9] = 0
        table[9] = -sum(table) & 0xFF
        r = boot("od -An -v -tx1 /sys/firmware/acpi/tables/IVRS", acpi_tables=["IVRS=" + self.put("t", bytes(table))])
        self.assertEqual(bytes.fromhex(r.output.replace("\n", " ")), bytes(table))
        self.assertIn("IVRS ACPI table found in initrd", r.console)

    def test_counted_instructions_repeat(self):
        stamps = {boot("cut -d' ' -f1 /proc/uptime", icount=True).output for _ in range(2)}
        self.assertEqual(len(stamps), 1)

    def test_a_shell_takes_commands(self):
        run = subprocess.run([VM, "--driver", "none", "--shell"], input="echo $((6 * 7)) answer\nexit 5\n", capture_output=True, text=True, timeout=60, check=False)
        self.assertIn("42 answer", run.stdout)
        self.assertEqual(run.returncode, 5, run.stderr)


class Python(Temp):
    """The interface for test suites."""

    def test_hot_plug_while_a_script_waits(self):
        with Machine(driver="c", devices=["port"], modules=["e1000e"], log=f"{self.dir}/log",
                     script="bdf_of e1000e && exit 1; wait_host go; wait_until 20 bdf_of e1000e && group_of $(bdf_of e1000e)") as m:
            m.wait_for("^host: ready")
            m.qmp("device_add", driver="e1000e", bus="port0", id="hot")
            self.assertIn("hot", m.hmp("info qtree"))
            m.send("go")
            r = m.finish()
        self.assertTrue(r.ok, r.reason)
        self.assertRegex(r.output, r"(?m)^\d+$")

    def test_waiting_for_a_line_that_never_comes(self):
        with Machine(driver="none", script="echo a; sleep 1", log=f"{self.dir}/log") as m:
            m.wait_for("^a$")
            self.assertRaisesRegex(VmError, "no line .*: the machine ended", m.wait_for, "^b$")

    def test_a_second_qmp_client(self):
        path = f"{self.dir}/qmp"
        with Machine(driver="none", script="wait_host go", qmp_socket=path) as m:
            m.wait_for("^host: ready")
            client = Qmp(path)
            self.assertEqual(client("query-status")["status"], "running")
            client.close()
            m.send("go")
            self.assertTrue(m.finish().ok)
        self.assertFalse(os.path.lexists(path))


@unittest.skipUnless(os.environ.get("VM_TEST_DEBUG"), "set VM_TEST_DEBUG=1 to test the debug kernel")
class Debug(Temp):
    """The debug flavour, which is slow."""

    def test_no_leak_and_no_splat(self):
        r = boot("kmemleak_clear; check leaks kmemleak_check; plan", driver="c", flavour="debug", log=f"{self.dir}/log")
        self.assertTrue(r.ok, r.reason + r.output)


if __name__ == "__main__":
    unittest.main()
