# SPDX-License-Identifier: GPL-2.0-or-later
"""Interface files → Python bindings and documentation.  Used when building, by no daemon."""
