// SPDX-License-Identifier: GPL-2.0

//! Tests of event decoding: a vector for every code, and every text.

use super::*;
use std::string::ToString;

/// Requester 01:02.3.
const RID: u64 = 0x113;

fn event(code: u64, flags: u64, mid: u64, low: u64, address: u64) -> Event {
    Event::decode([code << 60 | flags << 48 | mid << 32 | low, address]).unwrap()
}

#[test]
fn an_unwritten_entry_is_no_event() {
    assert_eq!(Event::decode([0, 0]), None);
    assert_eq!(Event::decode([mask(59, 0), u64::MAX]), None);
}

#[test]
fn every_code_has_its_text() {
    for (code, flags, mid, low, address, text) in [
        (1, 0, 0, RID, 0, "device table entry is illegal; request blocked (address field 0x0)"),
        (1, 0x080, 0, RID, 0x20, "device table entry is illegal: a reserved bit is set; request blocked (address field 0x20)"),
        (2, 0x020, 5, RID, 0x1000, "write to unmapped IOVA 0x1000 blocked (domain 5)"),
        (2, 0x000, 5, RID, 0, "read of unmapped IOVA 0x0 blocked (domain 5)"),
        (2, 0x002, 5, RID, 0, "execute read of unmapped IOVA 0x0 blocked (domain 5)"),
        (2, 0x050, 5, RID, 0x2000, "read of a mapping without read permission at IOVA 0x2000 blocked (domain 5)"),
        (2, 0x070, 5, RID, 0x2000, "write to a mapping without write permission at IOVA 0x2000 blocked (domain 5)"),
        (2, 0x0b0, 5, RID, 0x2000, "write to IOVA 0x2000 blocked: a table entry has a reserved bit set (domain 5)"),
        (2, 0x010, 5, RID, 0x2000, "read of IOVA 0x2000 blocked by a present table entry (domain 5)"),
        (2, 0x100, 5, RID, 0x2000, "translation request for unmapped IOVA 0x2000 blocked (domain 5)"),
        (2, 0x150, 5, RID, 0x2000, "translation request for IOVA 0x2000 blocked: permission missing (domain 5)"),
        (2, 0x021, 0x5432, RID | 1 << 16, 0x2000, "write to unmapped IOVA 0x2000 blocked (PASID 0x15432)"),
        (2, 0x008, 5, RID, 0xfee0_0000, "interrupt request to 0xfee00000 without a valid entry blocked (domain 5)"),
        (2, 0x018, 5, RID, 0xfee0_0000, "interrupt request to 0xfee00000 refused by its entry blocked (domain 5)"),
        (3, 0x200, 0, RID, 0x9000, "device table entry could not be read at 0x9000: no answer (master abort)"),
        (4, 0x400, 5, RID, 0x9008, "page table could not be read at 0x9008: refused (target abort)"),
        (5, 0, 0, 0, 0x8010, "illegal command at 0x8010"),
        (6, 0x600, 0, 0, 0x8020, "command failed in hardware, access to 0x8020: bad data"),
        (6, 0, 0, 0, 0x8020, "command failed in hardware, access to 0x8020: reserved error type"),
        (7, 0, 0, RID, 0x8030, "device did not answer an IOTLB invalidation in time (command at 0x8030)"),
        (8, 0xa00, 0, RID, 0xfee0_0000, "request of type 5 to 0xfee00000 is not allowed for the device"),
        (9, 0x001, 0x3c05, RID | 0x2345 << 16, 0x4000, "page request 0x5 for 0x4000 (PASID 0xf2345) is invalid"),
        (0xa, 0, 0, 0, 0x89ab_cdef_000f_2345, "performance counter passed zero (note 0xf234589abcdef)"),
        (0xb, 0, 0, 1, 2, "guest event fault 0xb000000000000001 0x0000000000000002"),
        (0xd, 0, 7, RID, 0x6000, "access to guest address 0x6000 refused by the reverse map (guest tag 0x7)"),
        (0xe, 0, 7, RID, 0x6007, "reverse map could not be read for 0x6000 (guest tag 0x7)"),
        (0xc, 0, 0, 1, 2, "unknown event 0xc: 0xc000000000000001 0x0000000000000002"),
        (0xf, 0, 0, 1, 2, "unknown event 0xf: 0xf000000000000001 0x0000000000000002"),
    ] {
        let got = event(code, flags, mid, low, address);
        assert_eq!(got.to_string(), text);
        let about_device = !matches!(code, 5 | 6 | 0xa | 0xb | 0xc | 0xf);
        assert_eq!(got.requester(), about_device.then_some(Rid(RID as u16)), "{text}");
        assert_eq!(got.stops_commands(), matches!(code, 5 | 6), "{text}");
    }
}

#[test]
fn fields_that_the_text_leaves_out_are_decoded() {
    assert_eq!(
        event(8, 0x101, 0x5432, RID | 1 << 16, 0),
        Event::InvalidDeviceRequest {
            rid: Rid(0x113),
            pasid: 0x15432,
            kind: 0,
            flags: Flags(0x101),
            address: Iova(0)
        }
    );
    assert_eq!(
        event(0xd, 0x123, 7, RID | 0xab << 16, 1),
        Event::RmpPageFault {
            rid: Rid(0x113),
            rmp_flags: 0xab,
            vmg_tag: 7,
            flags: Flags(0x123),
            gpa: 1
        }
    );
    let flags = Flags(0x1ff);
    assert!(flags.guest() && flags.execute() && flags.user() && flags.interrupt());
    assert!(flags.present() && flags.write() && flags.permission());
    assert!(flags.reserved() && flags.translation());
}

#[test]
fn nothing_is_claimed_from_an_event_without_payload() {
    // As logged by QEMU 11.1 for device 01:00.0, and for 00:08.0.
    for (word, text) in [
        (0x200a_0000_0000_0000, "device 00.0, flags 0x00a"),
        (0x2009_0000_0000_0040, "device 08.0, flags 0x009"),
    ] {
        let got = Event::decode([word, 0]).unwrap();
        assert_eq!(got.requester(), None);
        assert_eq!(
            got.to_string(),
            std::format!("request blocked (the event gives no address, bus or domain; {text})")
        );
        let Event::IoPageFault(fault) = got else {
            panic!("{got:?}");
        };
        assert_eq!(fault.domain(), None);
    }
    // Each field alone makes it an ordinary event.
    for [w0, w1] in [
        [0x200a_0000_0000_0000, 0x1000],
        [0x200a_0005_0000_0000, 0],
        [0x200a_0000_0000_0100, 0],
        [0x2008_0000_0000_0000, 0],
        [0x2020_0000_0000_0000, 0],
    ] {
        assert!(Event::decode([w0, w1]).unwrap().requester().is_some());
    }
}

#[test]
fn any_words_decode_and_print() {
    for code in 0..16u64 {
        for n in 0..124 {
            let w = 1u128 << n;
            let words = [code << 60 | w as u64 & mask(59, 0), (w >> 60) as u64];
            assert_eq!(
                Event::decode(words).map(|e| e.to_string().is_empty()),
                (code != 0).then_some(false)
            );
        }
    }
}
