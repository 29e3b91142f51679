# SPDX-License-Identifier: GPL-2.0
"""Finds a kernel's modules, and what each depends on, in its build folder.

Reads modules.order and the "depends=" and "alias=" strings of the modules themselves, so neither
modules_install nor depmod is needed.
"""

import os
import re

from .errors import VmError
from .host import read_input


def canonical(name):
    """A module's name as the kernel spells it."""
    return os.path.basename(name).removesuffix(".ko").replace("-", "_")


def modinfo(data, key):
    """The values of `key` in a module's .modinfo section."""
    return [m.decode() for m in re.findall(rb"\0" + key.encode() + rb"=([^\0]*)(?=\0)", data)]


class Modules:
    """The modules of one kernel build folder, and modules built outside of it."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.release = read_input(os.path.join(kernel, "include/config/kernel.release"), "kernel release").decode().strip()
        self.paths = {}
        for line in read_input(os.path.join(kernel, "modules.order"), "module list").decode().split():
            path = os.path.join(kernel, re.sub(r"\.k?o$", ".ko", line))
            self.paths[canonical(path)] = path
        builtin = os.path.join(kernel, "modules.builtin")
        lines = read_input(builtin, "module list").decode().split() if os.path.exists(builtin) else []
        self.builtin = {canonical(line) for line in lines}

    def add(self, path):
        """Adds a module built elsewhere and returns its name."""
        if not os.path.isfile(path):
            raise VmError(f"no module at {path}")
        self.paths[canonical(path)] = os.path.abspath(path)
        return canonical(path)

    def check(self, name):
        """Refuses a name that this kernel does not have."""
        if canonical(name) not in self.paths and canonical(name) not in self.builtin:
            raise VmError(f"kernel {self.kernel} has no module '{name}' (it has: {', '.join(sorted(self.paths))})")

    def files(self):
        """Maps guest path to bytes: every module, modules.dep and modules.alias for modprobe."""
        base, out, deps, alias = f"lib/modules/{self.release}", {}, [], []
        data = {name: read_input(path, "module") for name, path in self.paths.items()}
        direct = {n: [canonical(d) for v in modinfo(b, "depends") for d in v.split(",") if d] for n, b in data.items()}

        def closure(name, seen):
            """Appends what `name` needs, what is to be loaded first coming first."""
            for dep in direct.get(name, ()):
                if dep in data and dep not in seen:
                    closure(dep, seen)
                    seen.append(dep)
            return seen

        for name, content in data.items():
            out[f"{base}/{name}.ko"] = content
            # modprobe loads the last one of the line first.
            deps.append(f"{name}.ko: " + " ".join(f"{d}.ko" for d in reversed(closure(name, []))))
            alias += [f"alias {a} {name}" for a in modinfo(content, "alias")]
        out[f"{base}/modules.dep"] = ("\n".join(deps) + "\n").encode()
        out[f"{base}/modules.alias"] = ("\n".join(alias) + "\n").encode()
        return out

    def stamp(self):
        """Changes when any of the modules does; for cache keys."""
        stats = ((n, os.stat(p)) for n, p in sorted(self.paths.items()) if os.path.exists(p))
        return repr([self.release] + [(n, s.st_size, s.st_mtime_ns) for n, s in stats])
