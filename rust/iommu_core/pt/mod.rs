// SPDX-License-Identifier: GPL-2.0

//! Page tables: one generic algorithm, one small file a format.
