# SPDX-License-Identifier: GPL-2.0-or-later
"""The two ways to xenstored: a UNIX stream socket, and the kernel's xenbus device.  Bytes only.

The device takes one whole request per write and gives replies to poll and read; the kernel numbers
requests itself and gives our number back.  Source: Linux drivers/xen/xenbus/xenbus_dev_frontend.c.
"""

import asyncio
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from openxt_core.errors import Unavailable

XENSTORED_SOCKET = "/run/xenstored/socket"
DEVICES = ("/dev/xen/xenbus", "/proc/xen/xenbus")
_READ_BYTES = 65536

Received = Callable[[bytes], None]
Lost = Callable[[Exception | None], None]


class Channel(Protocol):
    def send(self, request: bytes) -> None:
        """Send one whole request.  A failure is reported through `lost`, later."""
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
            loop = asyncio.get_running_loop()
            _, protocol = await loop.create_unix_connection(lambda: SocketChannel(received, lost), address)
            return protocol
        return DeviceChannel(address, received, lost)
    except OSError as error:
        raise Unavailable(f"cannot reach XenStore at {address}: {error.strerror or error}") from error


class SocketChannel(asyncio.Protocol):
    def __init__(self, received: Received, lost: Lost) -> None:
        self._received = received
        self._lost = lost
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._transport is not None:
            self._received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._transport = None
            self._lost(exc)

    def send(self, request: bytes) -> None:
        if self._transport is not None:
            self._transport.write(request)

    def close(self) -> None:
        if self._transport is not None:
            transport, self._transport = self._transport, None
            transport.close()


class DeviceChannel:
    def __init__(self, address: str, received: Received, lost: Lost) -> None:
        self._fd = os.open(address, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._received = received
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._readable)

    def send(self, request: bytes) -> None:
        if self._fd < 0:
            return
        try:
            # One write per request: two writers' halves would otherwise mix in the kernel's buffer.
            written = os.write(self._fd, request)
        except OSError as error:
            self._fail(error)
        else:
            if written != len(request):
                self._fail(OSError("the xenbus device took half a request"))

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._loop.remove_reader(fd)
            os.close(fd)

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error)
            return
        if data:
            self._received(data)

    def _fail(self, error: OSError) -> None:
        if self._fd >= 0:
            self.close()
            self._loop.call_soon(self._lost, error)
