#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Pack an ACPI table so that a kernel with CONFIG_ACPI_TABLE_UPGRADE takes it from its initrd.

The kernel looks for kernel/firmware/acpi/* in the uncompressed cpio archive (newc) at the start
of the initrd: prepend the output to the initrd that is used otherwise. It takes a table whose
length field is the file's size, whose checksum is right, and whose OEM revision is above that of
the firmware's table with the same signature, OEM ID and OEM table ID.

Source: Documentation/admin-guide/acpi/initrd_table_override.rst, drivers/acpi/tables.c.
"""

import argparse
import os
import struct
import sys

HEADER_LEN = 36


def checksum_fixed(table):
    """Return `table` with the checksum byte set so that all bytes sum up to zero."""
    table = bytearray(table)
    table[9] = 0
    table[9] = -sum(table) & 0xFF
    return bytes(table)


def complaint(table):
    """Say why the kernel would not take `table`, None if it would."""
    if len(table) < HEADER_LEN:
        return f"{len(table)} bytes are shorter than a table header"
    length = struct.unpack_from("<I", table, 4)[0]
    if length != len(table):
        return f"length field {length} is not the file's size {len(table)}"
    if sum(table) & 0xFF:
        return "checksum is wrong"
    return None


def cpio_entry(name, data, mode, ino):
    """Return one entry of a newc archive, padded to four bytes."""
    fields = (ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def override_cpio(path_or_bytes, name):
    """Return the archive that overrides the table `name` (such as "IVRS") with the given one."""
    if isinstance(path_or_bytes, (bytes, bytearray)):
        table = bytes(path_or_bytes)
    else:
        with open(path_or_bytes, "rb") as file:
            table = file.read()
    out = b""
    ino = 1
    for folder in ("kernel", "kernel/firmware", "kernel/firmware/acpi"):
        out += cpio_entry(folder, b"", 0o040755, ino)
        ino += 1
    out += cpio_entry(f"kernel/firmware/acpi/{name}.aml", table, 0o100644, ino)
    out += cpio_entry("TRAILER!!!", b"", 0, 0)
    return out + bytes(-len(out) % 512)


def main():
    parser = argparse.ArgumentParser(
        description="Pack an ACPI table into a cpio archive that overrides the firmware's table "
        "when it is prepended to an initrd."
    )
    parser.add_argument("table", help="the table's file")
    parser.add_argument("-o", "--out", required=True, help="the archive to write")
    parser.add_argument("--name", help="name of the table (default: its signature)")
    parser.add_argument(
        "--force", action="store_true", help="write it even if the kernel would not take the table"
    )
    args = parser.parse_args()
    with open(args.table, "rb") as file:
        table = file.read()
    why = complaint(table)
    if why:
        print(f"{os.path.basename(args.table)}: {why}", file=sys.stderr)
        if not args.force:
            return 1
    name = args.name or table[:4].decode("ascii", "replace")
    with open(args.out, "wb") as file:
        file.write(override_cpio(table, name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
