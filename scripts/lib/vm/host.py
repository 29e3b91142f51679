# SPDX-License-Identifier: GPL-2.0
"""The host's side: where things are, how to enter the tool root, what is cached."""

import functools
import hashlib
import os
import shlex
import subprocess
import threading
import sys

from .errors import VmError

LIB = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TOP = os.path.dirname(os.path.dirname(LIB))
COMMON = os.path.join(LIB, "common.sh")
SETUP = os.path.join(TOP, "scripts", "setup")
BUILD = os.path.join(TOP, "scripts", "build")


def digest(*parts):
    """The first 16 hex digits of the SHA-256 of `parts` (texts or bytes)."""
    h = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        h.update(b"%d:" % len(data) + data)
    return h.hexdigest()[:16]


@functools.lru_cache(maxsize=None)
def paths():
    """ROOT, SRC, DISTRO, LEAN, DEBUG and CACHE as a dict; sets up the tool root if it is missing."""
    for attempt in (1, 2):
        run = subprocess.run([SETUP, "paths"], capture_output=True, text=True, check=False)
        if run.returncode == 0:
            break
        if attempt == 2 or subprocess.run([SETUP, "root", "source"], check=False).returncode:
            raise VmError("the set-up failed: run scripts/setup")
    found = dict(line.split("=", 1) for line in run.stdout.split("\n") if "=" in line)
    found["CACHE"] = os.path.dirname(found["LEAN"])
    return found


def kernel_dir(flavour):
    """The build folder of a flavour of the project's kernel; builds it if it is missing."""
    where = paths()[flavour.upper()]
    if not os.path.exists(os.path.join(where, ".complete")):
        print(f"vm: the {flavour} kernel is not there yet: making it", file=sys.stderr)
        if subprocess.run([SETUP, flavour], stdout=sys.stderr, check=False).returncode:
            raise VmError(f"the {flavour} kernel could not be made: run scripts/setup {flavour}")
    return where


_building = threading.Lock()


def built_module(flavour):
    """The path of rust_iommu.ko for a flavour; builds it if there is none."""
    path = os.path.join(TOP, "build", flavour, "rust_iommu.ko")
    with _building:
        if not os.path.isfile(path):
            print(f"vm: rust_iommu.ko is not built yet for {flavour}: building it", file=sys.stderr)
            if subprocess.run([BUILD, flavour], stdout=sys.stderr, check=False).returncode:
                raise VmError(f"rust_iommu.ko could not be built: run scripts/build {flavour}")
    return path


def cache(*parts):
    """A path in the cache; its folder is made."""
    path = os.path.join(paths()["CACHE"], *parts)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


def _partial(path):
    """A name beside `path` that no other process or thread uses."""
    return f"{path}.{os.getpid()}.{threading.get_ident()}.partial"


def write_atomic(path, data):
    """Writes a cached file so that a cut-off run leaves no half of it."""
    partial = _partial(path)
    with open(partial, "wb") as f:
        f.write(data)
    os.replace(partial, path)


def in_root(argv):
    """The command line that runs `argv` inside the tool root (see in_root in common.sh)."""
    return ["bash", "-c", '. "$1"; shift; in_root "$@"', "vm", COMMON, *argv]


def in_root_env(binds=()):
    """The environment for in_root(), with the existing paths `binds` visible inside."""
    more = [os.path.abspath(b) for b in binds if b]
    env = dict(os.environ)
    env["IN_ROOT_BINDS"] = ":".join(filter(None, [env.get("IN_ROOT_BINDS", ""), *more]))
    return env


def in_root_output(argv, binds=()):
    """Runs `argv` in the tool root and returns its standard output."""
    run = subprocess.run(in_root(argv), env=in_root_env(binds), capture_output=True, text=True,
                         stdin=subprocess.DEVNULL, check=False)
    if run.returncode:
        last = (run.stderr.strip().split("\n") or ["no message"])[-1]
        raise VmError(f"'{shlex.join(argv)}' failed in the tool root: {last}")
    return run.stdout


def from_root(path):
    """The host's path of a file of the tool root; links are followed inside the root."""
    root = paths()["ROOT"]
    todo, done = path.strip("/").split("/"), ""
    for _ in range(400):
        if not todo:
            return os.path.join(root, done.lstrip("/"))
        part = todo.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            done = os.path.dirname(done)
            continue
        here = os.path.join(root, (done + "/" + part).lstrip("/"))
        if os.path.islink(here):
            target = os.readlink(here)
            done = "" if target.startswith("/") else done
            todo = target.strip("/").split("/") + todo
        else:
            done = done + "/" + part
    raise VmError(f"too many links in {path} of the tool root")


def read_input(path, what):
    """The bytes of a file the user named."""
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError as e:
        raise VmError(f"{what} {path}: {e.strerror.lower()}") from e


def build_static(source):
    """Compiles a C file with the tool root's gcc, statically; returns the program's path.

    The kernel's kselftest.h can be included, and headers beside the file.
    """
    folder, file = os.path.split(os.path.abspath(source))
    headers = sorted(f for f in os.listdir(folder) if f.endswith(".h")) if os.path.isdir(folder) else []
    text = [read_input(source, "C source"), *(read_input(os.path.join(folder, h), "header") for h in headers)]
    name = os.path.splitext(file)[0]
    out = cache("guest-bin", f"{name}-{digest(*text)}", name)
    if not os.path.exists(out):
        partial = _partial(out)
        kselftest = os.path.join(paths()["SRC"], "tools/testing/selftests")
        cc = ["gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-isystem", kselftest, "-o", partial, f"{folder}/{file}"]
        in_root_output(cc, [folder, kselftest])
        os.replace(partial, out)
    return out
