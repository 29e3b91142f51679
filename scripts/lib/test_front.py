#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What a user meets first when something is missing: each refusal is one line with what to do, and no success.

Kernels that do not fit are folders made up here; one that fits is the lean one. The last line is "N passed, N failed".
"""

import functools
import glob
import http.server
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
RUSTC = "rustc 1.85.0 (4d91de4e4 2025-02-17)"
# What `compilers` has.
GCC = {"CC_IS_GCC": "y", "GCC_VERSION": "140200", "CC_VERSION_TEXT": '"gcc 14.2.0"', "RUST": "y", "RUSTC_VERSION_TEXT": f'"{RUSTC}"',
       "X86_64": "y"}
METADATA = ("rust/libcore.rmeta", "rust/libkernel.rmeta", "scripts/target.json")

# Each command of the documents, and what runs it: a file and a text in it. One that has no entry fails, and so does one whose
# text is gone.
DOCUMENTS = ("README.md", "packaging/README.md", "docs/tests.md", "docs/vm.md", "docs/groups.md", "docs/passthrough.md", "docs/dma.md",
             "tools/testing/selftests/iommu/README.md")
HERE, CHECK, INSTALL = "scripts/lib/test_front.py", "scripts/check", "scripts/lib/install-disk.sh"
RUN_BY = {
    r"make demo( UNIT=vt-d)?": (CHECK, "demo UNIT=vt-d"),
    r"make check": (".ci/run", "make --no-print-directory check"),
    r"make check SUITE=\w+": (HERE, '"SUITE=masks"'),
    r"make bench|scripts/bench": (HERE, 'scripts/bench", "--quick"'),
    r"make KDIR=\S+ modules": (HERE, "KDIR=$LEAN modules"),
    r"make -C tools/testing/selftests .*(run_tests|install)": ("scripts/suites/kselftest.py", '"make", "-C", os.path.join(TOP, "tools/testing/selftests")'),
    r"scripts/in-tree .*": ("scripts/gates/in-tree", "scripts/in-tree"),
    r"scripts/gates/run": (CHECK, "scripts/gates/run"),
    r"scripts/(setup|build)": (CHECK, "scripts/setup"),
    r"scripts/check": (".ci/run", "check"),
    r"scripts/mutants": (CHECK, "scripts/mutants"),
    r"scripts/suites/run.py( \w+)?": (CHECK, "scripts/suites/run.py"),
    r"scripts/vm( .*)?": ("scripts/demo", "scripts/vm"),
    r"echo 1 ?> ?/sys/devices/faux/rust_iommu/release && rmmod rust_iommu": ("tools/testing/selftests/iommu/life.sh", "rmmod rust_iommu"),
    r"packaging/install": (INSTALL, "packaging/install --kernel"),
    r"(packaging|/usr/src/rust_iommu-\*/packaging)/install (status|uninstall)": ("scripts/lib/install-guest.sh", '"$install" uninstall'),
    r"apt-get install .*": ("scripts/suites/install.py", "PACKAGES = "),
    r"reboot": ("scripts/suites/install.py", "def boot("),
    r"mokutil --import .*": ("packaging/install", "mokutil --import"),
}

failed = passed = 0


def result(what, reason=""):
    """One test; it passed if there is no reason why not."""
    global failed, passed
    passed, failed = passed + (not reason), failed + bool(reason)
    print(f"not ok {what}: {reason}" if reason else f"ok {what}", flush=True)


def refused(what, wanted, *command, **options):
    """The command fails, and one of its lines matches."""
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options)
    said = run.stdout + run.stderr
    lines = [line for line in said.split("\n") if re.search(wanted, line)]
    reason = "it ends with 0" if not run.returncode else f"{len(lines)} lines match '{wanted}': {said.strip()[-300:]}" if len(lines) != 1 else ""
    result(what, reason)


def write(path, text, mode=0o644):
    """A file, with the folders it needs."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(path, mode)


def kernel(tmp, release="7.3.4-test", files=METADATA, **config):
    """A folder that looks like a kernel that was configured; a value that is empty leaves its symbol out."""
    where = tempfile.mkdtemp(dir=tmp)
    text = "".join(f"CONFIG_{name}={value}\n" for name, value in (GCC | config).items() if value)
    write(f"{where}/include/config/auto.conf", text)
    write(f"{where}/.config", text)
    write(f"{where}/include/config/kernel.release", release + "\n")
    for name in files:
        write(f"{where}/{name}", "")
    return where


def compilers(tmp, rustc=RUSTC):
    """An environment whose rustc says that it is this one, and with a gcc 14."""
    where = tempfile.mkdtemp(dir=tmp)
    write(f"{where}/rustc", f"#!/bin/sh\necho '{rustc}'\n", 0o755)
    write(f"{where}/gcc", "#!/bin/sh\necho 14\n", 0o755)
    return dict(os.environ, PATH=f"{where}:{os.environ['PATH']}", RUSTC="rustc")


def preflight(tmp):
    """scripts/preflight, which make modules asks first."""
    check, env = f"{TOP}/scripts/preflight", compilers(tmp)
    run = subprocess.run([check, kernel(tmp)], capture_output=True, text=True, check=False, env=env)
    result("preflight: control: a kernel that fits is taken with its compiler", "" if (run.returncode, run.stdout) == (0, "CC=gcc\n") else run.stdout + run.stderr)
    for what, wanted, where in (
            ("no kernel at all", "no configured kernel at .* install linux-headers", tmp),
            ("another version", "kernel 7.4.1-test: rust_iommu is written for Linux 7.3", kernel(tmp, "7.4.1-test")),
            ("7.30", "kernel 7.30.1: rust_iommu is written for Linux 7.3", kernel(tmp, "7.30.1")),
            ("no CONFIG_RUST", "built without CONFIG_RUST: install one", kernel(tmp, RUST="")),
            ("PREEMPT_RT", "PREEMPT_RT.*install the ordinary one", kernel(tmp, PREEMPT_RT="y")),
            ("no metadata of Rust", "has no rust/libcore.rmeta", kernel(tmp, files=())),
            ("a gcc that is not here", "was built with gcc 99: install gcc-99", kernel(tmp, GCC_VERSION="990100", CC_VERSION_TEXT='"gcc 99.1.0"')),
            ("a clang that is not here", "was built with clang 99: install clang-99", kernel(tmp, CC_IS_CLANG="y", CLANG_VERSION="990100")),
    ):
        refused(f"preflight: {what}", f"^error: .*{wanted}", check, where, env=env)
    refused("preflight: another rustc", "needs rustc 1.85.0 .* but 'rustc' is rustc 1.99.0", check, kernel(tmp), env=compilers(tmp, "rustc 1.99.0"))
    refused("make modules: no CONFIG_RUST", "built without CONFIG_RUST", "make", "-C", TOP, f"KDIR={kernel(tmp, RUST='')}", "modules", env=env)


def dkms(tmp):
    """packaging/dkms/module, which DKMS runs."""
    check, env = f"{TOP}/packaging/dkms/module", compilers(tmp)
    for what, wanted, release, headers in (
            ("another version", "kernel 7.4.1-test: this version of the module is for Linux 7.3 only", "7.4.1-test", kernel(tmp, "7.4.1-test")),
            ("no headers", "apt-get install linux-headers-7.3.4-test", "7.3.4-test", tmp),
            ("no CONFIG_RUST", "built without CONFIG_RUST: use one that has it", "7.3.4-test", kernel(tmp, RUST="")),
            ("PREEMPT_RT", "PREEMPT_RT kernel, which is not supported", "7.3.4-test", kernel(tmp, PREEMPT_RT="y")),
            ("a gcc that is not here", "gcc-99 is missing: apt-get install gcc-99", "7.3.4-test", kernel(tmp, CC_VERSION_TEXT='"gcc-99 99.1.0"')),
    ):
        refused(f"dkms: {what}", f"^rust_iommu: .*{wanted}", check, "check", release, headers, env=env)
    refused("dkms: another rustc", "rustc is 'rustc 1.99.0', the kernel was built with 'rustc 1.85.0", check, "check", "7.3.4-test", kernel(tmp),
            env=compilers(tmp, "rustc 1.99.0"))
    refused("install: unknown argument", "unknown argument 'upgrade': one of install, uninstall", f"{TOP}/packaging/install", "upgrade")


def documents():
    """Every command in a document is run by a test."""
    command = r"(?:make|reboot|mokutil|apt-get|echo|scripts/[\w/.-]+|packaging/[\w/.-]+|/usr/src/\S+)(?: .*)?"
    for name in DOCUMENTS:
        with open(f"{TOP}/{name}", encoding="utf-8") as f:
            text = f.read()
        fenced = "\n".join(re.findall(r"^```\n(.*?)^```$", text, re.M | re.S))
        lines = [re.sub(r"\s+#.*", "", line) for line in fenced.split("\n")]
        # In running text files and folders are named, too.
        inline = [c for c in re.findall(r"`([^`\n]+)`", re.sub(r"^```\n.*?^```$", "", text, flags=re.M | re.S)) if not re.fullmatch(r"echo|make|\S+[.](rs|sh|py|c|config)|\S+/", c)]
        for line in sorted(set(filter(None, lines + inline))):
            if not re.fullmatch(command, line):
                continue
            runners = [run for pattern, run in RUN_BY.items() if re.fullmatch(pattern, line) or os.path.isfile(f"{TOP}/{line}") and not os.access(f"{TOP}/{line}", os.X_OK)]
            reason = "" if runners else "no test runs it"
            for path, wanted in runners[:1]:
                with open(f"{TOP}/{path}", encoding="utf-8") as f:
                    # Here the table itself has it once.
                    reason = "" if f.read().count(wanted) > (path == HERE) else f"{path} has no '{wanted}'"
            result(f"{name}: '{line}' is run by a test", reason)


def archive(tmp):
    """A Debian archive that has other kernels than 7.3: nothing else can be had from it."""
    where = f"{tmp}/archive"
    packages = f"{where}/dists/trixie-backports/main/binary-amd64/Packages.xz"
    handler = functools.partial(Quiet, directory=where)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        mirror = f"http://127.0.0.1:{server.server_address[1]}"
        for what, series, wanted in (
                ("nothing", None, "no Debian archive answers at http://127.0.0.1"),
                ("no Linux 7", ["6.12"], "has no Linux 7 in trixie-backports: give the source of a 7.3 kernel with KERNEL_SRC="),
                ("newer kernels", ["6.12", "7.4", "7.10"], r"warning: the archive no longer has Linux 7.3.* trying 7.10 \(KERNEL_SRC="),
        ):
            if series:
                os.makedirs(os.path.dirname(packages), exist_ok=True)
                with lzma.open(packages, "wt") as f:
                    f.write("".join(f"Package: linux-source-{s}\nVersion: {s}.1-1\n\n" for s in series))
            env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and k != "RUST_IOMMU_ROOT"}
            refused(f"setup: an archive with {what}", wanted, f"{TOP}/scripts/setup", "root",
                    env=env | {"DEBIAN_MIRROR": mirror, "RUST_IOMMU_CACHE": f"{tmp}/cache-{what.replace(' ', '-')}"})
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A server without a log."""

    def log_message(self, *_):
        """Nothing."""


def commands(tmp):
    """What make runs."""
    refused("check: unknown suite", "no suite 'nonsense'; there is: .*translate", f"{TOP}/scripts/check", "nonsense")
    refused("make check: unknown suite", "no suite 'nonsense'", "make", "-C", TOP, "check", "SUITE=nonsense")
    refused("demo: unknown unit", "unit 'gart' is not supported", "make", "-C", TOP, "demo", "UNIT=gart")
    refused("demo: unknown dma", "dma 'fast': one of auto, rust, core", "make", "-C", TOP, "demo", "DMA=fast")
    refused("vm: a kernel that is none", "give the build folder .*, or an installed one's image", f"{TOP}/scripts/vm", "--kernel", tmp, "--command", "true")
    # All tools of this machine but one.
    tools = tempfile.mkdtemp(dir=tmp)
    for folder in os.environ["PATH"].split(":"):
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            if name != "flock" and not os.path.lexists(f"{tools}/{name}"):
                os.symlink(f"{folder}/{name}", f"{tools}/{name}")
    refused("check: a missing tool", "flock is missing: install it", f"{TOP}/scripts/check", "fmt", env=dict(os.environ, PATH=tools))
    # A clone: built for a kernel as a user does; then with a syntax error.
    clone = f"{tmp}/clone"
    files = subprocess.run(["git", "-C", TOP, "ls-files", "-z"], capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, files):
        if os.path.exists(f"{TOP}/{name}"):
            os.makedirs(os.path.dirname(f"{clone}/{name}"), exist_ok=True)
            shutil.copy2(f"{TOP}/{name}", f"{clone}/{name}", follow_symlinks=False)
    build = f'. "$0/scripts/lib/common.sh" && eval "$("$0/scripts/setup" paths)" && export KDIR=$LEAN && in_root make -C "{clone}" KDIR=$LEAN modules'
    install = f'{build} && in_root make -C "{clone}" KDIR=$LEAN INSTALL_MOD_PATH="{clone}/to" modules_install'
    run = subprocess.run(["bash", "-c", install, TOP], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    result("make modules modules_install: a kernel that fits", "" if not run.returncode and glob.glob(f"{clone}/to/lib/modules/7.3*/updates/rust_iommu.ko") else run.stderr[-300:])
    look = subprocess.run([f"{clone}/scripts/bench", "--quick", "--unit", "amd-vi", "--driver", "rust", "--only", "commands", "--out", f"{tmp}/figures"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    result("bench: a look at one unit", "" if not look.returncode and os.path.isfile(f"{tmp}/figures/bench.json") else look.stderr[-300:])
    with open(f"{clone}/drivers/iommu/rust_iommu/interrupts.rs", "a", encoding="utf-8") as f:
        f.write("fn (\n")
    refused("check: a syntax error", r"^not ok masks: 'build lean' failed", f"{clone}/scripts/check", "masks")
    refused("make check: a syntax error", r"^not ok masks: 'build lean' failed", "make", "-C", clone, "check", "SUITE=masks")
    refused("demo: a syntax error", "error: building the module .* failed", "make", "-C", clone, "demo", "FLAVOUR=lean")


def main():
    """Returns the exit status."""
    with tempfile.TemporaryDirectory(prefix="rust-iommu-front.") as tmp:
        documents()
        preflight(tmp)
        dkms(tmp)
        archive(tmp)
        commands(tmp)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
