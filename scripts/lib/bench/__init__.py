# SPDX-License-Identifier: GPL-2.0
"""The benchmark: which machines, what is measured in them, and how it is shown."""
