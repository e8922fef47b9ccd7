# SPDX-License-Identifier: GPL-2.0-or-later
"""A serial line as a stream: one peer, who cannot be told from any other, so it is nobody in particular.

The line is set raw, 8N1, without flow control; its speed stays.  Source: OpenXT rpc-proxy, 2015; termios(3).
"""

import asyncio
import os
import termios
from pathlib import Path

from openxt_bus.transport.base import OnStream, Peer, Stream
from openxt_core.ids import Domid

NOBODY = Domid(-1)
STREAM_LIMIT = 256 * 1024
_CFLAG, _CC = 2, 6


async def open_serial(device: Path) -> Stream:
    """Raises OSError when it cannot be opened, or is no serial line."""
    fd = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _set_raw(fd)
    except termios.error as error:
        os.close(fd)
        raise OSError(f"{device} is no serial line: {error.args[-1]}") from None
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=STREAM_LIMIT)
    source = os.fdopen(fd, "rb", buffering=0)
    reading, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
    out = os.fdopen(os.dup(fd), "wb", buffering=0)
    flow = asyncio.StreamReaderProtocol(asyncio.StreamReader())
    writing, _ = await loop.connect_write_pipe(lambda: flow, out)
    return Stream(reader, _Writer(reading, writing, flow, reader), Peer(NOBODY))


class _Writer(asyncio.StreamWriter):
    """Closes the line both ways."""

    def __init__(
        self,
        reading: asyncio.ReadTransport,
        writing: asyncio.WriteTransport,
        flow: asyncio.StreamReaderProtocol,
        reader: asyncio.StreamReader,
    ) -> None:
        super().__init__(writing, flow, reader, asyncio.get_running_loop())
        self._reading = reading

    def close(self) -> None:
        self._reading.close()
        super().close()


class SerialListener:
    """The line's one conversation, and a way to learn that it ended."""

    def __init__(self, stream: Stream, on_stream: OnStream) -> None:
        self._stream = stream
        self.served = asyncio.ensure_future(on_stream(stream))

    async def wait_served(self) -> None:
        """Returns when the line's conversation is over."""
        await asyncio.wait([self.served])

    async def close(self) -> None:
        self.served.cancel()
        await asyncio.gather(self.served, return_exceptions=True)
        self._stream.writer.close()


async def listen_serial(device: Path, on_stream: OnStream) -> SerialListener:
    """Raises OSError."""
    return SerialListener(await open_serial(device), on_stream)


def _set_raw(fd: int) -> None:
    """What waits to be read is dropped: it belongs to an earlier conversation."""
    mode = termios.tcgetattr(fd)
    control = (mode[_CFLAG] & ~(termios.CSIZE | termios.PARENB | termios.CSTOPB | termios.CRTSCTS)) | (
        termios.CS8 | termios.CLOCAL | termios.CREAD
    )
    mode[:4] = [termios.IGNBRK | termios.IGNPAR, 0, control, 0]
    mode[_CC][termios.VMIN], mode[_CC][termios.VTIME] = 1, 0
    termios.tcsetattr(fd, termios.TCSANOW, mode)
    termios.tcflush(fd, termios.TCIFLUSH)
