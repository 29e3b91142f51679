#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Write broken variants of an IVRS table, one file for each thing that can be wrong.

Source: AMD I/O Virtualization Technology (IOMMU) Specification, 48882, Rev 3.10, chapter 5.
"""

import struct
import sys

from broken_tables import finish, run
from ivrs_table import (HEADER_LEN, HOLE_BASE, IOAPIC, Base, base_table, e_alias, e_alias_start, e_all, e_end, e_ext, e_ext_start,
                        e_hid, e_select, e_special, e_start, good, ivmd, parse_good)

# Fields by which to cut: (name, offset of the first byte that is missing).
IVRS_FIELDS = (("ivinfo", 36), ("reserved", 40), ("reserved-half", 44))
IVHD_FIELDS = (
    ("flags", 1),
    ("length", 2),
    ("length-half", 3),
    ("rid", 4),
    ("capability", 6),
    ("base", 8),
    ("base-half", 12),
    ("segment", 16),
    ("info", 18),
    ("attributes", 20),
    ("efr", 24),
    ("efr2", 32),
)
ENTRIES = (
    ("all", e_all(), (1, 3)),
    ("select", e_select(8), (1, 3)),
    ("start", e_start(8), (1, 3)),
    ("end", e_end(8), (1, 3)),
    ("alias", e_alias(8, 16), (1, 4, 5, 7)),
    ("alias-start", e_alias_start(8, 16), (1, 4, 5, 7)),
    ("ext", e_ext(8, 1), (1, 4)),
    ("ext-start", e_ext_start(8, 1), (1, 4)),
    ("special", IOAPIC, (1, 4, 5, 7)),
    ("hid", e_hid(0xA5, b"AMDI0020", 2, b"\\_SB.FUR0"), (1, 4, 12, 20, 21, 22, 26)),
)


def cut_mutants(base):
    """Yield tables that end in the middle of a field, the lengths around it kept right."""
    for name, at in IVRS_FIELDS:
        yield f"cut-ivrs-{name}", "refused", "table ends in its fixed part", finish(base.head[:at])
    yield "cut-ivrs-no-blocks", "fine", "table has no block", base.with_blocks()
    for kind in (0x10, 0x11, 0x40):
        block = base.ivhd(kind)
        for name, at in IVHD_FIELDS:
            if at >= HEADER_LEN[kind]:
                continue
            cut = bytearray(block[:at])
            why = "table ends inside the block, whose length is beyond"
            yield f"cut-ivhd{kind:02x}-{name}", "error", why, base.with_blocks(bytes(cut))
            if at >= 4:
                struct.pack_into("<H", cut, 2, at)
                why = "block is shorter than its header and says so"
                yield f"short-ivhd{kind:02x}-{name}", "error", why, base.with_blocks(bytes(cut))
    for name, entry, cuts in ENTRIES:
        for at in cuts:
            why = f"block ends after {at} bytes of the entry"
            yield f"cut-entry-{name}-{at}", "error", why, base.with_entries(entry[:at])


def length_mutants(base):
    """Yield tables whose lengths are wrong."""
    for kind in (0x10, 0x11, 0x40):
        for length in (0, 1, 3, 4, HEADER_LEN[kind] - 1):
            block = base.ivhd(kind, length=length)
            yield f"ivhd{kind:02x}-length-{length}", "error", "length below the header", \
                base.with_blocks(block)
        right = HEADER_LEN[kind] + len(base.entries_for(kind))
        for name, length in (("one-more", right + 1), ("huge", 0xFFFF), ("4000h", 0x4000)):
            block = base.ivhd(kind, length=length)
            yield f"ivhd{kind:02x}-length-{name}", "error", "block reaches beyond the table", \
                base.with_blocks(block)
        block = base.ivhd(kind, e_all() + IOAPIC, length=HEADER_LEN[kind] + 11)
        yield f"ivhd{kind:02x}-length-one-less", "error", "block ends inside its last entry", \
            base.with_blocks(block)
        yield f"ivhd{kind:02x}-no-entries", "fine", "block has no entry", \
            base.with_blocks(base.ivhd(kind, b""))
    for length in (0, 16, 31, 33, 0xFFFF):
        block = ivmd(0x20, 7, 0x3000000, 0x1000, length=length)
        yield f"ivmd-length-{length}", "error", "wrong length of a memory block", \
            base.with_more(block)
    for kind in (0x00, 0x12, 0x23, 0x41, 0x51, 0xFF):
        unknown = struct.pack("<BBHQ", kind, 0, 12, 0)
        yield f"block-type-{kind:02x}", "fine", "unknown block type, right length", \
            base.with_blocks(unknown, base.ivhd(0x40))
    for length in (0, 0xFFFF):
        unknown = struct.pack("<BBHQ", 0x99, 0, length, 0)
        yield f"block-type-99-length-{length}", "error", "unknown block type, wrong length", \
            base.with_more(unknown)
    flood = struct.pack("<BBH", 0x99, 0, 4) * 5000
    yield "block-flood", "error", "5000 empty blocks before the unit", \
        base.with_blocks(flood, base.ivhd(0x40))
    yield "trailing-bytes", "error", "three bytes after the last block", \
        finish(base.table + b"\x10\x00\x18")


def entry_mutants(base):
    """Yield tables whose device entries are wrong or unusual."""
    for kind, size in ((0x05, 4), (0x3F, 4), (0x41, 8), (0x7F, 8), (0x80, 16), (0xEF, 32)):
        yield f"entry-type-{kind:02x}", "fine", "unknown entry type, of known length", \
            base.with_entries(bytes([kind]) + bytes(size - 1) + e_select(8))
        yield f"entry-type-{kind:02x}-cut", "error", "unknown entry type, cut off", \
            base.with_entries(bytes([kind]) + bytes(size - 2))
    for kind in (0xF1, 0xFF):
        yield f"entry-type-{kind:02x}", "error", "entry type of unknown length", \
            base.with_entries(bytes([kind]) + bytes(31) + e_select(8))
    yield "alias-to-nowhere", "fine", "alias to a requester ID without device", \
        base.with_entries(e_alias(0x28, 0xFF17))
    yield "alias-to-self", "fine", "alias to itself", base.with_entries(e_alias(0x28, 0x28))
    yield "alias-cycle", "fine", "two aliases of each other", \
        base.with_entries(e_alias(0x28, 0x30) + e_alias(0x30, 0x28))
    yield "alias-to-the-unit", "fine", "alias to the unit's own requester ID", \
        base.with_entries(e_alias(0x28, base.rid))
    yield "alias-range", "fine", "everything from 01:00.0 on arrives as 00:05.0", \
        base.with_entries(e_alias_start(0x100, 0x28) + e_end(0xFFFF))
    for name, entry in (
        ("start", e_start(0x100)),
        ("alias-start", e_alias_start(0x100, 0x28)),
        ("ext-start", e_ext_start(0x100, 1)),
    ):
        yield f"unpaired-{name}", "error", "range without end", base.with_entries(entry)
        yield f"unpaired-{name}-twice", "error", "two starts, one end", \
            base.with_entries(entry + entry + e_end(0x1FF))
        yield f"reversed-{name}", "error", "range ends before it starts", \
            base.with_entries(entry + e_end(0xFF))
    yield "unpaired-end", "error", "range without start", base.with_entries(e_end(0x1FF))
    yield "select-in-range", "fine", "another entry between start and end", \
        base.with_entries(e_start(0x100) + e_select(0x30) + e_end(0x1FF))
    yield "duplicate-select", "fine", "the same entry twice", \
        base.with_entries(e_select(0x28) * 2)
    yield "contradicting-select", "fine", "two entries of different settings", \
        base.with_entries(e_select(0x28, 0xFF) + e_select(0x28, 0))
    yield "all-settings", "fine", "all devices may do everything", \
        base.with_entries(e_all(0xFF))
    yield "select-flood", "fine", "as many entries as a block can have", \
        base.with_blocks(base.ivhd(0x40, e_select(0x28) * ((0xFFFF - 40) // 4)))
    yield "one-device-only", "fine", "serves 00:05.0 and nothing else", \
        base.with_blocks(base.ivhd(0x40, e_select(0x28) + IOAPIC))
    for variety in (0, 3, 0xFF):
        yield f"special-variety-{variety}", "fine", "special device of unknown variety", \
            base.with_entries(e_special(variety, 0, 0xA0))
    yield "special-ioapic-unknown-handle", "fine", "I/O APIC 255 is not in the MADT", \
        base.with_entries(e_special(1, 0xFF, 0xA0))
    yield "special-ioapic-twice", "fine", "I/O APIC 0 with two requester IDs", \
        base.with_entries(e_special(1, 0, 0xA0) + e_special(1, 0, 0xFFFF))
    yield "no-ioapic", "fine", "no I/O APIC", \
        base.with_blocks(base.ivhd(0x40, e_start(0) + e_end(0xFFFE)))
    hid = b"AMDI0020"
    for name, expected, entry in (
        ("uid-overrun", "error", e_hid(0xA5, hid, 2, b"ABCD", length=255)),
        ("uid-string-255", "fine", e_hid(0xA5, hid, 2, b"A" * 255)),
        ("uid-string-empty", "fine", e_hid(0xA5, hid, 2, b"")),
        ("uid-string-binary", "fine", e_hid(0xA5, hid, 2, b"%n%s\x1b[2J\0\xff\n")),
        ("uid-int-9-bytes", "error", e_hid(0xA5, hid, 1, bytes(9))),
        ("uid-int-0-bytes", "error", e_hid(0xA5, hid, 1, b"")),
        ("uid-none-with-bytes", "fine", e_hid(0xA5, hid, 0, b"AB")),
        ("uid-format-3", "fine", e_hid(0xA5, hid, 3, b"AB")),
        ("empty", "error", e_hid(0xA5, bytes(8), 0, b"")),
        ("without-device", "fine", e_hid(0xA5, b"XXXX0000", 0, b"")),
    ):
        yield f"hid-{name}", expected, "ACPI device", base.with_entries(entry)
    yield "hid-in-11", "error", "ACPI device in a block of type 11h", \
        base.with_entries(e_hid(0xA5, hid, 0, b""), kind=0x11)


def unit_mutants(base):
    """Yield tables whose units are wrong or unusual."""
    unit40 = base.ivhd(0x40)
    yield "no-ivhd", "fine", "memory, but no unit", \
        base.with_blocks(ivmd(0x20, 7, 0x3000000, 0x1000))
    yield "only-10", "fine", "only a block of type 10h", base.with_blocks(base.ivhd(0x10))
    yield "only-11", "fine", "only a block of type 11h", base.with_blocks(base.ivhd(0x11))
    yield "only-40", "fine", "only a block of type 40h", base.with_blocks(unit40)
    yield "types-downwards", "fine", "types 40h, 11h, 10h in this order", \
        base.with_blocks(unit40, base.ivhd(0x11), base.ivhd(0x10))
    yield "duplicate-ivhd", "error", "two equal blocks", base.with_blocks(unit40, unit40)
    yield "duplicate-ivhd-other-base", "error", "two blocks of a type, different registers", \
        base.with_blocks(unit40, base.ivhd(0x40, base=HOLE_BASE))
    other = base.rid ^ 0x18
    yield "second-unit-same-base", "error", "two units at the same registers", \
        base.with_blocks(unit40, base.ivhd(0x40, rid=other))
    yield "second-unit-hole", "fine", "a second unit where nothing answers", \
        base.with_blocks(unit40, base.ivhd(0x40, e_select(0xFF00), rid=other, base=HOLE_BASE))
    yield "second-unit-first", "fine", "the same, and it comes first", \
        base.with_blocks(base.ivhd(0x40, e_select(0xFF00), rid=other, base=HOLE_BASE), unit40)
    yield "second-unit-older", "fine", "a second unit that has only type 10h", \
        base.with_blocks(unit40, base.ivhd(0x10, e_select(0xFF00), rid=other, base=HOLE_BASE))
    yield "second-unit-serves-all", "fine", "two units that serve the same devices", \
        base.with_blocks(unit40, base.ivhd(0x40, e_all(), rid=other, base=HOLE_BASE))
    for name, address in (
        ("0", 0),
        ("unaligned", base.base + 4),
        ("page-aligned", base.base + 0x1000),
        ("all-ones", (1 << 64) - 1),
        ("last-page", (1 << 64) - 0x1000),
    ):
        yield f"base-{name}", "error", f"registers at {address:#x}", \
            base.with_blocks(base.ivhd(0x40, base=address))
    for name, address in (("hole", HOLE_BASE), ("ram", 0x1000000), ("bit-63", 1 << 63)):
        yield f"base-{name}", "fine", f"registers at {address:#x}", \
            base.with_blocks(base.ivhd(0x40, base=address))
    for cap in (0, 0x41, 0xFFFF):
        yield f"capability-{cap:x}", "fine", "no capability block there", \
            base.with_blocks(base.ivhd(0x40, cap=cap))
    for rid in (0xFFFF, 0x0000):
        yield f"unit-rid-{rid:04x}", "fine", "the unit's function is not there or no IOMMU", \
            base.with_blocks(base.ivhd(0x40, rid=rid))
    yield "segment-ffff", "fine", "a segment that is not there", \
        base.with_blocks(base.ivhd(0x40, segment=0xFFFF))
    yield "efr-all-ones", "fine", "image of the feature register has all bits", \
        base.with_blocks(base.ivhd(0x40, efr=(1 << 64) - 1))
    yield "efr-0", "fine", "image of the feature register has no bit", \
        base.with_blocks(base.ivhd(0x40, efr=0))


def memory_mutants(base):
    """Yield tables whose memory definitions are wrong or unusual."""
    top = (1 << 64) - 1
    for name, expected, why, block in (
        ("zero-length", "error", "empty memory", ivmd(0x20, 7, 0x3000000, 0)),
        ("overflow", "error", "memory beyond 64 bits", ivmd(0x20, 7, top - 0xFFF, 0x2000)),
        ("length-all-ones", "error", "memory beyond 64 bits", ivmd(0x20, 7, 0x1000, top)),
        ("everything", "fine", "memory of nearly 64 bits", ivmd(0x20, 7, 0, top)),
        ("ram-all", "fine", "unity, RAM, all devices", ivmd(0x20, 7, 0x1000000, 0x1000000)),
        ("page-0", "fine", "unity, page 0", ivmd(0x21, 7, 0, 0x1000, rid=0x28)),
        ("unaligned", "fine", "unity, odd ends", ivmd(0x20, 7, 0x3000123, 0x1001)),
        ("msi-window", "fine", "unity over the MSI window", ivmd(0x20, 7, 0xFEE00000, 0x1000)),
        ("exclusion-all", "fine", "exclusion, all", ivmd(0x20, 8, 0x3000000, 0x100000)),
        ("exclusion-one", "fine", "exclusion, one", ivmd(0x21, 8, 0x3000000, 0x1000, rid=0x28)),
        ("unity-no-permission", "fine", "neither read nor write", ivmd(0x20, 1, 0x3000000, 4096)),
        ("no-flags", "fine", "no flag", ivmd(0x20, 0, 0x3000000, 0x1000)),
        ("all-flags", "fine", "all flags", ivmd(0x20, 0xFF, 0x3000000, 0x1000)),
        ("reversed", "error", "last before first", ivmd(0x22, 7, 0x3000000, 4096, 0x30, 0x28)),
        ("range", "fine", "a range", ivmd(0x22, 7, 0x3000000, 0x1000, 0x28, 0x30)),
        ("segment-ffff", "fine", "segment", ivmd(0x20, 7, 0x3000000, 4096, segment=0xFFFF)),
    ):
        yield f"ivmd-{name}", expected, why, base.with_more(block)
    twice = ivmd(0x21, 7, 0x3000000, 0x2000, rid=0x28)
    overlapping = ivmd(0x21, 3, 0x3001000, 0x2000, rid=0x28)
    yield "ivmd-overlapping", "fine", "two regions overlap with different permissions", \
        base.with_more(twice, overlapping)
    yield "ivmd-first", "fine", "memory before the unit", \
        base.with_blocks(twice, base.ivhd(0x40))


def header_mutants(base):
    """Yield tables whose header is wrong. The kernel does not take the refused ones either."""
    wrong = bytearray(base.table)
    wrong[9] = (wrong[9] + 1) & 0xFF
    yield "checksum", "refused", "wrong checksum", bytes(wrong)
    revised = bytearray(base.table)
    revised[8] = 0xFF
    yield "revision-ff", "fine", "unknown revision", finish(revised)
    info = bytearray(base.table)
    struct.pack_into("<I", info, 36, 0xFFFFFFFF)
    yield "ivinfo-all-ones", "fine", "IVinfo has all bits", finish(info)


def mutants(table):
    """Yield (name, expected, description, table) for everything that can be wrong."""
    base = Base(table)
    for make in (
        header_mutants,
        cut_mutants,
        length_mutants,
        entry_mutants,
        unit_mutants,
        memory_mutants,
    ):
        yield from make(base)


if __name__ == "__main__":
    sys.exit(run("IVRS", base_table, mutants, lambda table, args: good(table, *parse_good(args)),
                 "'alias RID SOURCE' (requests of RID arrive as SOURCE) or 'ivmd START LEN RID' (memory that RID uses); "
                 "a RID is BB:DD.F or a number"))
