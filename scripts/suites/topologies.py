# SPDX-License-Identifier: GPL-2.0
"""Topologies and their groups, without the machine's own functions 00:00, 00:02 and 00:1f."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Topology:
    """`groups` are ours; `c` are the C driver's where they differ (docs/groups.md says why)."""

    name: str
    args: str
    groups: str
    c: str = None
    append: str = ""
    before: str = ""
    modules: tuple = ()
    params: str = ""


def port(name, slot, chassis, more="", kind="pcie-root-port", bus="pcie.0"):
    """A root port."""
    return f"-device {kind},id={name},bus={bus},addr={slot},chassis={chassis}{more} "


def nic(bus, more=""):
    """A network card without a network."""
    return f"-device e1000e,bus={bus}{more} "


def disk(bus, name, more=""):
    """An empty NVMe disk."""
    return (f"-blockdev null-co,node-name={name},size=67108864,read-zeroes=on "
            f"-device nvme,bus={bus},serial={name},drive={name}{more} ")


def old(bus, slot):
    """A conventional card."""
    return f"-device e1000,bus={bus},addr={slot} "


def switch(name, bus, ports, chassis=60):
    """A switch with `ports` downstream ports NAME0, NAME1, ..."""
    return f"-device x3130-upstream,id={name},bus={bus} " + "".join(
        f"-device xio3130-downstream,id={name}{i},bus={name},chassis={chassis + i},slot={i} " for i in range(ports))


MULTI = ",multifunction=on"
USB = "".join(f"-device ich9-usb-{kind},addr=1d.{func},bus=pcie.0{MULTI if func == 0 else ''} "
              for kind, func in [("uhci1", 0), ("uhci2", 1), ("uhci3", 2), ("ehci1", 7)])

TOPOLOGIES = [
    Topology("root ports", port("a", 4, 1) + port("b", 5, 2) + nic("a") + nic("b"),
             "00:04.0 | 00:05.0 | 01:00.0 | 02:00.0"),
    Topology("root ports of one slot", port("a", "4.0", 1, MULTI) + port("b", "4.1", 2) + nic("a") + nic("b"),
             "00:04.0 | 00:04.1 | 01:00.0 | 02:00.0"),
    Topology("root ports of one slot, ACS off", port("a", "4.0", 1, MULTI) + port("b", "4.1", 2) + nic("a") + nic("b"),
             "00:04.0 00:04.1 01:00.0 02:00.0", append="pci=disable_acs_redir=pci:1b36:000c", params="acs=keep"),
    Topology("root port without ACS", port("a", 4, 1, kind="ioh3420") + nic("a"),
             "00:04.0 01:00.0"),
    Topology("root ports without ACS in different slots",
             port("a", 4, 1, kind="ioh3420") + port("b", 5, 2, kind="ioh3420") + nic("a") + nic("b"),
             "00:04.0 01:00.0 | 00:05.0 02:00.0"),
    Topology("root ports with and without ACS in one slot",
             port("a", "4.0", 1, MULTI) + port("b", "4.1", 2, kind="ioh3420") + nic("a") + nic("b"),
             "00:04.0 00:04.1 01:00.0 02:00.0", c="00:04.0 | 01:00.0 | 00:04.1 02:00.0"),
    Topology("switch with two ports", port("a", 4, 1) + switch("s", "a", 2) + nic("s0") + nic("s1"),
             "00:04.0 | 01:00.0 02:00.0 02:01.0 03:00.0 04:00.0", c="00:04.0 | 01:00.0 | 02:00.0 03:00.0 | 02:01.0 04:00.0"),
    Topology("switch with four ports", port("a", 4, 1) + switch("s", "a", 4) + nic("s0") + nic("s3"),
             "00:04.0 | 01:00.0 02:00.0 02:01.0 02:02.0 02:03.0 03:00.0 06:00.0",
             c="00:04.0 | 01:00.0 | 02:00.0 03:00.0 | 02:01.0 | 02:02.0 | 02:03.0 06:00.0"),
    Topology("switch below a switch", port("a", 4, 1) + switch("s", "a", 2) + switch("t", "s0", 2, 70) + nic("t0") + nic("t1") + nic("s1"),
             "00:04.0 | 01:00.0 02:00.0 02:01.0 03:00.0 04:00.0 04:01.0 05:00.0 06:00.0 07:00.0",
             c="00:04.0 | 01:00.0 | 02:00.0 03:00.0 04:00.0 04:01.0 05:00.0 06:00.0 | 02:01.0 07:00.0"),
    Topology("switch below a root port without ACS", port("a", 4, 1, kind="ioh3420") + switch("s", "a", 2) + nic("s0") + nic("s1"),
             "00:04.0 01:00.0 02:00.0 02:01.0 03:00.0 04:00.0"),
    Topology("functions without ACS", port("a", 4, 1) + nic("a", ",addr=0.0" + MULTI) + nic("a", ",addr=0.1"),
             "00:04.0 | 01:00.0 01:00.1"),
    Topology("functions on the root bus", nic("pcie.0", ",addr=8.0" + MULTI) + nic("pcie.0", ",addr=8.1") + nic("pcie.0", ",addr=9"),
             "00:08.0 | 00:08.1 | 00:09.0"),  # Intel: integrated endpoints send to peers by translated address only
    Topology("functions on the root bus without such a promise",
             disk("pcie.0", "d", ",addr=8.0" + MULTI) + disk("pcie.0", "e", ",addr=8.1"),
             "00:08.0 00:08.1"),
    Topology("single functions on the root bus", nic("pcie.0", ",addr=8") + old("pcie.0", 9) + "-device edu,addr=a ",
             "00:08.0 | 00:09.0 | 00:0a.0"),
    Topology("PCI bridge with two cards", "-device pcie-pci-bridge,id=p,bus=pcie.0,addr=5 " + old("p", 1) + old("p", 2),
             "00:05.0 01:01.0 01:02.0"),
    Topology("PCI bridge with a bridge below",
             "-device pcie-pci-bridge,id=p,bus=pcie.0,addr=5 -device pci-bridge,id=q,bus=p,addr=3,chassis_nr=9 " + old("p", 1) + old("q", 1),
             "00:05.0 01:01.0 01:03.0 02:01.0"),
    Topology("PCI bridge below a root port", port("a", 4, 1) + "-device pcie-pci-bridge,id=p,bus=a " + old("p", 1) + old("p", 2),
             "00:04.0 | 01:00.0 02:01.0 02:02.0"),
    Topology("DMI bridge", "-device i82801b11-bridge,id=p,bus=pcie.0,addr=5 " + old("p", 1) + old("p", 2),
             "00:05.0 01:01.0 01:02.0"),
    Topology("DMI bridge below a root port", port("a", 4, 1) + "-device i82801b11-bridge,id=p,bus=a " + old("p", 1),
             "00:04.0 | 01:00.0 02:01.0"),
    Topology("conventional bridge", "-device pci-bridge,id=p,bus=pcie.0,addr=5,chassis_nr=9 " + old("p", 1) + old("pcie.0", 6),
             "00:05.0 01:01.0 | 00:06.0"),
    Topology("second root bus", "-device pxb-pcie,id=x,bus=pcie.0,addr=9,bus_nr=64 " + port("a", 0, 1, bus="x") + nic("a"),
             "00:09.0 | 40:00.0 | 41:00.0"),
    Topology("USB companions", USB, "00:1d.0 00:1d.1 00:1d.2 00:1d.7"),
    Topology("switch whose ports the owner asserts to isolate", port("a", 4, 1) + switch("s", "a", 2) + nic("s0") + nic("s1"),
             "00:04.0 | 01:00.0 | 02:00.0 | 02:01.0 | 03:00.0 | 04:00.0", params="isolate=104c:8233",
             c="00:04.0 | 01:00.0 | 02:00.0 03:00.0 | 02:01.0 04:00.0"),
    Topology("one of two functions asserted, which does not help", port("a", 4, 1) + nic("a", ",addr=0.0" + MULTI) + nic("a", ",addr=0.1"),
             "00:04.0 | 01:00.0 01:00.1", params="isolate=01:00.1"),
    Topology("hardened: a table of device IDs is no isolation", nic("pcie.0", ",addr=8.0" + MULTI) + nic("pcie.0", ",addr=8.1"),
             "00:08.0 00:08.1", params="isolation=hardened", c="00:08.0 | 00:08.1"),
    Topology("virtual functions", port("a", 4, 1) + "-device igb,bus=a ",
             "00:04.0 | 01:00.0 | 01:10.0 | 01:10.2", modules=("igb",),
             before="echo 2 >/sys/bus/pci/devices/0000:01:00.0/sriov_numvfs; sleep 1"),
]
