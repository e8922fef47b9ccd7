# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers of errors that clients know.  **Source:** OpenXT xenmgr, 2015.  A number is never reused."""

NUMBERS = {*range(101, 108), *range(199, 241), *range(242, 247)}
"""241 was never given to anything."""

NEVER_RAISED = {
    **dict.fromkeys((208, 212, 221, 225, 226, 235), "declared, and never raised"),
    **dict.fromkeys((214, 215), "the bus has names of its own for these"),
    **dict.fromkeys(range(242, 247), "of a service that is gone: taas"),
}
"""Why nothing raises them.  docs/compat.md says it to users."""
