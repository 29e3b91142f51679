// SPDX-License-Identifier: GPL-2.0

//! What the allocator is built from: atomic words and links that are set once. The kernel, the host
//! tests and loom each bring their own.

/// A 64-bit word that CPUs share.
pub trait Word: Send + Sync {
    /// A word with a value.
    fn new(value: u64) -> Self;
    /// Reads. ORDERING: what the writer did before a `store`, `swap` or `cas` is seen.
    fn load(&self) -> u64;
    /// Writes. ORDERING: what was done before is seen by whoever reads the value.
    fn store(&self, value: u64);
    /// Writes and returns what was there; fully ordered.
    fn swap(&self, value: u64) -> u64;
    /// Replaces `old` by `new`; fully ordered if it succeeds.
    ///
    /// # Errors
    ///
    /// What is there instead of `old`.
    fn cas(&self, old: u64, new: u64) -> Result<(), u64>;

    /// Sets bits and returns what was there; fully ordered. Repeats only when another CPU has
    /// changed the word meanwhile.
    #[inline]
    fn or(&self, bits: u64) -> u64 {
        let mut old = self.load();
        while let Err(now) = self.cas(old, old | bits) {
            old = now;
        }
        old
    }

    /// Clears all bits but these and returns what was there; as [`Word::or`].
    #[inline]
    fn and(&self, bits: u64) -> u64 {
        let mut old = self.load();
        while let Err(now) = self.cas(old, old & bits) {
            old = now;
        }
        old
    }
}

/// A link to a part that is made when it is first needed, and stays as long as the link.
pub trait Link<T>: Send + Sync {
    /// Leads nowhere.
    fn empty() -> Self;
    /// The part, if it has been made.
    fn get(&self) -> Option<&T>;
    /// The part; made if it is not there. If several CPUs make it, one wins.
    ///
    /// [`None`]: no memory.
    fn get_or_make(&self, make: impl FnOnce() -> T) -> Option<&T>;
}

/// A set of building blocks.
pub trait Env: Send + Sync + 'static {
    /// Its words.
    type Word: Word;
    /// Its links.
    type Link<T: Send + Sync + 'static>: Link<T>;
}
