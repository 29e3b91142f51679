# SPDX-License-Identifier: GPL-2.0
"""A PCI device that is a thread of the test: QEMU's vfio-user client is its bus.

The device does nothing, but it is told every mapping and unmapping of its address space. With an
emulated IOMMU in between, QEMU derives these from the guest's invalidations alone; so they show
what a unit that caches everything would know, which no other device of QEMU does.

Protocol: QEMU 11.1 docs/interop/vfio-user.rst, version 0.0.
"""

import array
import json
import os
import socket
import struct
import threading

VERSION, DMA_MAP, DMA_UNMAP, DEVICE_INFO, REGION_INFO = 1, 2, 3, 4, 5
IRQ_INFO, SET_IRQS, REGION_READ, REGION_WRITE, RESET = 7, 8, 9, 10, 13
REPLY, ERROR, NO_REPLY = 0x1, 0x20, 0x10
CONFIG_REGION, REGIONS, IRQS = 7, 9, 5
CAPABILITIES = b'{"capabilities":{"max_msg_fds":8,"max_data_xfer_size":1048576}}\0'
HEADER = struct.Struct("<HHIII")


def config_space(vendor, device, class_code, express):
    """Configuration space of an endpoint without BARs."""
    c = bytearray(4096 if express else 256)
    struct.pack_into("<HHHHBBH", c, 0, vendor, device, 0, 0x10 if express else 0, 0, class_code & 0xFF, class_code >> 8)
    if express:
        # PCI Express capability, version 2, endpoint; with function level reset.
        c[0x34] = 0x40
        struct.pack_into("<BBHI", c, 0x40, 0x10, 0, 0x0002, 0x8000 | 1 << 28)
    return c


class FakeDevice:
    """Serves one device on a socket. `mappings` is its address space: {iova: size} in pieces as
    QEMU told them; `errors` is what contradicted itself."""

    def __init__(self, path, vendor=0x1AF4, device=0x10F0, class_code=0xFF0000, express=True):
        self.path = path
        self.mappings, self.errors = {}, []
        self.maps = self.unmaps = 0
        self._config = config_space(vendor, device, class_code, express)
        self._lock = threading.Lock()
        if os.path.exists(path):
            os.unlink(path)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def qemu_args(self, **properties):
        """The -device argument that connects a machine to this device."""
        words = {"driver": "vfio-user-pci", "socket": {"type": "unix", "path": self.path}} | properties
        return "-device '" + json.dumps(words) + "'"

    def snapshot(self):
        """The mappings as a sorted list of (first, last), joined where they touch."""
        joined = []
        with self._lock:
            pieces = sorted(self.mappings.items())
        for iova, size in pieces:
            if joined and joined[-1][1] + 1 == iova:
                joined[-1] = (joined[-1][0], iova + size - 1)
            else:
                joined.append((iova, iova + size - 1))
        return joined

    def close(self):
        """Ends the device."""
        self._listener.close()

    def _serve(self):
        try:
            peer, _ = self._listener.accept()
        except OSError:
            return
        with peer:
            try:
                while self._message(peer):
                    pass
            except OSError:
                pass

    @staticmethod
    def _receive(peer, length):
        data = b""
        while len(data) < length:
            part, control, _, _ = peer.recvmsg(length - len(data), socket.CMSG_SPACE(64))
            for level, kind, payload in control:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    # The guest's memory; this device never looks at it.
                    fds = array.array("i", payload[: len(payload) // 4 * 4])
                    for fd in fds:
                        os.close(fd)
            if not part:
                return None
            data += part
        return data

    def _message(self, peer):
        head = self._receive(peer, HEADER.size)
        if head is None:
            return False
        number, command, size, flags, _ = HEADER.unpack(head)
        payload = self._receive(peer, size - HEADER.size) if size > HEADER.size else b""
        if payload is None:
            return False
        answer = self._answer(command, payload)
        if flags & NO_REPLY:
            return True
        state, error, body = (REPLY, 0, answer) if answer is not None else (REPLY | ERROR, 95, b"")
        peer.sendall(HEADER.pack(number, command, HEADER.size + len(body), state, error) + body)
        return True

    def _answer(self, command, p):
        """The reply's payload; None for what is not supported."""
        if command == VERSION:
            return struct.pack("<HH", 0, 0) + CAPABILITIES
        if command == DEVICE_INFO:
            return struct.pack("<IIII", 16, 3, REGIONS, IRQS)
        if command == REGION_INFO:
            index = struct.unpack_from("<III", p)[2]
            size = len(self._config) if index == CONFIG_REGION else 0
            return struct.pack("<IIIIQQ", 32, 3 if size else 0, index, 0, size, 0)
        if command == IRQ_INFO:
            return struct.pack("<IIII", 16, 0, struct.unpack_from("<III", p)[2], 0)
        if command in (REGION_READ, REGION_WRITE):
            return self._access(command, p)
        if command == DMA_MAP:
            _, _, _, iova, size = struct.unpack_from("<IIQQQ", p)
            self._map(iova, size)
            return b""
        if command == DMA_UNMAP:
            _, _, iova, size = struct.unpack_from("<IIQQ", p)
            self._unmap(iova, size)
            return p
        return b"" if command in (SET_IRQS, RESET) else None

    def _access(self, command, p):
        offset, region, count = struct.unpack_from("<QII", p)
        head = struct.pack("<QII", offset, region, count)
        if command == REGION_READ:
            data = bytes(self._config[offset:offset + count]) if region == CONFIG_REGION else b""
            return head + data.ljust(count, b"\0")
        # The command register and nothing else keeps what is written.
        if region == CONFIG_REGION and 4 <= offset < 6:
            self._config[offset:offset + count] = p[16:16 + count]
        return head

    def _map(self, iova, size):
        with self._lock:
            self.maps += 1
            clash = [i for i, s in self.mappings.items() if i < iova + size and iova < i + s]
            if clash:
                self.errors.append(f"map of {iova:#x}+{size:#x} over {clash[0]:#x}")
            self.mappings[iova] = size

    def _unmap(self, iova, size):
        with self._lock:
            self.unmaps += 1
            for start in [i for i in self.mappings if iova <= i < iova + size]:
                if start + self.mappings[start] > iova + size:
                    self.errors.append(f"unmap of {iova:#x}+{size:#x} cuts {start:#x}")
                del self.mappings[start]

