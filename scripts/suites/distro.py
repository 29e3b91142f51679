# SPDX-License-Identifier: GPL-2.0
"""Debian's released kernel: load, refusal, verified I/O with its own drivers, lockdown, release."""

import hashlib
import os
import tempfile

DEVICES = ["nvme", "ahci-disk", "usb-disk", "virtio-blk", "e1000e", "virtio-net"]


def run(suite):
    """I/O in one boot, release under lockdown in another, and the refusal beside the C driver."""
    if suite.options.flavour != "distro" or suite.options.driver != "rust":
        suite.skip("all", "needs the distro flavour and our driver")
        return
    data = os.urandom(4 << 20)
    with tempfile.TemporaryDirectory() as tmp:
        with open(f"{tmp}/serve", "wb") as f:
            f.write(data)
        r = suite.guest("io.sh", before=f"BIG=64\nSUM={hashlib.sha256(data).hexdigest()}\n", programs=["fio"], devices=DEVICES,
                        timeout=300, title="I/O", serve=f"{tmp}/serve", sink=f"{tmp}/sink")
        got = b""
        if os.path.exists(f"{tmp}/sink"):
            with open(f"{tmp}/sink", "rb") as f:
                got = f.read()
        suite.result("distro uploads arrived intact", "" if got == data * 2 else f"{len(got)} bytes of {2 * len(data)}, or wrong ones", r.log)
    # At boot lockdown would refuse the module, which nobody has signed here: it begins once ours is loaded.
    for lockdown in "", "integrity":
        suite.guest("distro.sh", before=f"LOCKDOWN={lockdown}\n", title=f"lockdown={lockdown}" if lockdown else "life", devices=["nvme", "e1000e"])
    suite.guest("trace.sh", title="trace events", rust_params="dma=rust", devices=["nvme", "testdev"])
    suite.guest("refuse.sh", driver="c", title="refusal", devices=["nvme"], files=[suite.options.module()])
