# SPDX-License-Identifier: GPL-2.0
"""The one exception for what the caller can put right."""


class VmError(Exception):
    """A wrong argument or a missing input; the text is one line that says what to do."""
