# SPDX-License-Identifier: GPL-2.0
"""What makers of broken ACPI tables share: headers, checksums, files, the command line.

Each table gets a right length and checksum (but the one that is to have a wrong one) and OEM
revision 2, so that the kernel takes it from the initrd (see acpi_override.py). Each is named by
what is broken. With every run MANIFEST.tsv is written: file name, what a parser has to say
(refused: no table at all; error: at least one error; fine: unusual, but no error), description.
"""

import argparse
import os
import struct
import sys

from acpi_override import checksum_fixed, override_cpio


def acpi_head(signature, revision=1):
    """Return a table's header as QEMU writes it."""
    return struct.pack("<4sIBB6s8sI4sI", signature, 0, revision, 0, b"BOCHS ", b"BXPC    ", 1, b"BXPC", 1)


def finish(table):
    """Return `table` with length, OEM revision and checksum set."""
    table = bytearray(table)
    struct.pack_into("<I", table, 4, len(table))
    struct.pack_into("<I", table, 24, 2)
    return checksum_fixed(table)


def write(folder, tables, signature, cpio):
    """Write (name, expected, description, table)s into a folder, with the manifest; return its lines."""
    os.makedirs(folder, exist_ok=True)
    lines, seen = [], set()
    for name, expected, why, table in tables:
        name = f"{name}.{'cpio' if cpio else 'aml'}"
        if name in seen:
            raise ValueError(f"two mutants are named {name}")
        seen.add(name)
        with open(os.path.join(folder, name), "wb") as file:
            file.write(override_cpio(table, signature) if cpio else table)
        lines.append(f"{name}\t{expected}\t{why}\n")
    with open(os.path.join(folder, "MANIFEST.tsv"), "w", encoding="ascii") as file:
        file.writelines(lines)
    return lines


def run(signature, base_table, mutants, good, good_help):
    """The command: broken tables into a folder, or one valid table (`--good`). Returns the exit status."""
    p = argparse.ArgumentParser(description=f"Write broken variants of the {signature} table, each named by what is broken, and "
                                "MANIFEST.tsv that lists them: file, what a parser has to say (refused, error, fine), description.")
    p.add_argument("--base", help=f"a valid table, such as a guest's /sys/firmware/acpi/tables/{signature} (default: one as QEMU makes it)")
    p.add_argument("-o", "--out", required=True, help="folder, or with --good file, to write")
    p.add_argument("--list", action="store_true", help="print the manifest as well")
    p.add_argument("--cpio", action="store_true", help="write initrd archives, not tables")
    p.add_argument("--good", nargs="+", metavar="ARG", help=f"write one valid table instead: {good_help}")
    args = p.parse_args()
    try:
        table = base_table()
        if args.base:
            with open(args.base, "rb") as file:
                table = file.read()
        if args.good:
            table = good(table, args.good)
            with open(args.out, "wb") as file:
                file.write(override_cpio(table, signature) if args.cpio else table)
            return 0
        lines = write(args.out, mutants(table), signature, args.cpio)
    except (OSError, ValueError, struct.error) as error:
        print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr)
        return 1
    if args.list:
        sys.stdout.writelines(lines)
    return 0
