# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of D-Bus properties, and the little that reads and writes their rows."""
