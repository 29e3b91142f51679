// SPDX-License-Identifier: GPL-2.0

//! ACPI tables that describe IOMMUs.
