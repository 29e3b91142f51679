// SPDX-License-Identifier: GPL-2.0

//! Counters of the calls that map and unmap, for people.

use core::fmt::{
    self,
    Display, //
};

use kernel::prelude::*;
use kernel_iommu::per_cpu_counters::PerCpuCounters;

/// Calls of the DMA API or the core: to map, and to unmap what was mapped at once.
pub(crate) struct Calls(PerCpuCounters<2>);

impl Calls {
    /// None yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(PerCpuCounters::new()?))
    }

    /// A page, a buffer or a list was mapped.
    #[inline(always)]
    pub(crate) fn count_map(&self) {
        self.0.inc::<0>();
    }

    /// What was mapped at once was unmapped.
    #[inline(always)]
    pub(crate) fn count_unmap(&self) {
        self.0.inc::<1>();
    }
}

impl Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "maps {} unmaps {}", self.0.sum::<0>(), self.0.sum::<1>())
    }
}
