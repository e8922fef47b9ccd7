# SPDX-License-Identifier: GPL-2.0-or-later
"""The first bytes on a stream between domains over UNIX sockets.  Pure; light enough for command lines."""

from struct import Struct

HELLO = Struct("<III")
"""Magic, domid and port of the connecting side."""

MAGIC = 0x76347631
