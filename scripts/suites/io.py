# SPDX-License-Identifier: GPL-2.0
"""Verified I/O on disks and network, with each of the two ways to serve a device's DMA."""

import hashlib
import os
import tempfile

DISKS = "KSFT_IOMMU_BLOCK='/dev/nvme0n1 /dev/sda /dev/sdb /dev/vda'\n"


def run(suite):
    """One boot for each `dma=`, and one in lazy mode; the C driver has only one way."""
    small = suite.options.quick or suite.options.flavour == "debug"
    data = os.urandom((4 if suite.options.quick else 64) << 20)
    wanted = hashlib.sha256(data).hexdigest()
    ways = [("rust", ""), ("core", "")] if suite.options.driver == "rust" else [("", "")]
    if not small and suite.options.driver == "rust":
        ways.append(("rust", "iommu.strict=0"))
    for dma, append in ways:
        with tempfile.TemporaryDirectory() as tmp:
            with open(f"{tmp}/serve", "wb") as f:
                f.write(data)
            r = suite.guest("io.sh", leaks=True, before=f"BIG={64 if small else 256}\nSUM={wanted}\n{DISKS}", programs=["fio"],
                            devices=["nvme", "ahci-disk", "usb-disk", "virtio-blk", "e1000e", "virtio-net"], timeout=300,
                            rust_params=f"dma={dma}" if dma else "", append=append, title=f"{dma} lazy" if append else "", serve=f"{tmp}/serve", sink=f"{tmp}/sink")
            got = b""
            if os.path.exists(f"{tmp}/sink"):
                with open(f"{tmp}/sink", "rb") as f:
                    got = f.read()
            reason = "" if got == data * 2 else f"{len(got)} bytes of {2 * len(data)}, or wrong ones"
            suite.result(f"io {dma}{' lazy' * bool(append)} uploads arrived intact", reason, r.log)
