# SPDX-License-Identifier: GPL-2.0-or-later
"""The config file of one VM: `key = value` lines, and the fields that `get` and `set` know.  Pure."""
