# SPDX-License-Identifier: GPL-2.0-or-later
"""A connected stream's bytes by callback: for programs that pass messages on, and must not wait for a task.

What a peer does not take is queued, and counted: whoever sends looks at `queued` and stops feeding a pipe
that is full.  Knows nothing of messages.
"""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Coroutine
from typing import Any, Protocol

from openxt_bus.loop import BusLoop
from openxt_bus.transport.base import Stream

READ_SIZE = 256 * 1024
READS_AT_ONCE = 2
LARGE = 16 * 1024
Data = bytes | bytearray | memoryview
"""What passes; a view (of more than LARGE received bytes) holds them no longer than the call lasts."""

CLOSE_TIMEOUT_S = 5.0


class Pace:
    """How often the pipes of one owner are read in one turn of the loop, however many they are."""

    __slots__ = ("_favourites", "_left", "_turn", "is_behind")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._favourites = loop.favourites if isinstance(loop, BusLoop) else None
        self._turn = self._left = 0
        self.is_behind = False
        """What was read is not done yet: nothing is read before."""

    def may_read(self) -> bool:
        """Whether one more may be read now; it will be ready in the next turn as well."""
        if self._favourites is None:
            return True
        if self._turn != (turn := self._favourites.turn):
            self._turn, self._left = turn, READS_AT_ONCE
        self._left -= 1
        return self._left >= 0 and not self.is_behind


class Owner(Protocol):
    """Whom a pipe tells."""

    def receive(self, data: Data, /) -> None: ...

    def drained(self) -> None:
        """Everything queued was taken."""
        ...

    def ended(self, why: str, /) -> None:
        """Called once or twice."""
        ...


class Pipe(Protocol):
    queued: int
    """Bytes that the peer has not taken yet."""
    pace: Pace | None
    """None: it is read whenever there is something."""

    def start(self, owner: Owner) -> None:
        """Read from now on."""
        ...

    def send(self, data: Data, /) -> None:
        """Send now, or queue."""
        ...

    def pause(self) -> None:
        """Read nothing until `resume`; either may be called twice."""
        ...

    def resume(self) -> None: ...

    async def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Send what is queued, for so long; then close."""
        ...


class _Taken(asyncio.Event):
    """Owns a pipe that is being closed: set when nothing is queued any more, or nobody takes it."""

    def receive(self, data: Data, /) -> None:
        """It is not read any more."""

    def drained(self) -> None:
        self.set()

    def ended(self, why: str, /) -> None:
        self.set()


class SocketPipe:
    """A non-blocking socket, read straight from the loop's wait for input.

    By the number of its descriptor: a socket object and its methods are four more objects for each message to
    bring into the processor's cache.
    """

    __slots__ = (
        "_early", "_fd", "_is_open", "_is_reading", "_is_writing", "_loop", "_out", "_owner", "_sock", "pace",
        "queued",
    )  # fmt: skip

    # One for all: a reading is over before the next begins, and a large one would be mapped at each.
    _buffer = memoryview(bytearray(READ_SIZE))
    _buffers = (_buffer,)

    def __init__(self, sock: socket.socket, early: bytes = b"") -> None:
        """`early`: what was read from the socket before."""
        self._sock = sock
        self._fd = sock.fileno()
        self._loop = asyncio.get_running_loop()
        self._early = early
        self._out: deque[bytes | memoryview] = deque()
        self._is_reading = self._is_writing = False
        self._is_open = True
        self.queued = 0
        self.pace: Pace | None = None

    def start(self, owner: Owner) -> None:
        self._owner = owner
        self.resume()
        if self._early:
            owner.receive(self._early)
            self._early = b""

    def send(self, data: Data) -> None:
        if not self._is_open:
            return None
        sent = 0
        if not self._out:
            try:
                sent = os.write(self._fd, data)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                return self._owner.ended(f"it is gone: {error.strerror}")
        if sent < len(data):
            self._out.append(bytes(data[sent:]))
            self.queued += len(data) - sent
            self._wait_until_writable()
        return None

    def pause(self) -> None:
        if self._is_reading:
            self._is_reading = False
            if isinstance(self._loop, BusLoop):
                self._loop.forget(self._fd)
            self._loop.remove_reader(self._fd)

    def resume(self) -> None:
        if not self._is_reading and self._is_open:
            self._is_reading = True
            self._loop.add_reader(self._fd, self.readable)
            if isinstance(self._loop, BusLoop):
                self._loop.favour(self._fd, self.readable)

    async def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        self.pause()
        if self._out:
            self._owner = taken = _Taken()
            try:
                async with asyncio.timeout(timeout_s):
                    await taken.wait()
            except TimeoutError:
                pass  # a peer that reads nothing any more is cut off
        self._is_open = False
        self._loop.remove_writer(self._fd)
        self._sock.close()

    def readable(self) -> None:
        if self.pace is not None and not self.pace.may_read():
            return
        try:
            size = os.readv(self._fd, self._buffers)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.pause()
            self._owner.ended(f"it is gone: {error.strerror}")
            return
        if size:
            data = self._buffer[:size]
            self._owner.receive(data if size > LARGE else bytes(data))
        else:
            self.pause()
            self._owner.ended("")

    def _writable(self) -> None:
        out = self._out
        while out:
            try:
                sent = os.write(self._fd, out[0])
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._stop_writing()
                self._owner.ended(f"it is gone: {error.strerror}")
                return
            self.queued -= sent
            if sent < len(out[0]):
                out[0] = memoryview(out[0])[sent:]
                return
            out.popleft()
        self._stop_writing()
        self._owner.drained()

    def _wait_until_writable(self) -> None:
        if not self._is_writing:
            self._is_writing = True
            self._loop.add_writer(self._fd, self._writable)

    def _stop_writing(self) -> None:
        self._is_writing = False
        self._loop.remove_writer(self._fd)


class StreamPipe:
    """Any other stream, by two tasks of its own."""

    def __init__(self, stream: Stream, early: bytes = b"") -> None:
        self._stream = stream
        self._early = early
        self._may_read = asyncio.Event()
        self._to_send = asyncio.Event()
        self._out: deque[bytes] = deque()
        self._tasks: list[asyncio.Task[None]] = []
        self.queued = 0
        self.pace: Pace | None = None  # it has a turn for each reading anyway

    def start(self, owner: Owner) -> None:
        self._owner = owner
        self._tasks = [
            asyncio.create_task(self._guarded(self._read())),
            asyncio.create_task(self._guarded(self._write())),
        ]
        self.resume()
        if self._early:
            owner.receive(self._early)
            self._early = b""

    def send(self, data: Data) -> None:
        self._out.append(bytes(data))
        self.queued += len(data)
        self._to_send.set()

    def pause(self) -> None:
        self._may_read.clear()

    def resume(self) -> None:
        self._may_read.set()

    async def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        self.pause()
        if self._out:
            self._owner = taken = _Taken()
            try:
                async with asyncio.timeout(timeout_s):
                    await taken.wait()
            except TimeoutError:
                pass
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._stream.writer.close()

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
            self._owner.ended("")
        except OSError as error:
            self._owner.ended(f"it is gone: {error}")

    async def _read(self) -> None:
        while data := await self._stream.reader.read(READ_SIZE):
            await self._may_read.wait()
            self._owner.receive(data)

    async def _write(self) -> None:
        while True:
            await self._to_send.wait()
            while self._out:
                self._stream.writer.write(self._out[0])
                await self._stream.writer.drain()
                self.queued -= len(self._out.popleft())
            self._to_send.clear()
            self._owner.drained()


async def pipe_of(stream: Stream, early: bytes = b"") -> SocketPipe | StreamPipe:
    """The same stream as a pipe; the stream itself is not to be used any more.

    `early`: what was read from the stream and is to come first.
    """
    sock = stream.writer.get_extra_info("socket")
    if sock is None:
        return StreamPipe(stream, early)
    await stream.writer.drain()
    transport = stream.writer.transport
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()
    own = socket.socket(fileno=os.dup(sock.fileno()))
    own.setblocking(False)
    transport.abort()  # the stream's own descriptor only
    return SocketPipe(own, early + await stream.reader.read())
