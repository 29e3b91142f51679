# SPDX-License-Identifier: GPL-2.0
"""Build IVRS tables: blocks, device entries, a valid table taken apart, and valid ones for tests.

Source: AMD I/O Virtualization Technology (IOMMU) Specification, 48882, Rev 3.10, chapter 5.
"""

import struct

from broken_tables import acpi_head, finish

FIXED_LEN = 48
HEADER_LEN = {0x10: 24, 0x11: 40, 0x40: 40}
UNIT_RID = 0x10
UNIT_BASE = 0xFED80000
# Nothing answers here in QEMU's q35: between the I/O APIC and the HPET.
HOLE_BASE = 0xFEC10000
EFR = 0x29D3


def head(revision=1, ivinfo=0x2801):
    """Return the fixed part of a table as QEMU writes it."""
    return acpi_head(b"IVRS", revision) + struct.pack("<IQ", ivinfo, 0)


def ivhd(kind, entries, rid=UNIT_RID, cap=0x40, base=UNIT_BASE, segment=0, length=None, efr=EFR):
    """Return a hardware definition block."""
    header_len = HEADER_LEN[kind]
    if length is None:
        length = header_len + len(entries)
    flags = 0xD1 if kind == 0x10 else 0x11
    word = 0x44 if kind == 0x10 else 0
    out = struct.pack("<BBHHHQHHI", kind, flags, length, rid, cap, base, segment, 0, word)
    if kind != 0x10:
        out += struct.pack("<QQ", efr, 0)
    return out + entries


def ivmd(kind, flags, start, size, rid=0, aux=0, segment=0, length=32):
    """Return a memory definition block."""
    return struct.pack("<BBHHHQQQ", kind, flags, length, rid, aux, segment, start, size)


def e_all(settings=0):
    return struct.pack("<BHB", 0x01, 0, settings)


def e_select(rid, settings=0):
    return struct.pack("<BHB", 0x02, rid, settings)


def e_start(rid, settings=0):
    return struct.pack("<BHB", 0x03, rid, settings)


def e_end(rid):
    return struct.pack("<BHB", 0x04, rid, 0)


def e_alias(rid, source, settings=0):
    return struct.pack("<BHBBHB", 0x42, rid, settings, 0, source, 0)


def e_alias_start(rid, source, settings=0):
    return struct.pack("<BHBBHB", 0x43, rid, settings, 0, source, 0)


def e_ext(rid, ext, settings=0):
    return struct.pack("<BHBI", 0x46, rid, settings, ext)


def e_ext_start(rid, ext, settings=0):
    return struct.pack("<BHBI", 0x47, rid, settings, ext)


def e_special(variety, handle, source, settings=0):
    return struct.pack("<BHBBHB", 0x48, 0, settings, handle, source, variety)


def e_hid(rid, hid, form, uid, length=None):
    length = len(uid) if length is None else length
    return struct.pack("<BHB8s8sBB", 0xF0, rid, 0, hid, b"", form, length) + uid


IOAPIC = e_special(1, 0, 0xA0)


def base_entries():
    """Return entries that serve any topology: all functions, and the I/O APIC."""
    return e_start(0x0000) + e_end(0xFFFE) + IOAPIC


def base_table(rid=UNIT_RID):
    """Return a table as QEMU makes it: one unit in blocks of types 10h and 11h."""
    entries = base_entries()
    return finish(head() + ivhd(0x10, entries, rid=rid) + ivhd(0x11, entries, rid=rid))


def blocks_of(table):
    """Return the blocks of a valid table as (type, bytes)."""
    out = []
    at = FIXED_LEN
    while at < len(table):
        kind, _, length = struct.unpack_from("<BBH", table, at)
        if length < 4 or at + length > len(table):
            raise ValueError(f"block at {at:#x} of the base table has a wrong length {length}")
        out.append((kind, table[at : at + length]))
        at += length
    return out


def without_hids(entries):
    """Return device entries without those of ACPI devices, which only type 40h may have."""
    out = b""
    at = 0
    while at < len(entries):
        kind = entries[at]
        if kind == 0xF0 and at + 22 <= len(entries):
            at += 22 + entries[at + 21]
            continue
        if kind >= 0xF0:
            raise ValueError(f"device entry of type {kind:02x}h in the base table has no length")
        size = 4 << (kind >> 6)
        out += entries[at : at + size]
        at += size
    return out


class Base:
    """A valid table, taken apart: what the mutants keep and what they replace."""

    def __init__(self, table):
        length = struct.unpack_from("<I", table, 4)[0] if len(table) >= FIXED_LEN else 0
        if table[:4] != b"IVRS" or not FIXED_LEN <= length <= len(table):
            raise ValueError("the base is no IVRS table")
        self.table = table[:length]
        self.head = self.table[:FIXED_LEN]
        self.blocks = blocks_of(self.table)
        hardware = [block for kind, block in self.blocks if kind in HEADER_LEN]
        if not hardware:
            raise ValueError("the base table has no unit")
        best = max(hardware, key=lambda block: block[0])
        self.rid, self.cap, self.base, self.segment = struct.unpack_from("<HHQH", best, 4)
        self.entries = best[HEADER_LEN[best[0]] :]
        self.plain_entries = without_hids(self.entries)
        self.efr = struct.unpack_from("<Q", best, 24)[0] if best[0] != 0x10 else EFR

    def entries_for(self, kind):
        """Return the base's entries as far as a block of type `kind` may have them."""
        return self.entries if kind == 0x40 else self.plain_entries

    def ivhd(self, kind, entries=None, **fields):
        """Return a block for the base's unit, with some fields changed."""
        same = {"rid": self.rid, "cap": self.cap, "base": self.base, "segment": self.segment}
        entries = self.entries_for(kind) if entries is None else entries
        return ivhd(kind, entries, **{**same, "efr": self.efr, **fields})

    def with_blocks(self, *blocks):
        """Return a table of the given blocks."""
        return finish(self.head + b"".join(blocks))

    def with_entries(self, entries, kind=0x40):
        """Return a table of one block with the base's entries and then `entries`."""
        return self.with_blocks(self.ivhd(kind, self.entries_for(kind) + entries))

    def with_more(self, *blocks):
        """Return the base's blocks followed by others."""
        return self.with_blocks(*(block for _, block in self.blocks), *blocks)


def with_entries_added(table, entries):
    """Return the table with more device entries in each of its IVHD blocks."""
    base = Base(table)
    blocks = []
    for kind, block in base.blocks:
        if kind in HEADER_LEN:
            block = bytearray(block + entries)
            struct.pack_into("<H", block, 2, len(block))
        blocks.append(bytes(block))
    return base.with_blocks(*blocks)


def good(table, variant, params):
    """Return a valid table for a functional test: `alias` (rid, source) or `ivmd` (start, len, rid)."""
    base = Base(table)
    if variant == "alias":
        return with_entries_added(table, e_alias(*params))
    start, size, rid = params
    return base.with_more(ivmd(0x21, 7, start, size, rid=rid, segment=base.segment))


def rid_of(text):
    """Parse a requester ID: BB:DD.F, or a number."""
    if ":" not in text:
        rid = int(text, 0)
    else:
        bus, devfn = text.split(":")
        dev, func = devfn.split(".")
        bus, dev, func = int(bus, 16), int(dev, 16), int(func)
        if dev > 0x1F or func > 7:
            raise ValueError(f"{text}: no such device or function")
        rid = bus << 8 | dev << 3 | func
    if not 0 <= rid <= 0xFFFF:
        raise ValueError(f"{text}: not a requester ID")
    return rid


def parse_good(values):
    """Parse the arguments of --good into variant and parameters."""
    if values[0] == "alias" and len(values) == 3:
        return "alias", (rid_of(values[1]), rid_of(values[2]))
    if values[0] == "ivmd" and len(values) == 4:
        return "ivmd", (int(values[1], 0), int(values[2], 0), rid_of(values[3]))
    raise ValueError("--good takes: alias RID SOURCE, or: ivmd START LEN RID")
