// SPDX-License-Identifier: GPL-2.0

//! IOVA allocation: bitmaps of windows, lowest addresses first.
//!
//! The space is cut into windows of 32768 pages (128 MiB), each with a bitmap of one page that
//! the caller provides when it is first needed ("ask, do not allocate"). A request is placed at a
//! multiple of its size rounded up to a power of two, so it never crosses a segment boundary that
//! is at least as large as that. A window is searched from where the last request ended, then
//! from its start: consecutive requests get ascending addresses, and the work of one call is at
//! most [`WORDS`] words for each window below the limit that has enough free pages.

use core::marker::PhantomData;

use crate::addr::{
    Iova,
    Range,
    PAGE_SHIFT,
    PAGE_SIZE, //
};

/// Words of a window's bitmap.
pub const WORDS: usize = 512;
/// Pages of a window.
pub const WINDOW_PAGES: u32 = 32768;
/// log2 of the bytes of a window.
pub const WINDOW_SHIFT: u32 = 27;
/// Reserved ranges one allocator can hold.
pub const MAX_RESERVED: usize = 32;

/// The bitmap of a window: a set bit is a page in use or reserved.
pub type Bits = [u64; WORDS];

/// A window's place in the caller's table.
pub struct Slot<B> {
    bits: Option<B>,
    free: u32,
    next: u32,
}

impl<B> Slot<B> {
    /// A window whose bitmap has not been asked for yet.
    pub const EMPTY: Self = Self {
        bits: None,
        free: WINDOW_PAGES,
        next: 0,
    };
}

/// A request for addresses.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Pages, at least one.
    pub pages: u32,
    /// The highest byte that may be used, inclusive.
    pub limit: u64,
    /// A mask that the range must not cross, all ones below the boundary; `u64::MAX` for none.
    pub boundary: u64,
}

/// Why no addresses were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The caller must install a bitmap for this window and ask again.
    NeedWindow(usize),
    /// All addresses below the limit are in use.
    Full,
    /// No pages, or more than a window, the limit or the boundary can hold.
    Impossible,
}

/// A release that does not match an allocation. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFree {
    /// The range was never given out, at least in part: wild, or freed twice.
    NotInUse(Iova),
    /// The range is reserved.
    Reserved(Range),
}

/// Pages by state, of the windows with a bitmap; the rest is free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Windows with a bitmap.
    pub windows: usize,
    /// Free pages in them.
    pub free: u64,
    /// Pages given out or reserved in them.
    pub used: u64,
}

/// The allocator over a caller's table of windows.
pub struct Allocator<S, B> {
    slots: S,
    blocks: PhantomData<B>,
    reserved: [Option<Range>; MAX_RESERVED],
}

impl<S, B> Allocator<S, B>
where
    S: AsRef<[Slot<B>]> + AsMut<[Slot<B>]>,
    B: AsMut<Bits> + AsRef<Bits>,
{
    /// An allocator for the windows from address 0 on. Page 0 is reserved.
    pub fn new(slots: S) -> Self {
        let mut reserved = [None; MAX_RESERVED];
        if let Some(first) = reserved.first_mut() {
            *first = Range::with_len(0, PAGE_SIZE);
        }
        Self {
            slots,
            blocks: PhantomData,
            reserved,
        }
    }

    /// Keeps a range out of all further allocations; rounded outward to pages. A range that is
    /// reserved already is fine.
    ///
    /// # Errors
    ///
    /// [`Refusal::Full`] if there are [`MAX_RESERVED`] others.
    pub fn reserve(&mut self, range: Range) -> Result<(), Refusal> {
        let range = range.page_cover();
        if self.is_reserved(&range) {
            return Ok(());
        }
        let free = self.reserved.iter_mut().find(|r| r.is_none());
        *free.ok_or(Refusal::Full)? = Some(range);
        for (i, slot) in self.slots.as_mut().iter_mut().enumerate() {
            if let Some(bits) = &mut slot.bits {
                let newly = mark(bits.as_mut(), i, &range);
                slot.free = slot.free.saturating_sub(newly);
            }
        }
        Ok(())
    }

    /// Lies the range wholly in one that is reserved?
    pub fn is_reserved(&self, range: &Range) -> bool {
        self.reserved.iter().flatten().any(|r| r.contains(range))
    }

    /// Gives a window its bitmap, all zero; returns it if the window has one by now.
    pub fn install(&mut self, window: usize, mut bits: B) -> Result<(), B> {
        match self.slots.as_mut().get_mut(window) {
            Some(slot) if slot.bits.is_none() => {
                let mut used = 0u32;
                for r in self.reserved.iter().flatten() {
                    used = used.saturating_add(mark(bits.as_mut(), window, r));
                }
                slot.free = WINDOW_PAGES.saturating_sub(used);
                slot.bits = Some(bits);
                Ok(())
            }
            _ => Err(bits),
        }
    }

    /// Finds and takes addresses.
    ///
    /// # Errors
    ///
    /// See [`Refusal`].
    pub fn alloc(&mut self, req: Request) -> Result<Iova, Refusal> {
        let step = match req.pages {
            1..=WINDOW_PAGES => req.pages.next_power_of_two(),
            _ => return Err(Refusal::Impossible),
        };
        let bytes = u64::from(req.pages) << PAGE_SHIFT;
        let whole_step = (u64::from(step) << PAGE_SHIFT).wrapping_sub(1);
        if req.boundary < whole_step || req.limit < bytes.saturating_sub(1) {
            return Err(Refusal::Impossible);
        }
        for (i, slot) in self.slots.as_mut().iter_mut().enumerate() {
            // CAST: usize to u64 never loses a bit here.
            let base = (i as u64) << WINDOW_SHIFT;
            let room = match req.limit.checked_sub(base) {
                Some(room) => room.saturating_add(1) >> PAGE_SHIFT,
                None => break,
            };
            let room = u32::try_from(room)
                .unwrap_or(WINDOW_PAGES)
                .min(WINDOW_PAGES);
            if slot.free < req.pages || room < req.pages {
                continue;
            }
            let Some(bits) = &mut slot.bits else {
                return Err(Refusal::NeedWindow(i));
            };
            let bits = bits.as_mut();
            let from = slot.next.next_multiple_of(step);
            let found = find(bits, from, room, req.pages, step)
                .or_else(|| find(bits, 0, room.min(from), req.pages, step));
            if let Some(page) = found {
                set(bits, page, req.pages);
                slot.free = slot.free.saturating_sub(req.pages);
                slot.next = page.saturating_add(req.pages);
                return Ok(Iova(base.saturating_add(u64::from(page) << PAGE_SHIFT)));
            }
        }
        Err(Refusal::Full)
    }

    /// Takes an exact range for a mapping that someone else has placed. A range inside a reserved
    /// one, or beyond all windows, is nobody else's to give and always fine.
    ///
    /// # Errors
    ///
    /// [`Refusal::Full`] if a page of it is in use, [`Refusal::NeedWindow`].
    pub fn claim(&mut self, range: Range) -> Result<(), Refusal> {
        let range = range.page_cover();
        if self.is_reserved(&range) {
            return Ok(());
        }
        for (i, page, pages) in pieces(range) {
            match self.slots.as_mut().get_mut(i) {
                None => break,
                Some(Slot { bits: None, .. }) => return Err(Refusal::NeedWindow(i)),
                Some(Slot { bits: Some(b), .. }) => {
                    if !all(b.as_ref(), page, pages, false) {
                        return Err(Refusal::Full);
                    }
                }
            }
        }
        for (i, page, pages) in pieces(range) {
            let Some(slot) = self.slots.as_mut().get_mut(i) else {
                break;
            };
            if let Some(b) = &mut slot.bits {
                set(b.as_mut(), page, pages);
                slot.free = slot.free.saturating_sub(pages);
            }
        }
        Ok(())
    }

    /// Gives a whole allocation or claim back.
    ///
    /// # Errors
    ///
    /// [`BadFree`] if the range is not in use as a whole; the caller reports it and leaks.
    pub fn release(&mut self, range: Range) -> Result<(), BadFree> {
        let range = range.page_cover();
        if let Some(r) = self.reserved.iter().flatten().find(|r| r.overlaps(&range)) {
            return Err(BadFree::Reserved(*r));
        }
        for (i, page, pages) in pieces(range) {
            let in_use = match self.slots.as_ref().get(i) {
                Some(Slot { bits: Some(b), .. }) => all(b.as_ref(), page, pages, true),
                _ => false,
            };
            if !in_use {
                return Err(BadFree::NotInUse(Iova(range.first())));
            }
        }
        for (i, page, pages) in pieces(range) {
            if let Some(slot) = self.slots.as_mut().get_mut(i) {
                if let Some(b) = &mut slot.bits {
                    clear(b.as_mut(), page, pages);
                    slot.free = slot.free.saturating_add(pages);
                }
            }
        }
        Ok(())
    }

    /// Counts pages by state.
    pub fn counts(&self) -> Counts {
        let mut c = Counts::default();
        for slot in self.slots.as_ref() {
            if let Some(bits) = &slot.bits {
                c.windows = c.windows.saturating_add(1);
                let used: u32 = bits.as_ref().iter().map(|w| w.count_ones()).sum();
                c.used = c.used.saturating_add(used.into());
                c.free = c.free.saturating_add(slot.free.into());
            }
        }
        c
    }
}

/// Cuts a page-aligned range into (window, first page, pages).
fn pieces(range: Range) -> impl Iterator<Item = (usize, u32, u32)> {
    let mut next = Some(range.first());
    core::iter::from_fn(move || {
        let at = next.filter(|a| *a <= range.last())?;
        let window = at >> WINDOW_SHIFT;
        let end = (at | ((1u64 << WINDOW_SHIFT).wrapping_sub(1))).min(range.last());
        next = end.checked_add(1);
        // CAST: a page of a window has 15 bits.
        let page = ((at >> PAGE_SHIFT) as u32) & WINDOW_PAGES.wrapping_sub(1);
        let pages = (end.wrapping_sub(at) >> PAGE_SHIFT) as u32;
        Some((usize::try_from(window).ok()?, page, pages.saturating_add(1)))
    })
}

/// The bits of `pages` pages from `page` on that lie in each word: (word, mask).
fn words(page: u32, pages: u32) -> impl Iterator<Item = (usize, u64)> {
    let end = page.saturating_add(pages).min(WINDOW_PAGES);
    let mut at = page;
    core::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let bit = at & 63;
        let n = end.wrapping_sub(at).min(64u32.wrapping_sub(bit));
        let mask = (u64::MAX >> 64u32.wrapping_sub(n).min(63)) << bit;
        // CAST: below 512.
        let word = (at >> 6) as usize;
        at = at.wrapping_add(n);
        Some((word, mask))
    })
}

fn set(bits: &mut Bits, page: u32, pages: u32) {
    for (w, mask) in words(page, pages) {
        if let Some(word) = bits.get_mut(w) {
            *word |= mask;
        }
    }
}

fn clear(bits: &mut Bits, page: u32, pages: u32) {
    for (w, mask) in words(page, pages) {
        if let Some(word) = bits.get_mut(w) {
            *word &= !mask;
        }
    }
}

/// Are all these pages in use (`used`), or all free?
fn all(bits: &Bits, page: u32, pages: u32, used: bool) -> bool {
    words(page, pages).all(|(w, mask)| match bits.get(w) {
        Some(word) if used => word & mask == mask,
        Some(word) => word & mask == 0,
        None => false,
    })
}

/// Marks what a reserved range covers of a window; returns how many pages were free before.
fn mark(bits: &mut Bits, window: usize, range: &Range) -> u32 {
    let mut newly = 0u32;
    // CAST: usize to u64 never loses a bit here.
    let base = (window as u64)
        .checked_shl(WINDOW_SHIFT)
        .unwrap_or(u64::MAX);
    let Some(whole) = Range::with_len(base, 1 << WINDOW_SHIFT) else {
        return 0;
    };
    if !whole.overlaps(range) {
        return 0;
    }
    let first = range.first().max(whole.first());
    let last = range.last().min(whole.last());
    let Some(part) = Range::new(first, last) else {
        return 0;
    };
    for (_, page, pages) in pieces(part) {
        for (w, mask) in words(page, pages) {
            if let Some(word) = bits.get_mut(w) {
                newly = newly.saturating_add((mask & !*word).count_ones());
                *word |= mask;
            }
        }
    }
    newly
}

/// The first multiple of `step` from `from` on where `pages` pages below `end` are free.
fn find(bits: &Bits, from: u32, end: u32, pages: u32, step: u32) -> Option<u32> {
    let mut at = from;
    while at.checked_add(pages)? <= end {
        if step <= 64 {
            // CAST: below 512.
            let word = *bits.get((at >> 6) as usize)?;
            if word == u64::MAX {
                at = (at | 63).checked_add(1)?;
                continue;
            }
            if word & (u64::MAX >> 64u32.wrapping_sub(pages).min(63)) << (at & 63) == 0 {
                return Some(at);
            }
        } else if all(bits, at, pages, false) {
            return Some(at);
        }
        at = at.checked_add(step)?;
    }
    None
}

#[cfg(test)]
mod tests;
