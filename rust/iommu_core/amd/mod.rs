// SPDX-License-Identifier: GPL-2.0

//! Layouts of the AMD IOMMU.
