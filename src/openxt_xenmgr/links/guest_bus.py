# SPDX-License-Identifier: GPL-2.0-or-later
"""A call to a service on the bus of a VM, over v4v port 5555 of its domain.

The answer comes from a guest: it is cut and its header read, never unmarshalled, and so much of it and no
more is taken.  One connection a call: none outlives the domain.  Source: OpenXT xenmgr, 2015.
"""

import asyncio
import os
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from openxt_bus import codec
from openxt_bus.framing import FramingError, Header, MessageType, cut, scan
from openxt_bus.transport.sockets import close
from openxt_bus.transport.unix import UnixTransport
from openxt_core.errors import BadRequest, RemoteError, Unavailable
from openxt_core.ids import DOM0, Domid, parse_uuid
from openxt_core.places import Places, v4v_keeper
from openxt_xenmgr.vm.hooks import Rpc

PORT = 5555
ATTEMPTS, PAUSE_S = 120, 1.0
MAX_LINE = 4096
MAX_MESSAGE = 64 * 1024
MAX_ANSWER = 1024 * 1024  # of all messages before the reply
_BUS = "org.freedesktop.DBus"
_HELLO, _CALL = 1, 2  # serials


@dataclass(frozen=True)
class GuestBuses:
    """Raises Unavailable when the VM does not run, nobody listens there, or what comes is no D-Bus."""

    environ: Mapping[str, str]
    places: Places
    domid_of: Callable[[str], Domid | None]

    async def call(self, hook: Rpc, arguments: Sequence[str]) -> None:
        """Returns with the reply.  Raises RemoteError with the name of an error reply."""
        reader, writer = await self._connect(parse_uuid(hook.vm))
        try:
            await _authenticate(reader, writer)
            writer.write(_hello() + _request(hook, arguments))
            await writer.drain()
            answer = await _reply(reader)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise Unavailable(f"the bus of VM {hook.vm}: {error or 'it hung up'}") from error
        finally:
            await close(writer)
        if answer.type == MessageType.ERROR:
            raise RemoteError(answer.error_name, f"VM {hook.vm} answered {answer.error_name[:255]}")

    async def _connect(self, uuid: str) -> tuple[StreamReader, StreamWriter]:
        """A guest that has just started needs its time."""
        for _ in range(ATTEMPTS):
            domid = self.domid_of(uuid)
            if domid is None:
                raise Unavailable(f"VM {uuid} does not run: it has no bus")
            try:
                return await self._open(domid)
            except OSError:
                await asyncio.sleep(PAUSE_S)
        raise Unavailable(f"nobody listens on v4v port {PORT} of VM {uuid}")

    async def _open(self, domid: Domid) -> tuple[StreamReader, StreamWriter]:
        if v4v_keeper(self.environ) == "unix":
            stream = await UnixTransport(self.places.v4v, DOM0).connect(domid, PORT)
            return stream.reader, stream.writer
        from openxt_xen.vchan.connect import connect
        from openxt_xen.vchan.ring import XenRing, check_host

        check_host()
        return await connect(domid, PORT, XenRing.offer)


async def _authenticate(reader: StreamReader, writer: StreamWriter) -> None:
    user = str(os.geteuid()).encode().hex()
    writer.write(f"\0AUTH EXTERNAL {user}\r\n".encode())
    line = await reader.readuntil(b"\r\n")
    if len(line) > MAX_LINE or not line.startswith(b"OK "):
        raise ConnectionError(f"AUTH EXTERNAL was answered {line[:60]!r}")
    writer.write(b"BEGIN\r\n")


def _hello() -> bytes:
    return _encoded(_HELLO, (_BUS, "/org/freedesktop/DBus", _BUS, "Hello"), ())


def _request(hook: Rpc, arguments: Sequence[str]) -> bytes:
    where = (hook.destination, hook.path, hook.interface, hook.member)
    try:
        return _encoded(_CALL, where, arguments)
    except codec.CodecError as error:
        raise BadRequest(f"hook {hook.member}: {error}") from error


def _encoded(serial: int, where: tuple[str, str, str, str], arguments: Sequence[str]) -> bytes:
    destination, path, interface, member = where
    fields: dict[int, str] = {
        codec.PATH: path,
        codec.INTERFACE: interface,
        codec.MEMBER: member,
        codec.DESTINATION: destination,
    }
    if arguments:
        fields[codec.SIGNATURE] = "s" * len(arguments)
    return codec.encode(codec.Message(codec.CALL, serial, fields, list(arguments)))


async def _reply(reader: StreamReader) -> Header:
    """The answer to the call; everything else is passed over."""
    buffer, taken = bytearray(), 0
    while True:
        data = await reader.read(MAX_MESSAGE)
        taken += len(data)
        if not data:
            raise EOFError
        if taken > MAX_ANSWER:
            raise FramingError(f"more than {MAX_ANSWER} bytes without an answer")
        buffer += data
        for message in cut(buffer, MAX_MESSAGE):
            header = scan(message)
            if header.reply_serial == _CALL and header.type in (MessageType.METHOD_RETURN, MessageType.ERROR):
                return header
