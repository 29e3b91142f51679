// SPDX-License-Identifier: GPL-2.0

//! How to change a live table entry of 256 bits with atomic stores of 128: the steps. What order is
//! right, the kind of entry knows.

/// Half of an entry: the unit of one atomic store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Bits 127:0, at byte 0.
    Low,
    /// Bits 255:128, at byte 16.
    High,
}

impl Half {
    /// Offset in bytes inside the entry.
    pub const fn offset(self) -> usize {
        match self {
            Self::Low => 0,
            Self::High => 16,
        }
    }
}

/// One step of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Store 128 bits with one single-copy atomic store.
    Write {
        /// Which half.
        half: Half,
        /// Its new value, low word first.
        value: [u64; 2],
    },
    /// Invalidate the entry of every requester ID that uses it, and wait until that is done.
    Invalidate,
}

/// Steps of an update, at most [`Plan::MAX_STEPS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    steps: [Step; Self::MAX_STEPS],
    len: usize,
}

impl Plan {
    /// The most steps a plan has.
    pub const MAX_STEPS: usize = 6;

    pub(crate) const fn empty() -> Self {
        Self {
            steps: [Step::Invalidate; Self::MAX_STEPS],
            len: 0,
        }
    }

    /// Adds a store of one half and the invalidation after it.
    pub(crate) fn write(mut self, half: Half, value: [u64; 2]) -> Self {
        for step in [Step::Write { half, value }, Step::Invalidate] {
            if let Some(slot) = self.steps.get_mut(self.len) {
                *slot = step;
                self.len = self.len.saturating_add(1);
            }
        }
        self
    }

    /// The steps, in order. Empty where memory already holds the target.
    pub fn steps(&self) -> &[Step] {
        self.steps.get(..self.len).unwrap_or(&[])
    }

    /// Returns `true` if the plan blocks DMA for a moment, while neither entry is in force.
    pub fn blocks_dma(&self) -> bool {
        self.len == Self::MAX_STEPS
    }
}
