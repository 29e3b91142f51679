// SPDX-License-Identifier: GPL-2.0

//! What the machine's owner says about isolation: assertions for single functions, and whether
//! facts by device ID count.

use crate::id::{Rid, Sbdf};
use core::fmt;

/// The owner's policy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy<'a> {
    /// Functions that the owner asserts to isolate.
    pub asserted: Asserted<'a>,
    /// Isolation that only a fact by device ID speaks for counts as none.
    pub hardened: bool,
}

/// A list of functions, by address (`0000:01:00.0`, `01:00.0`) or by vendor and device ID
/// (`8086:10d3`), separated by commas.
///
/// # Invariants
///
/// Every item parses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asserted<'a>(&'a str);

/// An item that is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadItem<'a>(pub &'a str);

impl fmt::Display for BadItem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is neither an address like 0000:01:00.0 nor VENDOR:DEVICE like 8086:10d3",
            self.0
        )
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Item {
    Address(Sbdf),
    Ids(u16, u16),
}

impl<'a> Asserted<'a> {
    /// Reads a list; an empty text is an empty list.
    ///
    /// # Errors
    ///
    /// The first item that is wrong.
    pub fn parse(text: &'a str) -> Result<Self, BadItem<'a>> {
        match items(text).find(|item| parse_item(item).is_none()) {
            Some(bad) => Err(BadItem(bad)),
            // INVARIANT: just checked.
            None => Ok(Self(text)),
        }
    }

    /// Does the list have nothing in it?
    pub fn is_empty(&self) -> bool {
        items(self.0).next().is_none()
    }

    /// Does the list name this function?
    pub fn covers(&self, id: Sbdf, vendor: u16, device: u16) -> bool {
        items(self.0)
            .filter_map(parse_item)
            .any(|item| item == Item::Address(id) || item == Item::Ids(vendor, device))
    }
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|s| !s.is_empty())
}

/// A number of exactly `digits` hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u16> {
    let all_hex = text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    all_hex
        .then(|| u16::from_str_radix(text, 16).ok())
        .flatten()
}

fn parse_item(text: &str) -> Option<Item> {
    let Some((front, func)) = text.rsplit_once('.') else {
        let (vendor, device) = text.split_once(':')?;
        return Some(Item::Ids(hex(vendor, 4)?, hex(device, 4)?));
    };
    let (front, dev) = front.rsplit_once(':')?;
    let (segment, bus) = match front.split_once(':') {
        Some((segment, bus)) => (hex(segment, 4)?, bus),
        None => (0, front),
    };
    let bus = u8::try_from(hex(bus, 2)?).ok()?;
    let dev = u8::try_from(hex(dev, 2)?).ok().filter(|dev| *dev < 32)?;
    let func = u8::try_from(hex(func, 1)?).ok().filter(|func| *func < 8)?;
    Some(Item::Address(Sbdf {
        segment,
        rid: Rid::new(bus, dev, func),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NIC: Sbdf = Sbdf {
        segment: 0,
        rid: Rid::new(1, 0, 0),
    };

    #[test]
    fn addresses_and_ids_are_found() {
        let far = Sbdf { segment: 1, ..NIC };
        for (text, id, vendor, device, covered) in [
            ("", NIC, 0x8086, 0x10d3, false),
            ("01:00.0", NIC, 0, 0, true),
            ("0000:01:00.0", NIC, 0, 0, true),
            ("0001:01:00.0", NIC, 0, 0, false),
            ("01:00.0", far, 0, 0, false),
            ("01:00.1, 8086:10D3", NIC, 0x8086, 0x10d3, true),
            ("8086:10d3", NIC, 0x8086, 0x10d4, false),
        ] {
            let list = Asserted::parse(text).unwrap();
            assert_eq!(list.covers(id, vendor, device), covered, "{text}");
        }
        assert!(Asserted::parse(" , ").unwrap().is_empty());
    }

    #[test]
    fn wrong_items_are_named() {
        for bad in [
            "foo",
            "1:00.0",
            "01:20.0",
            "01:00.8",
            "8086",
            "8086:10d",
            "01:00",
            "+1:00.0",
            "x:01:00.0",
            "00000:01:00.0",
            "0000:01:00.",
            "0:0:0:0",
        ] {
            let text = std::format!("01:00.0,{bad}");
            assert_eq!(Asserted::parse(&text).err(), Some(BadItem(bad)), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: std::string::String) {
            let _ = Asserted::parse(&text).map(|list| list.covers(NIC, 1, 2));
        }
    }
}
