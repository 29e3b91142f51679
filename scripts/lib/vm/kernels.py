# SPDX-License-Identifier: GPL-2.0
"""Finds the image and the modules of a kernel: of a build folder, or of an installed one.

Accepted are a build folder (arch/x86/boot/bzImage, modules.order), an installed kernel's image
(/boot/vmlinuz-V, or any bzImage beside or below whose /lib/modules/V is) and a /lib/modules/V folder
with a vmlinuz, and the folder of `scripts/setup distro`, which has Debian's packages in debian/.
"""

import dataclasses
import glob
import os

from .errors import VmError
from .host import read_input

BZIMAGE = "arch/x86/boot/bzImage"


@dataclasses.dataclass(frozen=True)
class Kernel:
    """`build` is the build folder, or `tree` the /lib/modules/V of an installed kernel."""

    image: str
    release: str
    build: str = ""
    tree: str = ""


def image_release(image):
    """The release that an x86 boot image says it is (Documentation/arch/x86/boot.rst)."""
    data = read_input(image, "kernel")
    at = int.from_bytes(data[0x20E:0x210], "little")
    if data[0x202:0x206] != b"HdrS" or not at:
        raise VmError(f"{image} is no x86 boot image (bzImage, vmlinuz)")
    return data[at + 0x200:].split(b"\0", 1)[0].split(b" ", 1)[0].decode()


def _installed(image):
    """The kernel of a boot image, with its modules."""
    release, folder = image_release(image), os.path.dirname(os.path.abspath(image))
    top = os.path.dirname(folder)
    for tree in (folder, *(f"{t}/{lib}/modules/{release}" for t in (top, "") for lib in ("lib", "usr/lib"))):
        if os.path.isdir(f"{tree}/kernel"):
            return Kernel(os.path.abspath(image), release, tree=tree)
    raise VmError(f"{image} is kernel {release}, but there are no modules of it: neither beside it nor in /lib/modules/{release}")


def find(where):
    """The kernel that the user means with the path `where`."""
    where = os.path.realpath(where)
    if os.path.isfile(where):
        build = where.removesuffix("/" + BZIMAGE)
        if build == where or not os.path.exists(f"{build}/modules.order"):
            return _installed(where)
        where = build
    image = f"{where}/{BZIMAGE}"
    if os.path.exists(image):
        release = read_input(f"{where}/include/config/kernel.release", "kernel release").decode().strip()
        return Kernel(image, release, build=where)
    for pattern in ("vmlinuz", "debian/usr/lib/modules/*/vmlinuz", "debian/boot/vmlinuz-*"):
        if found := glob.glob(f"{glob.escape(where)}/{pattern}"):
            return _installed(found[0])
    raise VmError(f"{where} has no {BZIMAGE}: give the build folder of an x86-64 kernel, or an installed one's image (/boot/vmlinuz-...)")
