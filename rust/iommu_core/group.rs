// SPDX-License-Identifier: GPL-2.0

//! IOMMU groups: topology in, partition out.
