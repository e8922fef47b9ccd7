# SPDX-License-Identifier: GPL-2.0-or-later
"""A vchan as an asyncio transport: what a ring does when its event channel signals.

Never blocks the loop, and never spends more than one reading on a ring before others have their turn.
There is no half-closing: a vchan is open both ways or not at all.
"""

import asyncio
from collections.abc import Callable

from openxt_core.ids import Domid
from openxt_xen.vchan.ring import Ring

HIGH_WATER_BYTES = 64 * 1024
LOW_WATER_BYTES = 16 * 1024
STREAM_LIMIT = 256 * 1024

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Pipe(asyncio.Transport):
    """Owns the ring.  `get_extra_info("domid")` is the domain at its other end, by the hypervisor's word."""

    def __init__(self, ring: Ring, domid: Domid, protocol: asyncio.Protocol) -> None:
        super().__init__({"domid": domid})
        self.ended: Callable[[], None] = lambda: None  # called once, when the ring has been given back
        self._loop = asyncio.get_running_loop()
        self._ring = ring
        self._protocol = protocol
        self._unsent = bytearray()
        self._high, self._low = HIGH_WATER_BYTES, LOW_WATER_BYTES
        self._is_reading = True
        self._is_closing = False
        self._has_ended = False
        self._turn_is_due = False
        self._writer_waits = False
        self._loop.add_reader(ring.fileno(), self._signalled)
        protocol.connection_made(self)
        self._turn_soon()

    # The ring's side

    def _signalled(self) -> None:
        self._ring.acknowledge()
        self._turn()

    def _turn_soon(self) -> None:
        if not self._turn_is_due:
            self._turn_is_due = True
            self._loop.call_soon(self._due_turn)

    def _due_turn(self) -> None:
        self._turn_is_due = False
        self._turn()

    def _turn(self) -> None:
        """Move what can be moved, both ways."""
        if self._has_ended:
            return
        # asked before we read: what the other side wrote before it closed is then read for certain
        is_open = self._ring.is_open
        self._flush()
        may_read = self._is_reading and not self._is_closing
        if may_read and (data := self._ring.read()):
            self._protocol.data_received(data)
            self._turn_soon()  # only a reading that finds nothing asks to be signalled
        elif (not is_open and (may_read or self._is_closing)) or (self._is_closing and not self._unsent):
            self._end()

    def _flush(self) -> None:
        while self._unsent:
            with memoryview(self._unsent) as view:
                count = self._ring.write(view)
            if not count:
                break
            del self._unsent[:count]
        if self._writer_waits and len(self._unsent) <= self._low:
            self._writer_waits = False
            self._protocol.resume_writing()

    def _end(self) -> None:
        if self._has_ended:
            return
        self._has_ended = self._is_closing = True
        self._unsent.clear()
        self._loop.remove_reader(self._ring.fileno())
        self._ring.close()
        self._loop.call_soon(self._protocol.connection_lost, None)
        self.ended()

    # The protocol's side: asyncio.Transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing:
            return
        sent = 0
        if not self._unsent:
            with memoryview(data) as view:
                sent = self._ring.write(view)
        self._unsent += data[sent:]
        if len(self._unsent) > self._high and not self._writer_waits:
            self._writer_waits = True
            self._protocol.pause_writing()

    def close(self) -> None:
        """What was written still goes."""
        self._is_closing = True
        self._turn_soon()

    def abort(self) -> None:
        """At once."""
        self._end()

    def is_closing(self) -> bool:
        return self._is_closing

    def is_reading(self) -> bool:
        return self._is_reading and not self._is_closing

    def pause_reading(self) -> None:
        self._is_reading = False

    def resume_reading(self) -> None:
        self._is_reading = True
        self._turn_soon()

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = HIGH_WATER_BYTES if high is None else high
        self._low = self._high // 4 if low is None else low

    def can_write_eof(self) -> bool:
        return False

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol


def streams(ring: Ring, domid: Domid) -> tuple[Pipe, Streams]:
    """A pipe, which owns the ring from now on, with its reader and writer."""
    reader = asyncio.StreamReader(limit=STREAM_LIMIT)
    protocol = asyncio.StreamReaderProtocol(reader)
    pipe = Pipe(ring, domid, protocol)
    return pipe, (reader, asyncio.StreamWriter(pipe, protocol, reader, asyncio.get_running_loop()))
