# SPDX-License-Identifier: GPL-2.0
"""Everything that can be said about a machine, checked before anything is started."""

import dataclasses
import os
import re

from . import kernels
from .devices import UNITS, machine_args
from .errors import VmError
from .host import TOP, built_module, kernel_dir

DRIVERS = ("rust", "c", "none")
FLAVOURS = ("lean", "debug", "distro")
# How much slower than the lean kernel these are under emulation.
SCALE = {"lean": 1, "debug": 4, "distro": 2}


@dataclasses.dataclass
class Config:
    """The arguments of Machine(); the command's options have the same names with dashes."""

    unit: str = "amd-vi"
    driver: str = "rust"
    flavour: str = "lean"
    kernel: str = ""
    ko: str = ""
    unit_args: str = ""
    machine_args: str = ""
    devices: list = dataclasses.field(default_factory=list)
    append: str = ""
    files: list = dataclasses.field(default_factory=list)
    modules: list = dataclasses.field(default_factory=list)
    rust_params: str = ""
    load: bool = True
    late: bool = False
    mem: str = "1G"
    smp: int = 2
    icount: bool = False
    nokaslr: bool = False
    programs: list = dataclasses.field(default_factory=list)
    tools: list = dataclasses.field(default_factory=list)
    acpi_tables: list = dataclasses.field(default_factory=list)
    traces: list = dataclasses.field(default_factory=list)
    qmp_socket: str = ""
    serve: str = ""
    sink: str = ""
    run: str = ""
    script: str = ""
    shell: bool = False
    timeout: float = 120
    allow: list = dataclasses.field(default_factory=list)
    log: str = ""

    def check(self):
        """Refuses what cannot work, each with one line."""
        for name, value, allowed in (("unit", self.unit, UNITS), ("driver", self.driver, DRIVERS), ("flavour", self.flavour, FLAVOURS)):
            if value not in allowed:
                raise VmError(f"--{name} '{value}': one of {', '.join(allowed)}")
        if bool(self.run) + bool(self.script) + bool(self.shell) > 1:
            raise VmError("--run, --command and --shell exclude each other")
        if self.run and not os.path.isfile(self.run):
            raise VmError(f"--run {self.run}: no such file")
        if self.serve and not os.path.isfile(self.serve):
            raise VmError(f"--serve {self.serve}: no such file")
        if self.sink and not os.path.isdir(os.path.dirname(os.path.abspath(self.sink))):
            raise VmError(f"--sink {self.sink}: its folder does not exist")
        if not re.fullmatch(r"\d+[MG]", self.mem):
            raise VmError(f"--mem '{self.mem}': a number with M or G, for instance 1G")
        if not 1 <= self.smp <= 8:
            raise VmError(f"--smp {self.smp}: from 1 to 8")
        if self.timeout <= 0:
            raise VmError("--timeout: more than 0 seconds")
        if self.driver != "rust" and (self.ko or self.rust_params or self.late):
            raise VmError("--ko, --rust-params and --late need --driver rust")
        for pattern in self.allow:
            try:
                re.compile(pattern)
            except re.error as e:
                raise VmError(f"--allow '{pattern}': {e}") from e
        machine_args(self.machine_args)

    def find_kernel(self):
        """The kernel to boot: its image and its modules."""
        return kernels.find(self.kernel or kernel_dir(self.flavour))

    def rust_module(self):
        """The path of rust_iommu.ko; the flavour's own is built if it is missing."""
        if self.ko and not os.path.isfile(self.ko):
            raise VmError(f"--ko {self.ko}: no such file")
        if self.kernel and not self.ko and not os.path.isfile(os.path.join(TOP, "build", self.flavour, "rust_iommu.ko")):
            raise VmError("--kernel needs --ko, a rust_iommu.ko built against it with 'make KDIR=...', or --driver c or none")
        return self.ko or built_module(self.flavour)

    def command_line(self):
        """The kernel's command line."""
        # no_timer_check: under load TCG is too slow for what the kernel wants to see of the timer.
        words = ["console=ttyS0", "panic=-1", "oops=panic", "loglevel=7", "no_timer_check"]
        if self.driver == "c":
            words += ["intel_iommu=on"] if self.unit == "vt-d" else []
        else:
            # intel_iommu=off alone leaves the C driver's interrupt remapping on, and with it its
            # invalidation queue: the unit would not be free.
            words += ["amd_iommu=off", "intel_iommu=off", "intremap=off"]
        if self.nokaslr or self.icount:
            words.append("nokaslr")
        if self.icount:
            words.append("norandmaps")
        return " ".join(words + [self.append]).strip()

    def scale(self):
        """The factor for every time of waiting."""
        return SCALE[self.flavour] * (2 if self.icount else 1)
