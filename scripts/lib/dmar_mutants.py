#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Write broken variants of a DMAR table, one file for each thing that can be wrong.

Source: Intel Virtualization Technology for Directed I/O, D51397-016 (revision 4.1), chapter 8.
"""

import struct
import sys

from broken_tables import acpi_head, finish, run

FIXED_LEN = 48
UNIT_BASE = 0xFED90000
# Nothing answers here in QEMU's q35: between the I/O APIC and the HPET.
HOLE_BASE = 0xFEC10000
DRHD, RMRR, ATSR, RHSA, ANDD, SATC, SIDP = range(7)


def head(width=47, flags=1):
    """Return the fixed part of a table as QEMU writes it."""
    return acpi_head(b"DMAR") + struct.pack("<BB10x", width, flags)


def structure(kind, body, length=None):
    """Return a structure: its header and `body`."""
    return struct.pack("<HH", kind, 4 + len(body) if length is None else length) + body


def drhd(scopes, base=UNIT_BASE, flags=0, size=0, segment=0, length=None):
    """Return a unit."""
    return structure(DRHD, struct.pack("<BBHQ", flags, size, segment, base) + scopes, length)


def rmrr(first, last, scopes, segment=0, length=None):
    """Return memory that devices use."""
    return structure(RMRR, struct.pack("<HHQQ", 0, segment, first, last) + scopes, length)


def devices(kind, scopes, flags=0, segment=0):
    """Return an ATSR, SATC or SIDP."""
    return structure(kind, struct.pack("<BBH", flags, 0, segment) + scopes)


def rhsa(base, node=0):
    """Return the memory node of a unit."""
    return structure(RHSA, struct.pack("<IQI", 0, base, node))


def andd(number, name):
    """Return a device of the ACPI namespace."""
    return structure(ANDD, struct.pack("<3xB", number) + name)


def scope(kind, path, bus=0, number=0, length=None):
    """Return a scope; `path` is a list of (device, function)."""
    pairs = b"".join(bytes(pair) for pair in path)
    return struct.pack("<BBHBB", kind, 6 + len(pairs) if length is None else length, 0, number, bus) + pairs


IOAPIC = scope(3, [(0, 0)], bus=0xFF)
ALL = 1


def base_table():
    """Return a table of one unit that has all functions, and the I/O APIC."""
    return finish(head() + drhd(IOAPIC, flags=ALL))


class Base:
    """A valid table, taken apart: what the mutants keep and what they replace."""

    def __init__(self, table):
        length = struct.unpack_from("<I", table, 4)[0] if len(table) >= FIXED_LEN else 0
        if table[:4] != b"DMAR" or not FIXED_LEN <= length <= len(table):
            raise ValueError("the base is no DMAR table")
        self.table = table[:length]
        self.head = self.table[:FIXED_LEN]
        self.structures, at = [], FIXED_LEN
        while at < length:
            _, size = struct.unpack_from("<HH", self.table, at)
            if size < 4 or at + size > length:
                raise ValueError(f"the structure at {at:#x} of the base table has a wrong length {size}")
            self.structures.append(self.table[at:at + size])
            at += size
        units = [s for s in self.structures if s[:2] == b"\0\0"]
        if not units:
            raise ValueError("the base table has no unit")
        # The last one is the one with the rest, if any is.
        self.unit = units[-1]
        self.flags, self.size, self.segment, self.base = struct.unpack_from("<BBHQ", self.unit, 4)
        self.scopes = self.unit[16:]

    def with_structures(self, *structures):
        """Return a table of the given structures."""
        return finish(self.head + b"".join(structures))

    def drhd(self, scopes=None, **fields):
        """Return the base's unit, with some fields changed."""
        same = {"base": self.base, "flags": self.flags, "size": self.size, "segment": self.segment}
        return drhd(self.scopes if scopes is None else scopes, **{**same, **fields})

    def with_more(self, *structures):
        """Return the base's structures followed by others."""
        return self.with_structures(*self.structures, *structures)

    def with_unit(self, **fields):
        """Return a table whose only unit is the base's, with some fields changed."""
        return self.with_structures(self.drhd(**fields))


EDU = scope(1, [(8, 0)])
# One of each type: (name, structure, where its fields begin).
KINDS = (
    ("drhd", drhd(EDU, base=HOLE_BASE), (1, 2, 3, 4, 5, 6, 8, 12)),
    ("rmrr", rmrr(0x3000000, 0x3000FFF, EDU), (4, 6, 8, 12, 16, 20)),
    ("atsr", devices(ATSR, scope(2, [(1, 0)])), (4, 5, 6)),
    ("rhsa", rhsa(UNIT_BASE), (4, 8, 12, 16)),
    ("andd", andd(1, b"\\_SB.I2C0\0"), (4, 7)),
    ("satc", devices(SATC, EDU), (4, 6)),
    ("sidp", devices(SIDP, EDU), (4, 6)),
)


def header_mutants(base):
    """Yield tables whose fixed part is wrong. The kernel does not take the refused ones either."""
    wrong = bytearray(base.table)
    wrong[9] = (wrong[9] + 1) & 0xFF
    yield "checksum", "refused", "wrong checksum", bytes(wrong)
    for name, at in (("width", 36), ("flags", 37), ("reserved", 38), ("reserved-half", 44)):
        yield f"cut-dmar-{name}", "refused", "table ends in its fixed part", finish(base.head[:at])
    yield "cut-dmar-no-structures", "fine", "table has no structure", base.with_structures()
    for name, at, value in (("revision", 8, 0xFF), ("width-0", 36, 0), ("width-ff", 36, 0xFF), ("flags-ff", 37, 0xFF)):
        unusual = bytearray(base.table)
        unusual[at] = value
        yield f"dmar-{name}", "fine", f"byte {at} of the header is {value:#x}", finish(unusual)


def cut_mutants(base):
    """Yield tables that end in the middle of a field."""
    for name, whole, cuts in KINDS:
        for at in cuts:
            yield f"cut-{name}-{at}", "error", f"table ends after {at} bytes of the structure", base.with_more(whole[:at])
            if at >= 4:
                short = whole[:2] + struct.pack("<H", at) + whole[4:at]
                yield f"short-{name}-{at}", "error", "structure is shorter than its fields and says so", base.with_more(short)
    for at in (1, 3, 5):
        yield f"cut-scope-{at}", "error", f"unit ends after {at} bytes of a scope", base.with_unit(scopes=base.scopes + EDU[:at])


def length_mutants(base):
    """Yield tables whose lengths are wrong."""
    for name, whole, _ in KINDS:
        for length in (0, 1, 3, 0xFFFF):
            yield f"{name}-length-{length:x}", "error", "length of a structure", \
                base.with_more(whole[:2] + struct.pack("<H", length) + whole[4:])
    right = len(base.unit)
    for name, length in (("0", 0), ("4", 4), ("one-more", right + 1), ("huge", 0xFFFF)):
        yield f"unit-length-{name}", "error", "length of the only unit", base.with_unit(length=length)
    for kind in (7, 0x99, 0xFFFF):
        yield f"type-{kind:x}", "fine", "unknown type, right length", base.with_more(structure(kind, bytes(8)))
        yield f"type-{kind:x}-length-0", "error", "unknown type, length 0", base.with_more(structure(kind, bytes(8), length=0))
    yield "structure-flood", "error", "5000 empty structures before the unit", \
        base.with_structures(structure(0x99, b"") * 5000, *base.structures)
    yield "trailing-bytes", "error", "three bytes after the last structure", finish(base.table + b"\0\0\x10")


def scope_mutants(base):
    """Yield tables whose scopes are wrong or unusual."""
    for length in (0, 1, 5, 7, 0xFF):
        yield f"scope-length-{length}", "error", "length of a scope", \
            base.with_unit(scopes=base.scopes + scope(1, [(8, 0)], length=length))
    yield "scope-no-path", "error", "a scope without path", base.with_unit(scopes=base.scopes + scope(1, []))
    for kind in (0, 6, 0xFF):
        yield f"scope-type-{kind:x}", "error", "unknown type of scope", base.with_unit(scopes=base.scopes + scope(kind, [(8, 0)]))
    yield "scope-path-ff", "fine", "a path through devices that cannot be", \
        base.with_unit(scopes=base.scopes + scope(1, [(0xFF, 0xFF)] * 100))
    yield "scope-no-device", "fine", "a function that is not there", base.with_unit(scopes=base.scopes + scope(1, [(0x13, 5)], bus=0x77))
    yield "scope-flood", "fine", "8000 scopes", base.with_unit(scopes=base.scopes + EDU * 8000)
    yield "scope-twice", "fine", "the same scope twice", base.with_unit(scopes=base.scopes + EDU * 2)
    yield "scope-lies", "fine", "an endpoint that is a bridge, a bridge that is an endpoint", \
        base.with_unit(scopes=base.scopes + scope(1, [(1, 0)]) + scope(2, [(8, 0)]))
    yield "scope-only-ioapic", "fine", "a unit for the I/O APIC alone", base.with_unit(flags=0, scopes=IOAPIC)
    yield "scopes-zero", "error", "no scope, and not the rest of the segment either", base.with_unit(flags=0, scopes=b"")
    yield "namespace-without-andd", "fine", "a namespace device that no structure names", \
        base.with_unit(scopes=base.scopes + scope(5, [(0x15, 0)], number=9))


def unit_mutants(base):
    """Yield tables whose units are wrong or unusual."""
    yield "no-drhd", "fine", "memory, but no unit", base.with_structures(rmrr(0x3000000, 0x3000FFF, EDU))
    yield "second-rest", "error", "two units with the rest of the segment", \
        base.with_structures(base.drhd(flags=ALL), base.drhd(flags=ALL, base=HOLE_BASE))
    yield "rest-first", "fine", "the unit with the rest comes first", \
        base.with_structures(base.drhd(flags=ALL), drhd(scope(1, [(9, 0)]), base=HOLE_BASE))
    yield "same-registers", "error", "two units with the same registers", base.with_structures(base.unit, drhd(EDU, base=base.base))
    yield "overlapping-registers", "error", "registers of 8 pages over those of the unit", \
        base.with_structures(base.unit, drhd(EDU, base=base.base - 0x4000, size=3))
    yield "second-unit-hole", "fine", "a second unit where nothing answers", base.with_more(drhd(EDU, base=HOLE_BASE))
    yield "rest-lost", "fine", "all functions but one, which is behind a unit where nothing answers", \
        base.with_structures(base.drhd(flags=ALL), drhd(EDU, base=HOLE_BASE + 0x1000))
    yield "second-unit-ram", "fine", "a second unit in memory", base.with_more(drhd(EDU, base=0x1000000))
    for name, address in (("0", 0), ("unaligned", base.base + 4), ("all-ones", (1 << 64) - 1), ("beyond", 1 << 52)):
        yield f"base-{name}", "error", f"registers at {address:#x}", base.with_unit(base=address)
    for name, address in (("hole", HOLE_BASE), ("ram", 0x1000000), ("high", 1 << 38)):
        yield f"base-{name}", "fine", f"registers at {address:#x}", base.with_unit(base=address)
    yield "size-15", "fine", "32768 pages of registers", base.with_unit(size=15)
    yield "flags-ff", "fine", "all flags", base.with_unit(flags=0xFF)
    yield "segment-ffff", "fine", "a segment that is not there", base.with_unit(segment=0xFFFF)


def memory_mutants(base):
    """Yield tables whose memory or other structures are wrong or unusual."""
    top = (1 << 64) - 1
    for name, expected, first, last in (
        ("reversed", "error", 0x3001000, 0x3000FFF),
        ("all-ones", "error", top, top),
        ("beyond", "error", 0x3000000, 1 << 52),
        ("everything", "fine", 0, (1 << 52) - 1),
        ("page-0", "fine", 0, 0xFFF),
        ("unaligned", "fine", 0x3000123, 0x3001234),
        ("one-byte", "fine", 0x3000000, 0x3000000),
        ("ram", "fine", 0x1000000, 0x1FFFFFF),
        ("msi-window", "fine", 0xFEE00000, 0xFEE00FFF),
    ):
        yield f"rmrr-{name}", expected, f"memory {first:#x} to {last:#x}", base.with_more(rmrr(first, last, EDU))
    yield "rmrr-overlapping", "fine", "two regions overlap", \
        base.with_more(rmrr(0x3000000, 0x3001FFF, EDU), rmrr(0x3001000, 0x3002FFF, EDU))
    yield "rmrr-no-scope", "fine", "memory of nobody", base.with_more(rmrr(0x3000000, 0x3000FFF, b""))
    yield "rmrr-first", "fine", "memory before the unit", base.with_structures(rmrr(0x3000000, 0x3000FFF, EDU), *base.structures)
    yield "rmrr-segment-ffff", "fine", "memory in a segment that is not there", base.with_more(rmrr(0x3000000, 0x3000FFF, EDU, segment=0xFFFF))
    yield "andd-no-name", "error", "a namespace device without name", base.with_more(andd(1, b"\0"))
    yield "andd-no-end", "error", "a name without end", base.with_more(andd(1, b"\\_SB.I2C0"))
    yield "andd-binary", "fine", "a name of control bytes", base.with_more(andd(1, b"%n%s\x1b[2J\xff\n\0"))
    yield "rhsa-nowhere", "fine", "the node of no unit", base.with_more(rhsa(top, 0xFFFFFFFF))
    yield "atsr-all", "fine", "all root ports", base.with_more(devices(ATSR, b"", flags=1))
    yield "one-of-each", "fine", "one structure of each type", base.with_more(*(whole for _, whole, _ in KINDS[1:]))


def mutants(table):
    """Yield (name, expected, description, table) for everything that can be wrong."""
    base = Base(table)
    for make in (header_mutants, cut_mutants, length_mutants, scope_mutants, unit_mutants, memory_mutants):
        yield from make(base)


def length_at(table, at, size):
    """Return the length field of `size` bytes at an offset, 0 beyond the table's end."""
    return int.from_bytes(table[at:at + size], "little")


def c_driver_survives(table):
    """Does a kernel with the C driver built in get past its own reading of the table?

    It walks from structure to structure and from scope to scope by lengths that it does not check
    everywhere, so that a length of 0 is an endless loop; and it maps a unit's registers wherever they
    are said to be. Both happen with intel_iommu=off, too.

    Source: srctree/drivers/iommu/intel/dmar.c, `dmar_acpi_dev_scope_init`, `dmar_alloc_dev_scope`,
    `dmar_validate_one_drhd`.
    """
    at = FIXED_LEN
    while at < len(table):
        kind, length = length_at(table, at, 2), length_at(table, at + 2, 2)
        if length == 0:
            return False
        # A short one gets its address from whatever follows, beyond the table's end, too.
        if kind == DRHD and (length < 16 or at + 16 > len(table) or length_at(table, at + 8, 8) >= 1 << 46):
            return False
        scope_at, end = at + {DRHD: 16, RMRR: 24}.get(kind, 8), at + length
        while kind in (DRHD, RMRR, ATSR, SATC, SIDP) and scope_at < end:
            if length_at(table, scope_at + 1, 1) == 0:
                return False
            scope_at += length_at(table, scope_at + 1, 1)
        at = end
    return True


def good(table, values):
    """Return a valid table for a functional test: `rmrr` and start, length, device and function on bus 0."""
    if values[0] != "rmrr" or len(values) != 5:
        raise ValueError("--good takes: rmrr START LEN DEV FUNC")
    start, size, dev, func = (int(v, 0) for v in values[1:])
    return Base(table).with_more(rmrr(start, start + size - 1, scope(1, [(dev, func)])))


if __name__ == "__main__":
    sys.exit(run("DMAR", base_table, mutants, good, "'rmrr START LEN DEV FUNC' (memory that a function on bus 0 uses)"))
