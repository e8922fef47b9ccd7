# SPDX-License-Identifier: GPL-2.0-or-later
"""A vchan in memory: keeps the promises of `openxt_xen.vchan.ring.Ring` where there is no Xen.

As with real ones, only a read that found nothing and a write that did not fit ask to be signalled, and
closing signals always.  `offer` writes the same two nodes as libxenvchan, `accept` reads them.
"""

import itertools
import os
from dataclasses import dataclass, field

import pyxs

from openxt_core.errors import Unavailable
from openxt_core.ids import Domid
from openxt_xen.vchan.ring import READ_BYTES


@dataclass
class Half:
    """One side's view: what it may read, and its signal."""

    incoming: bytearray = field(default_factory=bytearray)
    event: int = field(default_factory=lambda: os.eventfd(0, os.EFD_NONBLOCK))
    is_live: bool = False
    wants_data: bool = True
    wants_room: bool = False

    def signal(self) -> None:
        os.eventfd_write(self.event, 1)


class MemoryRing:
    def __init__(self, own: Half, other: Half, size: int) -> None:
        self.size = size
        self._own, self._other = own, other
        own.is_live = True
        other.signal()

    def fileno(self) -> int:
        return self._own.event

    def acknowledge(self) -> None:
        os.eventfd_read(self._own.event)

    def read(self) -> bytes:
        data = bytes(self._own.incoming[:READ_BYTES])
        del self._own.incoming[: len(data)]
        self._own.wants_data = not data
        if data and self._other.wants_room:
            self._other.wants_room = False
            self._other.signal()
        return data

    def write(self, data: memoryview) -> int:
        if not self.is_open:
            return 0
        count = min(len(data), self.size - len(self._other.incoming))
        self._other.incoming += data[:count]
        self._own.wants_room = count < len(data)
        if count and self._other.wants_data:
            self._other.wants_data = False
            self._other.signal()
        return count

    @property
    def is_open(self) -> bool:
        return self._other.is_live

    @property
    def is_joined(self) -> bool:
        return self._own.is_live and self._other.is_live

    def close(self) -> None:
        self._own.is_live = False
        self._other.signal()


class MemoryRings:
    """All vchans of a simulated host, by the number that stands in `ring-ref`."""

    def __init__(self, xenstored: str) -> None:
        self._xenstored = xenstored
        self._numbers = itertools.count(1)
        self._offered: dict[str, tuple[Half, Half, int]] = {}

    def offer(self, _domid: Domid, path: str, size: int) -> MemoryRing:
        one, other, number = Half(), Half(), str(next(self._numbers))
        self._offered[number] = (other, one, size)
        ring = MemoryRing(one, other, size)
        with pyxs.Client(unix_socket_path=self._xenstored) as store:
            store[f"{path}/ring-ref".encode()] = number.encode()
            store[f"{path}/event-channel".encode()] = b"1"
        return ring

    def accept(self, domid: Domid, path: str) -> MemoryRing:
        with pyxs.Client(unix_socket_path=self._xenstored) as store:
            number = store[f"{path}/ring-ref".encode()].decode()
        if number not in self._offered:
            raise Unavailable(f"domain {domid} offers no vchan at {path}")
        return MemoryRing(*self._offered.pop(number))
