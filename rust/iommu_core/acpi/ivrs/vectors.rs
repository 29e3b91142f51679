// SPDX-License-Identifier: GPL-2.0

//! Tables for the tests, built as firmware builds them.

use std::vec::Vec;

/// Makes a table of `blocks`, with a right length and checksum.
pub(crate) fn table(blocks: &[u8]) -> Vec<u8> {
    let mut t = std::vec![0u8; 48];
    t[..4].copy_from_slice(b"IVRS");
    t[8] = 1;
    t[10..16].copy_from_slice(b"BOCHS ");
    t[16..24].copy_from_slice(b"BXPC    ");
    t[24] = 1;
    t[36..40].copy_from_slice(&0x2801u32.to_le_bytes());
    t.extend_from_slice(blocks);
    fix(&mut t);
    t
}

/// Sets length and checksum right again.
pub(crate) fn fix(t: &mut [u8]) {
    let len = u32::try_from(t.len()).unwrap();
    t[4..8].copy_from_slice(&len.to_le_bytes());
    t[9] = 0;
    t[9] = t.iter().fold(0u8, |sum, &b| sum.wrapping_sub(b));
}

/// Makes a hardware definition block.
pub(crate) fn ivhd(
    kind: u8,
    flags: u8,
    rid: u16,
    segment: u16,
    base: u64,
    entries: &[u8],
) -> Vec<u8> {
    let header_len = if kind == 0x10 { 24 } else { 40 };
    let mut b = std::vec![0u8; header_len];
    b[0] = kind;
    b[1] = flags;
    let len = u16::try_from(header_len + entries.len()).unwrap();
    b[2..4].copy_from_slice(&len.to_le_bytes());
    b[4..6].copy_from_slice(&rid.to_le_bytes());
    b[6] = 0x40;
    b[8..16].copy_from_slice(&base.to_le_bytes());
    b[16..18].copy_from_slice(&segment.to_le_bytes());
    if kind == 0x10 {
        b[20] = 0x44;
    } else {
        b[24..32].copy_from_slice(&0x29d3u64.to_le_bytes());
    }
    b.extend_from_slice(entries);
    b
}

/// Device entries that QEMU 11.1 writes for functions of bus 0, a root port with bus 1 and a
/// conventional bridge at 00:05.0 with bus 2.
pub(crate) const QEMU_ENTRIES: [u8; 44] = [
    0x02, 0x00, 0x00, 0x00, // 00:00.0
    0x02, 0x10, 0x00, 0x00, // 00:02.0, the unit itself
    0x02, 0x20, 0x00, 0x00, // 00:04.0, the root port
    0x03, 0x00, 0x01, 0x00, 0x04, 0xff, 0x01, 0x00, // 01:00.0 to 01:1f.7
    0x02, 0x28, 0x00, 0x00, // 00:05.0, the bridge
    0x43, 0x00, 0x02, 0x00, 0x00, 0x00, 0x02, 0x00, // from 02:00.0, arriving as 02:00.0
    0x04, 0xff, 0x02, 0x00, // to 02:1f.7
    0x48, 0x00, 0x00, 0x00, 0x00, 0xa0, 0x00, 0x01, // I/O APIC 0 as 00:14.0
];

/// A table as QEMU 11.1 generates it.
pub(crate) fn qemu() -> Vec<u8> {
    let base = 0xfed8_0000;
    let v10 = ivhd(0x10, 0xd1, 0x10, 0, base, &QEMU_ENTRIES);
    let v11 = ivhd(0x11, 0x11, 0x10, 0, base, &QEMU_ENTRIES);
    table(&[v10, v11].concat())
}

/// A table with every type of block and entry.
pub(crate) fn rich() -> Vec<u8> {
    let mut entries = QEMU_ENTRIES.to_vec();
    entries.extend_from_slice(&[0; 4]);
    entries.extend_from_slice(&[0x40, 0, 0, 0, 0, 0, 0, 0]);
    entries.extend_from_slice(&[0x01, 0, 0, 0xd7]);
    entries.extend_from_slice(&[0x42, 0x00, 0x03, 0, 0, 0x01, 0x03, 0]);
    entries.extend_from_slice(&[0x46, 0x02, 0x03, 0, 0, 0, 0, 0x80]);
    entries.extend_from_slice(&[0x47, 0x03, 0x03, 0, 0, 0, 0, 0x80, 4, 0x05, 0x03, 0]);
    entries.extend_from_slice(&[0x48, 0, 0, 0, 0, 0xa0, 0, 2]);
    entries.extend_from_slice(&[0x80; 16]);
    entries.extend_from_slice(b"\xf0\xa5\x00\x40AMDI0020AMDI0010\x02\x03FUR");
    entries.extend_from_slice(b"\xf0\xa6\x00\x40AMDI0020\0\0\0\0\0\0\0\0\x01\x01\x07");
    let v40 = ivhd(0x40, 0x30, 0x10, 0, 0xfed8_0000, &entries);
    let mut ivmds = Vec::new();
    for kind in [0x20u8, 0x21, 0x22] {
        let mut b = [0u8; 32];
        b[..8].copy_from_slice(&[kind, 7, 32, 0, 0x28, 0, 0x2f, 0]);
        b[16..24].copy_from_slice(&0x300_0000u64.to_le_bytes());
        b[24..32].copy_from_slice(&0x10_0000u64.to_le_bytes());
        ivmds.extend_from_slice(&b);
    }
    let mut bytes = qemu();
    bytes.extend_from_slice(&v40);
    bytes.extend_from_slice(&ivmds);
    bytes.extend_from_slice(&[0x51, 8, 8, 0, 1, 2, 3, 4]);
    fix(&mut bytes);
    bytes
}
