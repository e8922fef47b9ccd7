# SPDX-License-Identifier: GPL-2.0-or-later
"""Manual pages: made from the option tables of the programs and the texts in `pages`."""
