# SPDX-License-Identifier: GPL-2.0
"""The command scripts/vm."""

import argparse
import os
import signal
import sys

from .config import DRIVERS, FLAVOURS
from .devices import KINDS, UNITS
from .errors import VmError
from .machine import Machine
from .shell import interact

EXAMPLES = """
devices (--device KIND[:KEY=VALUE,...]; keys id, bus, addr, for disks size, file, null=1, others go to QEMU):
%s

exit status: the script's; 2 wrong arguments, 124 time-out, 125 a module did not load or the machine
ended without a status, 126 the script succeeded but the kernel complained (BUG, WARNING, KASAN, ...)

examples:
  scripts/vm --driver none
      boots the lean kernel once with an AMD unit nobody drives, says hello, ends
  scripts/vm --unit amd-vi --driver c --device nvme --command 'dd if=/dev/nvme0n1 of=/dev/null bs=1M count=8'
      reads from an NVMe disk through the C driver
  scripts/vm --unit vt-d --device nvme --device e1000e --run test.sh
      loads rust_iommu.ko, then nvme and e1000e, and runs test.sh
  scripts/vm --driver c --device testdev --trace 'amdvi_*inval*:inval.txt' --command 'iommu_testdev -a 1b36:0005 0x1000 auto 64'
      fires an illegal DMA and records the invalidations the unit saw
  scripts/vm --driver c --shell --machine-args '-device pcie-root-port,id=a,chassis=50,addr=4 -device nvme,bus=a,serial=x,drive=d -blockdev null-co,node-name=d,size=1048576'
      a topology of your own, with a prompt

More in docs/vm.md.
""" % "\n".join(f"  {name:12}{kind.text}" for name, kind in KINDS.items())


class Parser(argparse.ArgumentParser):
    """One line for a wrong argument."""

    def error(self, message):
        sys.stderr.write(f"vm: error: {message} (scripts/vm --help)\n")
        sys.exit(2)


def parser():
    """The command's options; the destinations are the names in Config."""
    p = Parser(prog="scripts/vm", description="Boots a virtual machine with an IOMMU, runs a script in it, exits with the script's status.",
               epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    g = p.add_argument_group("machine")
    g.add_argument("--unit", choices=UNITS, help="the IOMMU (default amd-vi)")
    g.add_argument("--unit-args", metavar="PROPS", help="more properties of the unit, for instance xtsup=on or caching-mode=on")
    g.add_argument("--device", dest="devices", action="append", metavar="KIND", help="adds a device (see below); may be repeated")
    g.add_argument("--machine-args", metavar="'QEMU ARGS'", help="QEMU arguments for a topology of your own")
    g.add_argument("--mem", help="memory (default 1G)")
    g.add_argument("--smp", type=int, help="processors (default 2)")
    g.add_argument("--icount", action="store_true", help="one processor, one instruction = 1 ns: repeatable counts")
    g.add_argument("--acpi-table", dest="acpi_tables", action="append", metavar="SIG=FILE", help="replaces or adds an ACPI table")
    g = p.add_argument_group("kernel and modules")
    g.add_argument("--driver", choices=DRIVERS, help="who drives the unit (default rust)")
    g.add_argument("--flavour", choices=FLAVOURS, help="lean (default) and debug (all checkers, times x4) are the project's kernels, distro is Debian's own")
    g.add_argument("--kernel", metavar="PATH", help="another kernel: a build folder, or an installed one's image (/boot/vmlinuz-...)")
    g.add_argument("--ko", metavar="PATH", help="rust_iommu.ko (default build/FLAVOUR/rust_iommu.ko, made if there is none)")
    g.add_argument("--rust-params", metavar="'P=V ...'", help="parameters of rust_iommu.ko")
    g.add_argument("--late", action="store_true", help="load rust_iommu.ko after the clients instead of before")
    g.add_argument("--module", dest="modules", action="append", metavar="NAME[=PARAMS]", help="loads a module, or a .ko file, after the devices' own")
    g.add_argument("--no-load", dest="load", action="store_false", help="do not load the devices' modules; the script does")
    g.add_argument("--append", metavar="'ARGS'", help="more kernel arguments")
    g.add_argument("--nokaslr", action="store_true", help="the kernel at its linked address")
    g = p.add_argument_group("guest")
    g.add_argument("--run", metavar="SCRIPT", help="the shell script to run")
    g.add_argument("--command", dest="script", metavar="'COMMANDS'", help="the same, given here")
    g.add_argument("--shell", action="store_true", help="a prompt instead of a script")
    g.add_argument("--file", dest="files", action="append", metavar="HOST:GUEST", help="copies a file into the guest")
    g.add_argument("--with", dest="programs", action="append", metavar="PROGRAM", help="copies a program of the tool root and its libraries, for instance fio")
    g.add_argument("--tool", dest="tools", action="append", metavar="FILE.c", help="compiles a C file and puts it in the guest's PATH")
    g.add_argument("--serve", metavar="FILE", help="the guest's 'nc 10.0.2.100 80' reads this file (needs a network device)")
    g.add_argument("--sink", metavar="FILE", help="what the guest sends to 'nc 10.0.2.100 81' ends up in this file")
    g = p.add_argument_group("observation")
    g.add_argument("--timeout", type=float, metavar="SECONDS", help="for the whole boot (default 120, debug x4)")
    g.add_argument("--allow", action="append", metavar="REGEX", help="a kernel complaint that is no failure")
    g.add_argument("--trace", dest="traces", action="append", metavar="EVENTS:FILE", help="QEMU trace events into a file")
    g.add_argument("--qmp", dest="qmp_socket", metavar="SOCKET", help="a QMP socket for your own tools")
    g.add_argument("--log", metavar="FILE", help="where the full log goes, and stays")
    g.add_argument("--verbose", "-v", action="store_true", help="show the kernel's messages too")
    return p


def printer(verbose):
    """Shows the script's lines and, if wanted, the kernel's messages and QEMU's complaints."""
    def on_line(source, line):
        if source == "script":
            print(line, flush=True)
        elif verbose:
            print(line, file=sys.stderr, flush=True)
    return on_line


def report(machine, result):
    """Says why it failed, and where to read on."""
    for splat in result.splats:
        print("\n".join("| " + line for line in splat.split("\n")), file=sys.stderr)
    if result.ok:
        return
    if result.status in (124, 125) and not (result.splats or machine.console.status) and machine.console.lines:
        print("vm: last lines:", file=sys.stderr)
        for _, line in machine.console.lines[-12:]:
            print("| " + line, file=sys.stderr)
    print(f"vm: FAILED: {result.reason}; full log: {result.log}", file=sys.stderr)


def main(argv=None):
    """Runs the command and returns its exit status."""
    options = vars(parser().parse_args(argv))
    verbose = options.pop("verbose", False)
    shell = options.get("shell", False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        machine = Machine(on_line=None if shell else printer(verbose), **options)
        try:
            machine.start()
            if shell:
                interact(machine)
            result = machine.finish()
        finally:
            machine.kill()
    except VmError as e:
        print(f"vm: error: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("vm: interrupted", file=sys.stderr)
        return 130
    report(machine, result)
    if result.ok and os.environ.get("VM_VERBOSE"):
        print(f"vm: done in {result.seconds} s", file=sys.stderr)
    return result.status
