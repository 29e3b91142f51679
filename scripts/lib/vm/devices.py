# SPDX-License-Identifier: GPL-2.0
"""QEMU arguments for the IOMMU and for device shorthands.

A shorthand is KIND[:KEY=VALUE[,KEY=VALUE]...]. The keys size, file, null, bus and addr are ours;
all others go to the QEMU device as they are. PCIe devices get a root port of their own, in slots
0x10 to 0x1e of bus 0; slots 3 to 0xf are free for --machine-args.
"""

import dataclasses
import re
import shlex

from .errors import VmError
from .host import TOP

UNITS = ("amd-vi", "vt-d", "none")
VIRTIO = "iommu_platform=on,disable-legacy=on"
FIRST_SLOT, LAST_SLOT = 0x10, 0x1E


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a shorthand stands for: QEMU device, needs (disk, net), bus and client modules."""

    device: str
    modules: tuple = ()
    disk: bool = False
    net: bool = False
    bus: str = "port"
    more: str = ""
    tools: tuple = ()
    text: str = ""


KINDS = {
    "nvme": Kind("nvme", ("nvme",), disk=True, more="serial={id}", text="NVMe disk behind a root port"),
    "ahci-disk": Kind("ide-hd", ("ahci", "sd_mod"), disk=True, bus="ide", text="SATA disk at the machine's AHCI, 00:1f.2"),
    "usb-disk": Kind("usb-storage", ("xhci-pci", "usb-storage", "sd_mod"), disk=True, bus="usb",
                     text="USB disk at an xHCI controller behind a root port"),
    "virtio-blk": Kind("virtio-blk-pci", ("virtio_pci", "virtio_blk"), disk=True, more=VIRTIO, text="virtio disk behind a root port"),
    "virtio-net": Kind("virtio-net-pci", ("virtio_pci", "virtio_net"), net=True, more=VIRTIO, text="virtio network behind a root port"),
    "e1000e": Kind("e1000e", ("e1000e",), net=True, text="PCIe gigabit network behind a root port"),
    "igb": Kind("igb", ("igb",), net=True, text="gigabit network with 8 virtual functions behind a root port"),
    "e1000": Kind("e1000", ("e1000",), net=True, bus="root", text="conventional PCI network on bus 0, 32-bit DMA"),
    "xhci": Kind("qemu-xhci", ("xhci-pci",), text="USB 3 controller behind a root port"),
    "edu": Kind("edu", bus="root", more="dma_mask=0xffffffffffffffff", text="QEMU's teaching device on bus 0: DMA read and write"),
    "testdev": Kind("iommu-testdev", bus="root", tools=("tools/testing/selftests/iommu/iommu_testdev.c",),
                    text="DMA to any address on bus 0; comes with the guest program iommu_testdev"),
    "port": Kind("pcie-root-port", bus="none", text="empty root port, for hot-plug"),
}


def size_bytes(text):
    """'512M' as a number of bytes."""
    found = re.fullmatch(r"(\d+)([KMGT]?)", text, re.I)
    if not found or not int(found[1]):
        raise VmError(f"size '{text}': give a number with K, M, G or T")
    return int(found[1]) << {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[found[2].upper()]


def unit_args(unit, extra=""):
    """The arguments that make the IOMMU; they come before any other device."""
    if unit not in UNITS:
        raise VmError(f"--unit '{unit}': one of {', '.join(UNITS)}")
    more = "," + extra if extra else ""
    if "dma-remap" in extra:
        raise VmError("--unit-args must not contain dma-remap: it is always on, without it QEMU translates nothing")
    if unit == "amd-vi":
        return ["-device", "AMDVI-PCI,id=iommu0,addr=2", "-device", f"amd-iommu,pci-id=iommu0,dma-remap=on{more}"]
    if unit == "vt-d":
        return ["-device", f"intel-iommu{more}"]
    if extra:
        raise VmError("--unit-args without a unit")
    return []


def machine_args(text):
    """Splits the user's QEMU arguments; refuses a unit of their own."""
    try:
        words = shlex.split(text)
    except ValueError as e:
        raise VmError(f"--machine-args: {e}") from e
    for word in words:
        if re.search(r"amd-iommu|intel-iommu|AMDVI-PCI|dma-remap=off", word):
            raise VmError(f"--machine-args contains '{word}': the unit comes from --unit and --unit-args, so that it translates and comes first")
    return words


class Devices:
    """Collects the QEMU arguments and the needs of a list of shorthands."""

    def __init__(self, tmp, serve=False, sink=False):
        self._tmp, self._serve, self._sink = tmp, serve, sink
        self._count, self._slot, self._chassis, self._ide = {}, FIRST_SLOT, 1, 0
        self.args, self.modules, self.tools, self.binds, self.disks = [], [], [], [], []
        self.nets = 0

    def _next_slot(self):
        if self._slot > LAST_SLOT:
            raise VmError("too many --device: bus 0 has no slot left; use --machine-args for a topology with switches")
        self._slot += 1
        return self._slot - 1

    def _port(self, name):
        slot = self._next_slot()
        self.args += ["-device", f"pcie-root-port,id={name},bus=pcie.0,chassis={self._chassis},addr={slot:#x}"]
        self._chassis += 1
        return name

    def _drive(self, name, options):
        size, path, null = options.pop("size", "256M"), options.pop("file", None), options.pop("null", None)
        if null and path:
            raise VmError(f"{name}: null and file exclude each other")
        if null:
            blockdev = f"null-co,node-name={name}-drive,size={size_bytes(size)},read-zeroes=on"
        else:
            if path:
                self.binds.append(path)
            else:
                path = f"{self._tmp}/{name}.raw"
                self.disks.append((path, size_bytes(size)))
            blockdev = f"raw,node-name={name}-drive,file.driver=file,file.filename={path.replace(',', ',,')}"
        self.args += ["-blockdev", blockdev]
        return f"{name}-drive"

    def _netdev(self, name):
        netdev = f"user,id={name}-net,restrict=on"
        if self._serve:
            netdev += f",guestfwd=tcp:10.0.2.100:80-cmd:cat {self._tmp}/serve"
        if self._sink:
            netdev += f",guestfwd=tcp:10.0.2.100:81-cmd:sh {self._tmp}/sink.sh"
        self.nets += 1
        self.args += ["-netdev", netdev]
        return f"{name}-net"

    def add(self, text):
        """Adds one shorthand; returns the QEMU id of the device."""
        kind_name, _, rest = text.partition(":")
        kind = KINDS.get(kind_name)
        if not kind:
            raise VmError(f"--device '{kind_name}': one of {', '.join(KINDS)}, or use --machine-args")
        options = {}
        for part in filter(None, rest.split(",")):
            key, equals, value = part.partition("=")
            if not equals:
                raise VmError(f"--device {text}: '{part}' is not KEY=VALUE")
            options[key] = value
        number = self._count.get(kind_name, 0)
        self._count[kind_name] = number + 1
        name = options.pop("id", f"{kind_name}{number}")
        props = [kind.device, f"id={name}"]
        if not kind.disk and {"size", "file", "null"} & options.keys():
            raise VmError(f"--device {text}: size, file and null are for disks")
        if kind.disk:
            props.append(f"drive={self._drive(name, options)}")
        if kind.net:
            props.append(f"netdev={self._netdev(name)}")
        bus = options.pop("bus", None)
        if kind.bus == "none":
            self._port(name)
            return name
        if bus:
            props.append(f"bus={bus}")
        elif kind.bus == "port":
            props.append(f"bus={self._port(f'rp-{name}')}")
        elif kind.bus == "ide":
            if self._ide > 5:
                raise VmError("--device ahci-disk: the machine's AHCI has six ports")
            props.append(f"bus=ide.{self._ide}")
            self._ide += 1
        elif kind.bus == "usb":
            self.args += ["-device", f"qemu-xhci,id=xhci-{name},bus={self._port(f'rp-{name}')}"]
            props.append(f"bus=xhci-{name}.0")
        elif kind.bus == "root":
            props.append(f"bus=pcie.0,addr={options.pop('addr', hex(self._next_slot()))}")
        more = kind.more.format(id=name)
        props += [m for m in filter(None, more.split(",")) if m.split("=")[0] not in options]
        props += [f"{k}={v}" for k, v in options.items()]
        self.args += ["-device", ",".join(props)]
        self.modules += [m for m in kind.modules if m not in self.modules]
        self.tools += [f"{TOP}/{t}" for t in kind.tools if f"{TOP}/{t}" not in self.tools]
        return name
