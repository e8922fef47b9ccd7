# SPDX-License-Identifier: GPL-2.0-or-later
"""The two ways to xenstored: a UNIX stream socket, and the kernel's xenbus device.  Packets, no meaning.

The device takes one whole request per write and gives replies to poll and read; the kernel numbers
requests itself and gives our number back.  But only one request may be under way on a file: the next would
be written into the buffer that the first is still sent from (it then arrives with the second's payload and
is acknowledged), and a WATCH or UNWATCH, for which the kernel makes the writer wait, would wait for ever for
the delivery of an earlier reply.  Source: Linux 6.1 drivers/xen/xenbus/xenbus_dev_frontend.c, xenbus_xs.c.
"""

import asyncio
import os
import socket
import stat
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from openxt_core.errors import Unavailable
from openxt_xen.xenstore.wire import Op, Packet, Splitter, WireError

XENSTORED_SOCKET = "/run/xenstored/socket"
DEVICES = ("/dev/xen/xenbus", "/proc/xen/xenbus")
CONNECT_TIMEOUT_S = 30.0
CONNECT_PAUSE_S = 0.01
_READ_BYTES = 65536

Received = Callable[[list[Packet]], None]
Lost = Callable[[Exception | None], None]


class Channel(Protocol):
    def send(self, *requests: Packet) -> None:
        """Send requests, in turn.  A failure is reported through `lost`, later."""
        ...

    def close(self) -> None:
        """Stop; neither `received` nor `lost` is called any more."""
        ...


def default_address(environ: Mapping[str, str]) -> str:
    """XENSTORED_PATH, else xenstored's socket if it exists, else the kernel's device."""
    if named := environ.get("XENSTORED_PATH"):
        return named
    return next((path for path in (XENSTORED_SOCKET, *DEVICES) if Path(path).exists()), DEVICES[0])


async def open_channel(address: str, received: Received, lost: Lost) -> Channel:
    """Raises Unavailable when nobody listens at `address`."""
    try:
        if stat.S_ISSOCK(Path(address).stat().st_mode):
            loop, sock = asyncio.get_running_loop(), await _connected(address)
            _, protocol = await loop.create_unix_connection(lambda: SocketChannel(received, lost), sock=sock)
            return protocol
        return DeviceChannel(address, received, lost)
    except TimeoutError:
        raise Unavailable(f"cannot reach XenStore at {address}: it takes no connection") from None
    except OSError as error:
        raise Unavailable(f"cannot reach XenStore at {address}: {error.strerror or error}") from error


async def _connected(address: str) -> socket.socket:
    """C xenstored lets two wait in line; a third one's connect fails, and must be repeated.  asyncio takes
    that for "under way", and would hand out a socket that is not connected.  Raises OSError, TimeoutError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            while True:
                try:
                    sock.connect(address)
                except BlockingIOError:
                    await asyncio.sleep(CONNECT_PAUSE_S)
                else:
                    return sock
    except BaseException:
        sock.close()
        raise


class SocketChannel(asyncio.Protocol):
    def __init__(self, received: Received, lost: Lost) -> None:
        self._received = received
        self._lost = lost
        self._splitter = Splitter()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        try:
            packets = self._splitter.feed(data)
        except WireError as error:
            self.close()
            self._lost(error)
        else:
            self._received(packets)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._transport = None
            self._lost(exc)

    def send(self, *requests: Packet) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(request.encode() for request in requests))

    def close(self) -> None:
        if self._transport is not None:
            transport, self._transport = self._transport, None
            transport.close()


class DeviceChannel:
    def __init__(self, address: str, received: Received, lost: Lost) -> None:
        self._fd = os.open(address, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._received = received
        self._lost = lost
        self._splitter = Splitter()
        self._waiting: deque[Packet] = deque()
        self._is_busy = False  # a request is under way
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._readable)

    def send(self, *requests: Packet) -> None:
        self._waiting.extend(requests)
        self._write_next()

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._loop.remove_reader(fd)
            os.close(fd)

    def _write_next(self) -> None:
        if self._fd >= 0 and self._waiting and not self._is_busy:
            self._is_busy = True
            data = self._waiting.popleft().encode()
            try:
                # One write per request: the kernel would take a part for a request of its own.
                if os.write(self._fd, data) != len(data):
                    raise OSError("the xenbus device took half a request")
            except OSError as error:
                self._fail(error)

    def _readable(self) -> None:
        try:
            packets = self._splitter.feed(os.read(self._fd, _READ_BYTES))
        except BlockingIOError:
            return
        except (OSError, WireError) as error:
            self._fail(error)
            return
        if any(packet.op != Op.WATCH_EVENT for packet in packets):
            self._is_busy = False
        self._received(packets)
        self._write_next()

    def _fail(self, error: Exception) -> None:
        if self._fd >= 0:
            self.close()
            self._loop.call_soon(self._lost, error)
