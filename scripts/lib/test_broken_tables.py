#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Check the makers of broken tables and acpi_override.py: every file written is one that the kernel takes.

Run it as it is; what the parser says of the mutants is rust/iommu_core/tests/table_mutants.rs.
"""

import os
import struct
import subprocess
import sys
import tempfile
import unittest

import acpi_override
import dmar_mutants
import ivrs_mutants
import ivrs_table

HERE = os.path.dirname(os.path.abspath(__file__))


def entries_of(archive):
    """Return the entries of a newc archive as (name, data), as a reader of its own sees them."""
    out = []
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        size, name_len = fields[6], fields[11]
        name = archive[at + 110 : at + 110 + name_len - 1].decode()
        start = (at + 110 + name_len + 3) & ~3
        out.append((name, archive[start : start + size]))
        at = (start + size + 3) & ~3
        if name == "TRAILER!!!":
            return out


class Mutants(unittest.TestCase):
    signature, maker = b"IVRS", ivrs_mutants

    def setUp(self):
        self.base = self.maker.base_table()
        self.all = list(self.maker.mutants(self.base))

    def test_names_are_unique_and_there_are_enough(self):
        names = [name for name, *_ in self.all]
        self.assertEqual(len(names), len(set(names)))
        self.assertGreaterEqual(len(names), 48)

    def test_the_kernel_takes_each_but_the_wrong_checksum(self):
        for name, _, _, table in self.all:
            with self.subTest(name):
                why = acpi_override.complaint(table)
                self.assertEqual(why, "checksum is wrong" if name == "checksum" else None)
                self.assertEqual(table[:4], self.signature)
                self.assertEqual(table[10:24], b"BOCHS BXPC    ")
                self.assertEqual(struct.unpack_from("<I", table, 24)[0], 2)

    def test_each_differs_from_the_base_and_from_each_other(self):
        seen = {self.base: "the base"}
        for name, _, _, table in self.all:
            self.assertTrue(table not in seen, f"{name} is {seen.get(table)}")
            seen[table] = name


class DmarMutants(Mutants):
    signature, maker = b"DMAR", dmar_mutants

    def test_what_the_c_driver_does_not_survive_is_known(self):
        self.assertTrue(dmar_mutants.c_driver_survives(self.base))
        hang = {name for name, _, _, table in self.all if not dmar_mutants.c_driver_survives(table)}
        self.assertIn("drhd-length-0", hang)
        self.assertIn("scope-length-0", hang)
        self.assertIn("base-all-ones", hang)
        self.assertLess(len(hang), len(self.all) // 2)


class Base(unittest.TestCase):
    def setUp(self):
        self.base = ivrs_table.base_table()

    def test_the_base_is_what_qemu_makes(self):
        kinds = [kind for kind, _ in ivrs_table.blocks_of(self.base)]
        self.assertEqual(kinds, [0x10, 0x11])
        _, block = ivrs_table.blocks_of(self.base)[1]
        self.assertEqual(struct.unpack_from("<BHHQ", block, 1)[0], 0x11)
        self.assertEqual(struct.unpack_from("<Q", block, 24)[0], 0x29D3)


class Good(unittest.TestCase):
    def setUp(self):
        self.base = ivrs_table.base_table()

    def test_an_alias_is_added_to_every_block(self):
        table = ivrs_table.good(self.base, "alias", (0x28, 0xFF))
        self.assertIsNone(acpi_override.complaint(table))
        blocks = ivrs_table.blocks_of(table)
        self.assertEqual([kind for kind, _ in blocks], [0x10, 0x11])
        for _, block in blocks:
            self.assertTrue(block.endswith(b"\x42\x28\x00\x00\x00\xff\x00\x00"))

    def test_memory_is_added_at_the_end(self):
        table = ivrs_table.good(self.base, "ivmd", (0x3000000, 0x100000, 0x28))
        self.assertIsNone(acpi_override.complaint(table))
        kind, block = ivrs_table.blocks_of(table)[-1]
        self.assertEqual((kind, block[1], block[4]), (0x21, 7, 0x28))
        self.assertEqual(struct.unpack_from("<QQ", block, 16), (0x3000000, 0x100000))

    def test_requester_ids_are_read_as_lspci_writes_them(self):
        self.assertEqual(ivrs_table.rid_of("01:1f.7"), 0x1FF)
        self.assertEqual(ivrs_table.rid_of("0x28"), 0x28)
        for wrong in ("00:20.0", "00:00.8", "0x10000", "-1", "100:00.0", "x"):
            with self.assertRaises(ValueError, msg=wrong):
                ivrs_table.rid_of(wrong)

    def test_a_wrong_base_is_refused(self):
        for wrong in (b"", b"IVRS", bytes(64), self.base[:48], self.base[:-1]):
            with self.assertRaises(ValueError):
                ivrs_table.Base(wrong)


class Override(unittest.TestCase):
    def test_the_archive_has_the_folders_and_the_table(self):
        table = ivrs_table.base_table() + b"odd"
        archive = acpi_override.override_cpio(table, "IVRS")
        self.assertEqual(len(archive) % 512, 0)
        self.assertEqual(
            entries_of(archive),
            [
                ("kernel", b""),
                ("kernel/firmware", b""),
                ("kernel/firmware/acpi", b""),
                ("kernel/firmware/acpi/IVRS.aml", table),
                ("TRAILER!!!", b""),
            ],
        )

    def test_a_file_gives_the_same_archive_as_its_bytes(self):
        table = ivrs_table.base_table()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "t")
            with open(path, "wb") as file:
                file.write(table)
            archive = acpi_override.override_cpio(path, "IVRS")
        self.assertEqual(archive, acpi_override.override_cpio(table, "IVRS"))

    def test_what_the_kernel_refuses_is_named(self):
        table = ivrs_table.base_table()
        self.assertIn("shorter", acpi_override.complaint(table[:20]))
        self.assertIn("length", acpi_override.complaint(table[:-1]))
        self.assertIn("checksum", acpi_override.complaint(table[:-1] + b"\x99"))


class Commands(unittest.TestCase):
    def run_script(self, name, *args):
        return subprocess.run(
            [sys.executable, "-B", os.path.join(HERE, name), *args],
            capture_output=True,
            text=True,
            check=False,
        )

    def test_the_folder_holds_what_the_manifest_says(self):
        with tempfile.TemporaryDirectory() as folder:
            done = self.run_script("ivrs_mutants.py", "--out", folder, "--list")
            self.assertEqual(done.returncode, 0, done.stderr)
            names = [line.split("\t")[0] for line in done.stdout.splitlines()]
            self.assertEqual(sorted(os.listdir(folder)), sorted([*names, "MANIFEST.tsv"]))

    def test_a_table_is_packed_and_a_wrong_one_only_by_force(self):
        with tempfile.TemporaryDirectory() as folder:
            table, out = os.path.join(folder, "t"), os.path.join(folder, "o")
            done = self.run_script("ivrs_mutants.py", "-o", table, "--good", "alias", "1", "2")
            self.assertEqual(done.returncode, 0, done.stderr)
            done = self.run_script("acpi_override.py", table, "-o", out)
            self.assertEqual(done.returncode, 0, done.stderr)
            os.remove(out)
            with open(table, "ab") as file:
                file.write(b"\0")
            done = self.run_script("acpi_override.py", table, "-o", out)
            self.assertEqual(done.returncode, 1)
            self.assertIn("length field", done.stderr)
            self.assertFalse(os.path.exists(out))
            done = self.run_script("acpi_override.py", table, "-o", out, "--force")
            self.assertEqual(done.returncode, 0)

    def test_wrong_arguments_are_a_message_not_a_traceback(self):
        for args in (("--good", "alias", "1"), ("--good", "alias", "x", "2"), ("--base", "/")):
            with tempfile.TemporaryDirectory() as folder:
                done = self.run_script("ivrs_mutants.py", "-o", os.path.join(folder, "o"), *args)
                self.assertEqual(done.returncode, 1)
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)


if __name__ == "__main__":
    unittest.main()
