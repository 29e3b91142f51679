# SPDX-License-Identifier: GPL-2.0
"""Writes "newc" cpio archives, the format of an initramfs.

Source: Documentation/driver-api/early-userspace/buffer-format.rst.
"""

import stat


class Cpio:
    """An archive in memory; parents of an entry are added as needed.

    Every time stamp is 0 and every inode number counts up, so equal content gives equal bytes.
    """

    def __init__(self):
        self._parts = []
        self._ino = 0
        self._seen = set()

    def _entry(self, name, mode, data=b"", rdev=(0, 0)):
        raw = name.encode() + b"\0"
        self._ino += 1
        fields = (self._ino, mode, 0, 0, 1, 0, len(data), 0, 0, *rdev, len(raw), 0)
        head = b"070701" + b"".join(b"%08x" % f for f in fields) + raw
        self._parts.append(head + bytes(-len(head) % 4))
        self._parts.append(data + bytes(-len(data) % 4))

    def _add(self, path, *args):
        path = path.strip("/")
        if not path or path in self._seen:
            raise ValueError(f"cpio entry '{path}' is empty or there already")
        self.parents(path)
        self._seen.add(path)
        self._entry(path, *args)

    def parents(self, path):
        """Adds the directories above `path` that are not there yet."""
        parts = path.strip("/").split("/")[:-1]
        for i in range(1, len(parts) + 1):
            self.directory("/".join(parts[:i]))

    def has(self, path):
        """Tells whether `path` was added."""
        return path.strip("/") in self._seen

    def directory(self, path):
        """Adds a directory; a second time is no error."""
        path = path.strip("/")
        if path and path not in self._seen:
            self._add(path, stat.S_IFDIR | 0o755)

    def file(self, path, data, executable=False):
        """Adds a regular file with the bytes `data`."""
        self._add(path, stat.S_IFREG | (0o755 if executable else 0o644), data)

    def symlink(self, path, target):
        """Adds a symbolic link."""
        self._add(path, stat.S_IFLNK | 0o777, target.encode())

    def char_device(self, path, major, minor):
        """Adds a character device node."""
        self._add(path, stat.S_IFCHR | 0o600, b"", (major, minor))

    def bytes(self, align=4):
        """Returns the archive with its trailer, padded to a multiple of `align`."""
        tail = Cpio()
        tail._entry("TRAILER!!!", 0)
        data = b"".join(self._parts + tail._parts)
        return data + bytes(-len(data) % align)
