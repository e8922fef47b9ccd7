# SPDX-License-Identifier: GPL-2.0-or-later
"""The device model of an HVM guest: which one, what it is told, and the languages it speaks."""
