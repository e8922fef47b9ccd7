# SPDX-License-Identifier: GPL-2.0-or-later
"""Faces of the D-Bus objects: unpack, ask policy, hand over, pack."""
