# SPDX-License-Identifier: GPL-2.0-or-later
"""From an interface file's tables to text, one target language a module."""
