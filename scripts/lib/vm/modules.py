# SPDX-License-Identifier: GPL-2.0
"""The modules that go into a guest: those of a kernel, and some built outside of it.

Of a build folder all go in, of a distribution's thousands only the wanted ones and what they need.
They are staged uncompressed, and the tool root's depmod makes the lists that modprobe reads.
"""

import os
import re
import shutil
import tempfile

from .devices import KINDS
from .errors import VmError
from .host import in_root_output, read_input

# Always there, so that scripts can load them and most boots share one archive.
USUAL = sorted({m for kind in KINDS.values() for m in kind.modules} | {"vfio-pci", "vfio_iommu_type1"})
PACKED = re.compile(r"\.ko(\.(xz|zst|gz))?$")
# Runs in the stage's lib/modules/RELEASE.
LISTS = """
for f in *.xz *.zst *.gz; do
	case $f in \\**) ;; *.xz) xz -d "$f" ;; *.zst) zstd -q -d --rm "$f" ;; *.gz) gzip -d "$f" ;; esac || exit
done
depmod -b "$1" "$2" 2>"$1/depmod.log" || { cat "$1/depmod.log" >&2; exit 1; }
"""


def canonical(name):
    """A module's name as the kernel spells it."""
    return PACKED.sub("", os.path.basename(name)).replace("-", "_")


def modinfo(data, key):
    """The values of `key` in a module's .modinfo section."""
    return [m.decode() for m in re.findall(rb"\0" + key.encode() + rb"=([^\0]*)(?=\0)", data)]


def _lines(path):
    return read_input(path, "module list").decode().split("\n")[:-1] if os.path.exists(path) else []


class Modules:
    """The modules of one kernel, and modules built outside of it."""

    def __init__(self, kernel):
        self.kernel, self.release = kernel, kernel.release
        folder = kernel.build or kernel.tree
        self.paths, self.needs, self.own = {}, {}, {}
        if kernel.build:
            for line in _lines(f"{folder}/modules.order"):
                self.paths[canonical(re.sub(r"\.o$", ".ko", line))] = os.path.join(folder, re.sub(r"\.k?o$", ".ko", line))
        else:
            if not os.path.exists(f"{folder}/modules.dep"):
                raise VmError(f"{folder} has no modules.dep: run depmod {kernel.release}")
            for line in _lines(f"{folder}/modules.dep"):
                path, _, needs = line.partition(":")
                self.paths[canonical(path)] = os.path.join(folder, path)
                self.needs[canonical(path)] = [canonical(n) for n in needs.split()]
        self.builtin = {canonical(line) for line in _lines(f"{folder}/modules.builtin")}
        self.wanted = set(self.paths) if kernel.build else set()
        for name in USUAL:
            self.want(name)

    def want(self, name):
        """Takes a module and what it needs along, if this kernel has it as a module."""
        if canonical(name) in self.paths:
            self.wanted |= {canonical(name), *self.needs.get(canonical(name), [])}

    def add(self, path):
        """Adds a module built elsewhere and returns its name."""
        if not os.path.isfile(path):
            raise VmError(f"no module at {path}")
        magic = modinfo(read_input(path, "module"), "vermagic")
        if magic and magic[0].split()[0] != self.release:
            raise VmError(f"{path} is built for kernel {magic[0].split()[0]}, and this one is {self.release}: build it with 'make KDIR=...', give it with --ko")
        self.own[canonical(path)] = os.path.abspath(path)
        return canonical(path)

    def check(self, name):
        """Refuses a name that this kernel does not have; wants the others."""
        known = self.paths.keys() | self.own.keys()
        if canonical(name) not in known | self.builtin:
            there = f" (it has: {', '.join(sorted(known))})" if len(known) < 100 else ""
            raise VmError(f"kernel {self.release} has no module '{name}'{there}")
        self.want(name)

    def _chosen(self):
        """Name and path of each module that goes in; one of ours takes the place of the kernel's."""
        return sorted(({n: self.paths[n] for n in self.wanted if os.path.exists(self.paths[n])} | self.own).items())

    def files(self):
        """Maps guest path to bytes: the modules and what depmod says of them."""
        with tempfile.TemporaryDirectory(prefix="rust-iommu-modules.", dir="/tmp") as stage:
            folder = f"{stage}/lib/modules/{self.release}"
            os.makedirs(folder)
            for name, path in self._chosen():
                shutil.copyfile(path, folder + "/" + name + PACKED.search(path)[0])
            for name in ("modules.builtin", "modules.builtin.modinfo"):
                source = os.path.join(self.kernel.build or self.kernel.tree, name)
                if os.path.exists(source):
                    shutil.copyfile(source, f"{folder}/{name}")
            in_root_output(["sh", "-c", f"cd \"$1/lib/modules/$2\" && {{ {LISTS} }}", "sh", stage, self.release])
            return {f"lib/modules/{self.release}/{name}": read_input(f"{folder}/{name}", "module")
                    for name in sorted(os.listdir(folder)) if name.endswith(".ko") or name in ("modules.dep", "modules.alias", "modules.builtin")}

    def stamp(self):
        """Changes when any of the modules does; for cache keys."""
        stats = ((n, os.stat(p)) for n, p in self._chosen())
        return repr([self.release] + [(n, s.st_size, s.st_mtime_ns) for n, s in stats])
