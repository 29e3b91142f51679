# SPDX-License-Identifier: GPL-2.0
"""Starts a machine, talks to it, ends it."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from . import initramfs
from .config import Config
from .console import Console
from .devices import Devices, machine_args, unit_args
from .errors import VmError
from .host import build_static, cache, in_root, in_root_env, read_input
from .modules import Modules, canonical
from .qmp import Qmp
from .result import Result

NO_STATUS, TIMED_OUT, SPLAT = 125, 124, 126
# Seconds without a line of the kernel before init, after which it is taken for stalled.
STALL = 30
# The default script only proves that the machine boots.
HELLO = 'echo "booted $(uname -r), unit $VM_UNIT, driver $VM_DRIVER"\n'


class Machine:
    """One virtual machine, from its making to its result; see Config for the arguments.

    `on_line(source, line)` is called for each line as it comes, from another thread.
    """

    # A semaphore, where only so many machines are to run at once.
    slots = None

    def __init__(self, on_line=None, **config):
        self.config = Config(**config)
        self.config.check()
        self._qemu = self._qmp = None
        self._threads, self._sockets, self._links = [], {}, []
        self._seen, self._reason, self.result = 0, "", None
        self._slot = None
        self._begin = time.monotonic()
        self.tmp = tempfile.mkdtemp(prefix="rust-iommu-vm.", dir="/tmp")
        try:
            self._keep_log = bool(self.config.log)
            self.log = os.path.abspath(self.config.log or cache("log", "vm", os.path.basename(self.tmp) + ".log"))
            self._log_file = open(self.log, "w", encoding="utf-8")
            self.console = Console(self._log_file, on_line, self.config.allow)
        except OSError as e:
            shutil.rmtree(self.tmp, ignore_errors=True)
            raise VmError(f"--log {self.config.log}: {e.strerror.lower()}") from e

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.kill()

    def start(self):
        """Builds what the guest needs and starts it; returns self."""
        if Machine.slots:
            Machine.slots.acquire()
            self._slot = Machine.slots
        try:
            argv, binds = self._prepare()
            self._log_file.write("qemu: " + " ".join(argv) + "\n")
            self._spawn(argv, binds)
            if self._stalled():
                self._log_file.write("the kernel has stalled before init; once more\n")
                self._stop()
                self._drain()
                self._qemu.stdout.close()
                self.console.forget()
                self._spawn(argv, binds)
        except BaseException:
            self.kill()
            raise
        self._begin = time.monotonic()
        return self

    def _spawn(self, argv, binds):
        for source in ("kernel", "script"):
            path = f"{self.tmp}/{source}.sock"
            if os.path.exists(path):
                os.unlink(path)
            self._sockets[source] = s = socket.socket(socket.AF_UNIX)
            s.bind(path)
            s.listen(1)
        self._qemu = subprocess.Popen(in_root(argv), env=in_root_env(binds), stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        self._read("qemu", self._qemu.stdout.read1)
        for source in ("kernel", "script"):
            thread = threading.Thread(target=self._accept, args=(source,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _stalled(self):
        """Is the kernel silent before it has come to init? On a host with too much to do TCG's processors lose each other
        once in some hundred boots, mostly when the kernel changes its clock; nothing of ours runs by then."""
        def begun():
            return self._ended() or self.console.ready or self.console.find(r"Run /init|Kernel panic|@@")

        while not begun():
            known = len(self.console.lines)
            if not self.console.wait(lambda: begun() or len(self.console.lines) > known, STALL * self.config.scale()):
                return self.console.find("Linux version") is not None
        return False

    def _prepare(self):
        c = self.config
        kernel = c.find_kernel()
        modules = Modules(kernel)
        devices = Devices(self.tmp, bool(c.serve), bool(c.sink))
        for device in c.devices:
            devices.add(device)
        if (c.serve or c.sink) and not devices.nets:
            raise VmError("--serve and --sink need a network --device, for instance e1000e")
        loads = self._loads(modules, devices.modules)
        scale = c.scale()
        files = [self._host_guest(f) for f in c.files]
        for source in dict.fromkeys(devices.tools + [os.path.abspath(t) for t in c.tools]):
            program = build_static(source)
            files.append((program, "/bin/" + os.path.basename(program)))
        script = read_input(c.run, "--run").decode() if c.run else c.script or HELLO
        env = {"VM_UNIT": c.unit, "VM_DRIVER": c.driver, "VM_FLAVOUR": c.flavour, "VM_SCALE": scale, "VM_SHELL": int(c.shell)}
        initramfs.build(f"{self.tmp}/initramfs", modules=modules, programs=c.programs, script=script, loads=loads,
                        files=files, env=env, acpi=[self._acpi(t) for t in c.acpi_tables])
        for path, size in devices.disks:
            with open(path, "wb") as f:
                f.truncate(size)
        self._net_files()
        try:
            shutil.copyfile(kernel.image, f"{self.tmp}/kernel")
        except OSError as e:
            raise VmError(f"--kernel {kernel.image}: {e.strerror.lower()}") from e
        return self._argv(devices), devices.binds

    def _loads(self, modules, client):
        c = self.config
        loads = [*client] if c.load else []
        for name in client:
            modules.check(name)
        for word in c.modules:
            name, _, params = word.partition("=")
            if name.endswith(".ko"):
                name = modules.add(name)
            modules.check(name)
            loads = [m for m in loads if canonical(m) != canonical(name)] + [f"{name} {params}".strip()]
        if c.driver == "rust":
            name = modules.add(c.rust_module())
            own = f"{name} {c.rust_params}".strip()
            loads = loads + [own] if c.late else [own] + loads
        return loads

    @staticmethod
    def _host_guest(text):
        if not isinstance(text, str):
            return text
        host, _, guest = text.partition(":")
        if not host or not guest.startswith("/") or guest.endswith("/"):
            raise VmError(f"--file '{text}': give HOST:GUEST, GUEST an absolute file name")
        return host, guest

    @staticmethod
    def _acpi(text):
        if not isinstance(text, str):
            return text
        signature, equals, path = text.partition("=")
        if not equals:
            raise VmError(f"--acpi-table '{text}': give SIGNATURE=FILE")
        return signature, read_input(path, "--acpi-table")

    def _net_files(self):
        if self.config.serve:
            shutil.copyfile(self.config.serve, f"{self.tmp}/serve")
        if self.config.sink:
            with open(f"{self.tmp}/sink.sh", "w", encoding="utf-8") as f:
                f.write(f"cat >>{self.tmp}/sink\necho done\n")

    def _argv(self, devices):
        c, t = self.config, self.tmp
        user = machine_args(c.machine_args)
        # With five levels the debug kernel sometimes reports a wild access in identify_cpu(): it clears the
        # processor's features for a moment, and an interrupt in it makes KASAN assume four levels.
        cpu = "max,-la57" + (",-rdrand,-rdseed" if c.icount else "")
        argv = ["qemu-system-x86_64", "-M", "q35", "-cpu", cpu, "-m", c.mem, "-nodefaults", "-display", "none", "-no-reboot"]
        if c.icount:
            argv += ["-accel", "tcg", "-smp", "1", "-icount", "shift=0,sleep=off", "-rtc", "base=2026-01-01T00:00:00,clock=vm", "-seed", "1"]
        else:
            argv += ["-accel", "tcg,thread=multi", "-smp", str(c.smp)]
        argv += unit_args(c.unit, c.unit_args)
        for source in ("kernel", "script"):
            argv += ["-chardev", f"socket,id={source},path={t}/{source}.sock", "-serial", f"chardev:{source}"]
        argv += ["-qmp", f"unix:{t}/qmp.sock,server=on,wait=off"]
        if c.qmp_socket:
            argv += ["-qmp", f"unix:{t}/qmp-user.sock,server=on,wait=off"]
            try:
                os.symlink(f"{t}/qmp-user.sock", c.qmp_socket)
            except OSError as e:
                raise VmError(f"--qmp {c.qmp_socket}: {e.strerror.lower()}") from e
            self._links.append(c.qmp_socket)
        if c.traces:
            argv += ["-D", f"{t}/trace"]
        for trace in c.traces:
            argv += ["-trace", f"enable={trace.partition(':')[0]}"]
        argv += devices.args + user
        argv += ["-kernel", f"{t}/kernel", "-initrd", f"{t}/initramfs", "-append", c.command_line()]
        return argv

    def _read(self, source, read):
        def pump():
            try:
                while data := read(65536):
                    self.console.feed(source, data)
            except (OSError, ValueError):
                pass
            self.console.close(source)
            self.console.wake()
        thread = threading.Thread(target=pump, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _accept(self, source):
        listener = self._sockets[source]
        listener.settimeout(0.2)
        while self._qemu.poll() is None:
            try:
                peer, _ = listener.accept()
            except socket.timeout:
                continue
            except OSError:
                return
            peer.settimeout(None)
            listener.close()
            self._sockets[source] = peer
            self._read(source, peer.recv)
            return

    def _ended(self):
        return self._qemu.poll() is not None

    @property
    def trace_file(self):
        """The host's path of the trace, while the machine runs."""
        return f"{self.tmp}/trace"

    def wait_for(self, pattern, timeout=60):
        """Waits for a line (of the kernel or the script) after the last one waited for.

        Returns the match. Raises VmError if the machine ends or the time (scaled for the debug
        flavour) is over.
        """
        limit = timeout * self.config.scale()
        self.console.wait(lambda: self.console.find(pattern, self._seen) or self._ended(), limit)
        self._drain() if self._ended() else None
        found = self.console.find(pattern, self._seen)
        if not found:
            why = "the machine ended" if self._ended() else f"{limit:g} s are over"
            raise VmError(f"no line '{pattern}': {why}; log: {self.log}")
        self._seen = found[0] + 1
        return found[1]

    def send(self, line):
        """Sends a line to the script, which reads it with wait_host or from /dev/ttyS1."""
        self.send_bytes(line.encode() + b"\n")

    def send_bytes(self, data):
        """Sends bytes to the guest's second serial port."""
        self._sockets["script"].sendall(data)

    @property
    def qmp_client(self):
        """The Qmp connection of this machine."""
        if not self._qmp:
            self._qmp = Qmp(f"{self.tmp}/qmp.sock")
        return self._qmp

    def qmp(self, command, **arguments):
        """Runs a QMP command, for instance qmp("device_add", driver="e1000e", bus="port0")."""
        return self.qmp_client(command, **arguments)

    def hmp(self, line):
        """Runs a human monitor command, for instance hmp("info mtree -f")."""
        return self.qmp_client.hmp(line)

    def _drain(self):
        end = time.monotonic() + 5
        for thread in self._threads:
            thread.join(max(0, end - time.monotonic()))

    def _stop(self):
        if self._qemu and self._qemu.poll() is None:
            try:
                os.killpg(self._qemu.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self._qemu.wait()

    def finish(self):
        """Waits for the end and returns the Result; a time-out counts from the start."""
        if self.result:
            return self.result
        limit = self.config.timeout * self.config.scale()
        left = None if self.config.shell else max(0, self._begin + limit - time.monotonic())
        done = self.console.wait(lambda: self._ended() or self.console.status is not None, left if left is not None else 1e9)
        if done and not self._ended():
            try:
                self._qemu.wait(15 * self.config.scale())
            except subprocess.TimeoutExpired:
                self._reason = f"the machine did not power off after the script ended with status {self.console.status}"
        elif not done:
            self._reason = f"timed out after {limit:g} s"
        self._stop()
        self._drain()
        self.result = self._judge(timed_out=not done)
        self._collect()
        self.kill()
        return self.result

    def _judge(self, timed_out):
        status, splats = self.console.status, self.console.splats()
        reason = self._reason
        if timed_out:
            status = TIMED_OUT
        elif status is None:
            status = NO_STATUS
            if splats:
                reason = "the kernel died: " + splats[0].split("\n")[0].strip()
            elif self.console.of("kernel"):
                reason = "the machine ended without a status of the script"
            else:
                reason = "QEMU did not start: " + (self.console.of("qemu") or ["no message"])[-1]
        elif splats and not status:
            status, reason = SPLAT, f"the script succeeded but the kernel complained ({len(splats)}x)"
        elif status == NO_STATUS and not self.console.ready:
            reason = reason or "a module did not load"
        elif status:
            reason = reason or f"the script ended with status {status}"
        elif reason:
            status = NO_STATUS
        text = {s: "\n".join(self.console.of(s)) for s in ("kernel", "script", "qemu")}
        return Result(status, reason, text["script"], text["kernel"], splats, text["qemu"], self.log,
                      round(time.monotonic() - self._begin, 2))

    def _collect(self):
        for trace in self.config.traces:
            target = trace.partition(":")[2]
            if target and os.path.exists(self.trace_file):
                shutil.copyfile(self.trace_file, target)
        if self.config.sink and os.path.exists(f"{self.tmp}/sink"):
            shutil.copyfile(f"{self.tmp}/sink", self.config.sink)

    def kill(self):
        """Ends the machine at once, if it runs, and removes its temporary files."""
        self._stop()
        self._drain()
        if self._slot:
            self._slot.release()
            self._slot = None
        if self._qemu:
            self._qemu.stdout.close()
        if self._qmp:
            self._qmp.close()
            self._qmp = None
        for s in self._sockets.values():
            s.close()
        for link in self._links:
            if os.path.islink(link):
                os.unlink(link)
        self._links = []
        shutil.rmtree(self.tmp, ignore_errors=True)
        self._log_file.close()
        useless = not self._qemu or (self.result and self.result.ok)
        if useless and not self._keep_log and os.path.exists(self.log):
            os.unlink(self.log)

    def run(self):
        """start() and finish() in one."""
        self.start()
        try:
            return self.finish()
        finally:
            self.kill()
