# SPDX-License-Identifier: GPL-2.0
"""Builds the guest's initramfs from three archives, one after the other.

1. ACPI tables, uncompressed, if any: the kernel looks for them at the very beginning.
2. busybox, programs and modules, compressed and cached: the same for most boots.
3. /init, the guest library, the script and the user's files, uncompressed: different each time.
"""

import gzip
import os
import stat

from .cpio import Cpio
from .errors import VmError
from .host import LIB, cache, digest, from_root, in_root_output, read_input, write_atomic

# Where the search for programs of the tool root begins.
PATH = "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin"


def acpi_archive(tables):
    """The archive that replaces ACPI tables; `tables` is a list of (signature, bytes).

    The kernel takes a table only with a right checksum and a higher OEM revision than the
    firmware's (drivers/acpi/tables.c); that is left to whoever made it.
    """
    if not tables:
        return b""
    out = Cpio()
    for i, (signature, data) in enumerate(tables):
        if len(signature) != 4 or data[:4] != signature.encode():
            raise VmError(f"ACPI table {i + 1} begins with {data[:4]!r}, not with '{signature}'")
        if len(data) < 36:
            raise VmError(f"ACPI table {signature} has {len(data)} bytes, less than its header")
        name = f"kernel/firmware/acpi/{signature}"
        out.file(f"{name}-{i}.aml" if out.has(f"{name}.aml") else f"{name}.aml", data)
    return out.bytes()


def _program_files(program):
    """Guest path and host path of a program of the tool root and of its libraries."""
    script = f'PATH={PATH}; p=$(command -v "$1") && echo "$p" && {{ ldd "$p" 2>/dev/null || :; }}'
    try:
        lines = in_root_output(["sh", "-c", script, "sh", program]).splitlines()
    except VmError as e:
        raise VmError(f"the tool root has no program '{program}'") from e
    yield "bin/" + os.path.basename(program), from_root(lines[0])
    for line in lines[1:]:
        words = [w for w in line.split() if w.startswith("/")]
        if words:
            yield words[0].strip("/"), from_root(words[0])


def _base(modules, programs):
    busybox = from_root("/bin/busybox")
    key = digest(modules.stamp(), os.stat(busybox).st_size, *sorted(programs), *(read_input(os.path.join(os.path.dirname(__file__), f), "module") for f in ("initramfs.py", "modules.py", "cpio.py")))
    path = cache("initramfs", f"{key}.cpio.gz")
    if os.path.exists(path):
        return path
    out = Cpio()
    out.file("bin/busybox", read_input(busybox, "busybox"), executable=True)
    for program in programs:
        for guest, host in _program_files(program):
            if not out.has(guest):
                out.file(guest, read_input(host, "library"), executable=True)
    for applet in in_root_output(["busybox", "--list"]).split():
        if not out.has(f"bin/{applet}"):
            out.symlink(f"bin/{applet}", "busybox")
    out.symlink("sbin", "bin")
    for directory in ("proc", "sys", "dev", "tmp", "root", "mnt"):
        out.directory(directory)
    out.char_device("dev/console", 5, 1)
    for guest, data in modules.files().items():
        out.file(guest, data)
    data = gzip.compress(out.bytes(), 1, mtime=0)
    write_atomic(path, data + bytes(-len(data) % 4))
    return path


def _own(script, loads, files, env):
    out = Cpio()
    out.file("init", read_input(os.path.join(LIB, "guest-init.sh"), "guest init"), executable=True)
    out.file("lib/vm.sh", read_input(os.path.join(LIB, "guest.sh"), "guest library"))
    out.file("etc/vm-load", "".join(f"{line}\n" for line in loads).encode())
    out.file("etc/vm-env", "".join(f"{k}='{v}'\n" for k, v in env.items()).encode())
    out.file("run.sh", script.encode(), executable=True)
    for host, guest in files:
        try:
            mode = os.stat(host).st_mode
        except OSError as e:
            raise VmError(f"--file {host}: {e.strerror.lower()}") from e
        if stat.S_ISDIR(mode):
            raise VmError(f"--file {host}: is a directory")
        try:
            out.file(guest, read_input(host, "file"), executable=bool(mode & 0o111))
        except ValueError as e:
            raise VmError(f"--file {host}:{guest}: {e}") from e
    return out.bytes()


def build(target, *, modules, programs=(), script="", loads=(), files=(), env=None, acpi=()):
    """Writes the initramfs to the path `target`."""
    head, own = acpi_archive(acpi), _own(script, loads, files, env or {})
    with open(target, "wb") as f:
        f.write(head + read_input(_base(modules, list(programs)), "initramfs") + own)
