# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine we run on: facts from its files."""
