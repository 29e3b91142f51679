// SPDX-License-Identifier: GPL-2.0

//! Ranges of requester IDs that a unit serves: device entries with starts and ends paired.
//!
//! Source: AMD I/O Virtualization Technology (IOMMU) Specification, 48882, Rev 3.10, 5.2.2
//! (IVHD device entries).

use crate::id::Rid;

use super::entries::Entries;
use super::entry::{DteSettings, Entry};
use super::Error;

/// Requester IDs that share settings, both ends inclusive.
///
/// # Invariants
///
/// `first <= last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRange {
    /// First requester ID.
    pub first: Rid,
    /// Last requester ID.
    pub last: Rid,
    /// The requester ID their requests carry when they reach the unit, if another. It needs the
    /// same settings, whether or not an entry of its own says so.
    pub alias: Option<Rid>,
    /// Settings.
    pub settings: DteSettings,
    /// Extended settings, zero where the entry has none.
    pub ext: u32,
}

impl DeviceRange {
    /// Returns `true` if `rid` is in the range.
    pub fn contains(&self, rid: Rid) -> bool {
        self.first <= rid && rid <= self.last
    }
}

/// The [`DeviceRange`]s of one block, in table order: later ones override earlier ones.
///
/// A range comes where its end is. Entries between a start and its end are taken as they are.
/// What is unpaired or reversed costs one error and only itself. There are at most as many items
/// as twice the entries, and one. Special and ACPI devices are no ranges: see
/// [`super::Ivhd::entries`].
#[derive(Clone, Debug)]
pub struct DeviceRanges<'a> {
    entries: Entries<'a>,
    /// The range that is open, with the offset of its start. `last` is `first` meanwhile.
    open: Option<(usize, DeviceRange)>,
}

impl<'a> DeviceRanges<'a> {
    pub(super) const fn new(entries: Entries<'a>) -> Self {
        Self {
            entries,
            open: None,
        }
    }

    /// Opens a range; the error is that of the range that was open.
    fn start(&mut self, offset: usize, range: DeviceRange) -> Result<(), Error> {
        match self.open.replace((offset, range)) {
            Some((offset, DeviceRange { first, .. })) => {
                Err(Error::UnpairedStart { offset, first })
            }
            None => Ok(()),
        }
    }

    /// Closes the open range.
    fn end(&mut self, offset: usize, last: Rid) -> Result<DeviceRange, Error> {
        let Some((_, range)) = self.open.take() else {
            return Err(Error::UnpairedEnd { offset, last });
        };
        if last < range.first {
            return Err(Error::ReversedRange {
                offset,
                first: range.first,
                last,
            });
        }
        // INVARIANT: just checked.
        Ok(DeviceRange { last, ..range })
    }
}

impl Iterator for DeviceRanges<'_> {
    type Item = Result<DeviceRange, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        // Each turn takes an entry, of which there are a bounded number.
        loop {
            let offset = self.entries.offset();
            let Some(entry) = self.entries.next() else {
                let (offset, DeviceRange { first, .. }) = self.open.take()?;
                return Some(Err(Error::UnpairedStart { offset, first }));
            };
            // INVARIANT: one requester ID, so both ends are the same.
            let one = |rid, alias, settings, ext| DeviceRange {
                first: rid,
                last: rid,
                alias,
                settings,
                ext,
            };
            let (range, opens) = match entry {
                Err(error) => return Some(Err(error)),
                Ok(Entry::All { settings }) => {
                    let all = DeviceRange {
                        first: Rid(0),
                        last: Rid(u16::MAX),
                        alias: None,
                        settings,
                        ext: 0,
                    };
                    (all, false)
                }
                Ok(Entry::Select { rid, settings }) => (one(rid, None, settings, 0), false),
                Ok(Entry::RangeStart { rid, settings }) => (one(rid, None, settings, 0), true),
                Ok(Entry::AliasSelect {
                    rid,
                    settings,
                    source,
                }) => (one(rid, Some(source), settings, 0), false),
                Ok(Entry::AliasRangeStart {
                    rid,
                    settings,
                    source,
                }) => (one(rid, Some(source), settings, 0), true),
                Ok(Entry::ExtSelect { rid, settings, ext }) => {
                    (one(rid, None, settings, ext), false)
                }
                Ok(Entry::ExtRangeStart { rid, settings, ext }) => {
                    (one(rid, None, settings, ext), true)
                }
                Ok(Entry::RangeEnd { rid }) => return Some(self.end(offset, rid)),
                Ok(
                    Entry::Pad4
                    | Entry::Pad8
                    | Entry::Special { .. }
                    | Entry::AcpiHid { .. }
                    | Entry::Unknown { .. },
                ) => continue,
            };
            if !opens {
                return Some(Ok(range));
            }
            if let Err(error) = self.start(offset, range) {
                return Some(Err(error));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acpi::ivrs::ivhd::Kind;
    use std::vec::Vec;

    fn ranges(bytes: &[u8]) -> Vec<Result<DeviceRange, Error>> {
        DeviceRanges::new(Entries::new(bytes, 0, Kind::V40)).collect()
    }

    fn range(first: u16, last: u16, alias: Option<u16>, ext: u32) -> DeviceRange {
        DeviceRange {
            first: Rid(first),
            last: Rid(last),
            alias: alias.map(Rid),
            settings: DteSettings(7),
            ext,
        }
    }

    #[test]
    fn every_selecting_entry_becomes_a_range() {
        let bytes = [
            &[1, 0, 0, 7][..],
            &[2, 8, 0, 7],
            &[3, 16, 0, 7, 0, 0, 0, 0, 4, 24, 0, 0],
            &[0x42, 1, 0, 7, 0, 2, 0, 0],
            &[0x43, 0, 1, 7, 0, 5, 0, 0, 4, 0xff, 1, 0],
            &[0x46, 3, 0, 7, 0, 0, 0, 0x80],
            &[0x47, 4, 0, 7, 1, 0, 0, 0, 4, 4, 0, 0],
            &[0x48, 0, 0, 7, 0, 0xa0, 0, 1],
        ]
        .concat();
        let all = ranges(&bytes);
        assert_eq!(
            all,
            [
                Ok(range(0, 0xffff, None, 0)),
                Ok(range(8, 8, None, 0)),
                Ok(range(16, 24, None, 0)),
                Ok(range(1, 1, Some(2), 0)),
                Ok(range(0x100, 0x1ff, Some(5), 0)),
                Ok(range(3, 3, None, 0x8000_0000)),
                Ok(range(4, 4, None, 1)),
            ]
        );
        assert!(range(1, 2, None, 0).contains(Rid(2)));
        assert!(!range(1, 2, None, 0).contains(Rid(3)));
    }

    #[test]
    fn an_entry_between_start_and_end_is_taken_as_it_is() {
        assert_eq!(
            ranges(&[3, 1, 0, 7, 2, 9, 0, 7, 4, 2, 0, 0]),
            [Ok(range(9, 9, None, 0)), Ok(range(1, 2, None, 0))]
        );
    }

    #[test]
    fn each_bad_range_costs_one_error_and_only_itself() {
        let bytes = [
            // End without start; start; start again; reversed; fine; start without end.
            4, 5, 0, 0, 3, 1, 0, 7, 3, 9, 0, 7, 4, 8, 0, 0, 3, 1, 0, 7, 4, 2, 0, 0, 3, 6, 0, 7,
        ];
        let (first, last) = (Rid(9), Rid(8));
        assert_eq!(
            ranges(&bytes),
            [
                Err(Error::UnpairedEnd {
                    offset: 0,
                    last: Rid(5)
                }),
                Err(Error::UnpairedStart {
                    offset: 4,
                    first: Rid(1)
                }),
                Err(Error::ReversedRange {
                    offset: 12,
                    first,
                    last
                }),
                Ok(range(1, 2, None, 0)),
                Err(Error::UnpairedStart {
                    offset: 24,
                    first: Rid(6)
                }),
            ]
        );
    }

    #[test]
    fn the_error_of_an_entry_is_passed_on() {
        let out = ranges(&[3, 1, 0, 7, 0xff, 0, 0, 0]);
        assert_eq!(
            out,
            [
                Err(Error::EntryLengthUnknown {
                    offset: 4,
                    kind: 0xff
                }),
                Err(Error::UnpairedStart {
                    offset: 0,
                    first: Rid(1)
                })
            ]
        );
    }
}
