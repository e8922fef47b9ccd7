# SPDX-License-Identifier: GPL-2.0-or-later
"""One kind of device a file: the keys that its two ends must read.  Pure."""
