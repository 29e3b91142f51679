# SPDX-License-Identifier: GPL-2.0
"""The way of a real machine: a Debian system, the module installed by packaging/install, its own initramfs, root on NVMe.

The system is made by mmdebstrap and kept; the module is built in it by DKMS, against Debian's own kernel. Each boot comes to
a login shell, in which scripts/lib/install-guest.sh looks around. The disk is the same for all units: one boot is on the
other one.
"""

import os
import re
import socket
import subprocess
import tempfile
import time

from vm import VmError
from vm.console import CONTROL, SPLATS
from vm.devices import unit_args
from vm.host import cache, digest, in_root, in_root_env, read_input

from .lib import TOP

PACKAGES = """systemd systemd-sysv udev login kmod pciutils iproute2 mount initramfs-tools dracut-core zstd e2fsprogs
linux-image-amd64 linux-headers-amd64 linux-source-7.3 dkms make gcc rustc rust-src bindgen pahole bc bison flex libelf-dev libssl-dev openssl
python3 xz-utils""".split()
PIN = "Package: src:linux src:linux-signed-amd64 src:linux-base\nPin: release n=trixie-backports\nPin-Priority: 900\n"
MIRROR = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
SECONDS = 240


def system():
    """The folder of a Debian system with the packages that packaging/README.md names."""
    where = cache(f"debian-{digest(*PACKAGES, PIN)}")
    if os.path.isdir(where):
        return where
    partial = f"{where}.partial"
    # What a cut-off run left mounted there, as /dev, is the machine's.
    subprocess.run(["rm", "-rf", "--one-file-system", partial], check=True)
    make = ["mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory", "--aptopt=Acquire::Retries \"3\"",
            "--aptopt=APT::Sandbox::User \"root\"", "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
            f"--setup-hook=printf '{PIN}' >\"$1/etc/apt/preferences.d/backports\"", f"--include={','.join(PACKAGES)}", "trixie", partial,
            f"deb {MIRROR} trixie main", f"deb {MIRROR} trixie-backports main"]
    log = cache("log", "debian.log")
    with open(log, "w", encoding="utf-8") as f:
        done = subprocess.run(make, stdin=subprocess.DEVNULL, stdout=f, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise VmError(f"mmdebstrap made no Debian system; log: {log}")
    os.replace(partial, where)
    return where


def disk(tmp):
    """Installs this tree in the system; returns the log of that. `tmp` gets the disk and what boots it."""
    script = os.path.join(TOP, "scripts/lib/install-disk.sh")
    run = subprocess.run(["unshare", "--mount", "bash", script, TOP, system(), tmp, cache("install-kept")], stdin=subprocess.DEVNULL,
                         capture_output=True, text=True, check=False)
    said = run.stdout + run.stderr
    if os.path.exists(f"{tmp}/install.log"):
        said += read_input(f"{tmp}/install.log", "log").decode(errors="replace")
    return run.returncode, said


class Debian:
    """One boot of the disk, to its login shell on the serial console."""

    def __init__(self, tmp, unit, initrd="initrd.img", append=""):
        self.text, self._rest, self._socket = "", "", socket.socket(socket.AF_UNIX)
        path = f"{tmp}/console.sock"
        if os.path.exists(path):
            os.unlink(path)
        self._socket.bind(path)
        self._socket.listen(1)
        self._socket.settimeout(30)
        for size, name in (64, "sata"), (64, "usb"):
            with open(f"{tmp}/{name}.img", "wb") as f:
                f.truncate(size << 20)
        argv = ["qemu-system-x86_64", "-M", "q35", "-cpu", "max,-la57", "-m", "2G", "-smp", "2", "-accel", "tcg,thread=multi", "-nodefaults",
                "-display", "none", "-no-reboot", *unit_args(unit), "-chardev", f"socket,id=c,path={path}", "-serial", "chardev:c",
                "-kernel", f"{tmp}/vmlinuz", "-initrd", f"{tmp}/{initrd}",
                "-append", f"root=/dev/nvme0n1 rw console=ttyS0 panic=-1 no_timer_check systemd.show_status=0 {append}",
                "-device", "pcie-root-port,id=p0,chassis=1,addr=10", "-device", "nvme,serial=root,drive=root,bus=p0",
                "-blockdev", f"raw,node-name=root,file.driver=file,file.filename={tmp}/disk.img",
                "-device", "pcie-root-port,id=p1,chassis=2,addr=11", "-device", "e1000e,netdev=n,bus=p1", "-netdev", "user,id=n,restrict=on",
                "-device", "pcie-root-port,id=p2,chassis=3,addr=12", "-device", "qemu-xhci,id=usb,bus=p2",
                "-blockdev", f"raw,node-name=usbd,file.driver=file,file.filename={tmp}/usb.img", "-device", "usb-storage,bus=usb.0,drive=usbd",
                "-blockdev", f"raw,node-name=sata,file.driver=file,file.filename={tmp}/sata.img", "-device", "ide-hd,bus=ide.0,drive=sata"]
        self._qemu = subprocess.Popen(in_root(argv), env=in_root_env([tmp]), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, start_new_session=True)
        try:
            self._peer = self._socket.accept()[0]
        except socket.timeout as e:
            self._qemu.kill()
            raise VmError(f"QEMU did not start: {self._qemu.communicate()[0].decode(errors='replace')[-300:]}") from e
        self._peer.settimeout(1)

    def wait(self, pattern, seconds=SECONDS):
        """Reads until the console shows the pattern after what was waited for; returns the text before its end."""
        start, end = len(self.text), time.monotonic() + seconds
        while time.monotonic() < end:
            if found := re.search(pattern, self.text[start:]):
                return self.text[start:start + found.end()]
            try:
                data = self._peer.recv(65536)
            except socket.timeout:
                continue
            if not data:
                break
            # A control sequence may come in two parts.
            whole, escape, rest = (self._rest + data.decode(errors="replace")).rpartition("\x1b")
            self._rest = escape + rest if escape and not re.search("[a-zA-Z]", rest) else ""
            self.text += CONTROL.sub("", whole if self._rest else whole + escape + rest)
        raise VmError(f"the console did not show '{pattern}'")

    def type(self, line):
        """Sends a line."""
        self._peer.sendall(line.encode() + b"\n")

    def off(self):
        """Waits for the end after poweroff, and ends it if that does not come."""
        try:
            self._qemu.wait(60)
        except subprocess.TimeoutExpired:
            self._qemu.kill()
            self._qemu.wait()
        self._peer.close()
        self._socket.close()


def boot(suite, tmp, title, mode, unit="", **config):
    """One boot: log in, run the guest's script, report its results, power off."""
    log = cache("log", "vm", f"install-{suite.options.unit}-{re.sub(r'[^a-z]+', '-', title)}.log")
    machine = Debian(tmp, unit or suite.options.unit, **config)
    try:
        machine.wait(r"login: ")
        machine.type("root")
        machine.wait(r"# ")
        machine.type(f"sh /usr/local/sbin/check-install {mode}; poweroff")
        output = machine.wait(r"\n1\.\.\d+\n", SECONDS * 2)
        reason = ""
    except VmError as e:
        output, reason = machine.text, str(e)
    machine.off()
    with open(log, "w", encoding="utf-8") as f:
        f.write(machine.text)
    tests = re.findall(r"^(not ok|ok) \d+ - (.*)$", output, re.M)
    for state, text in tests:
        suite.result(f"install {title}: {text}", "" if state == "ok" else "the guest says so", log)
    if reason or f"1..{len(tests)}\n" not in output or not tests:
        suite.result(f"install {title}: plan", reason or f"{len(tests)} results", log)
    if splat := SPLATS.search(machine.text):
        suite.result(f"install {title}: no splat on the console", splat[0], log)


def run(suite):
    """Installs; boots the disk with the module by both kinds of initramfs, without it, and after it was taken away."""
    if suite.options.driver != "rust" or suite.options.flavour != "lean":
        suite.skip("all", "is about Debian's own kernel")
        return
    if os.geteuid():
        suite.skip("all", "a Debian system to boot is made as root")
        return
    with tempfile.TemporaryDirectory(prefix="rust-iommu-install.", dir=os.path.dirname(cache("tmp", "x"))) as tmp:
        status, said = disk(tmp)
        log = cache("log", "vm", f"install-{suite.options.unit}.log")
        with open(log, "w", encoding="utf-8") as f:
            f.write(said)
        suite.result("install packaging/install in a Debian system", f"status {status}: {said.strip()[-200:]}" if status else "", log)
        if status:
            return
        suite.result("install DKMS has built and installed the module", "" if re.search(r"^rust_iommu/\S+, 7\.3\S*, x86_64: installed", said, re.M) else "dkms status does not say so",
                     log)
        again = [line for line in said.split("\n") if line.startswith("again: ") and "installed for" not in line]
        suite.result("install a second time changes nothing", "; ".join(again), log)
        parameters = read_input(f"{tmp}/parameters", "parameters").decode().strip()
        boot(suite, tmp, "initramfs-tools", "installed", append=parameters)
        other = {"amd-vi": "vt-d", "vt-d": "amd-vi"}[suite.options.unit]
        boot(suite, tmp, f"dracut, {other}", "installed", unit=other, initrd="dracut.img", append=parameters)
        boot(suite, tmp, "rust_iommu=off", "off", append=f"{parameters} rust_iommu=off")
        if suite.options.quick:
            return
        boot(suite, tmp, "uninstall", "uninstall", append=parameters)
        # The boot loader would read it from the disk.
        dump = "for f in /boot/initrd.img-*; do debugfs -R \"dump $f /mnt/initrd.img\" /mnt/disk.img; done"
        subprocess.run(["unshare", "--mount", "sh", "-c", f'mount --bind "$2" "$1/mnt" && chroot "$1" sh -c \'{dump}\'', "sh", system(), tmp],
                       check=True, capture_output=True, stdin=subprocess.DEVNULL)
        boot(suite, tmp, "after uninstall", "gone", append="intel_iommu=on")
