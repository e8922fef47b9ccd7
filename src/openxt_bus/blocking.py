# SPDX-License-Identifier: GPL-2.0-or-later
"""A blocking bus client for command line tools: one call at a time, no event loop, quick to start."""

from __future__ import annotations

import os
import socket

from openxt_bus.codec import (
    CALL,
    DESTINATION,
    ERROR,
    ERROR_NAME,
    INTERFACE,
    MEMBER,
    PATH,
    REPLY_SERIAL,
    RETURN,
    SIGNATURE,
    CodecError,
    Message,
    decode,
    encode,
    size_of,
)
from openxt_core.errors import RemoteError, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

CALL_TIMEOUT_S = 200.0
_BUS = "org.freedesktop.DBus"
_MAX_AUTH = 16 * 1024
_DEFAULT_SYSTEM = "unix:path=/var/run/dbus/system_bus_socket"


def bus_address(*, session: bool = False) -> str:
    """Where the bus is, by the environment.  Raises Unavailable when there is no session bus."""
    if not session:
        return os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or _DEFAULT_SYSTEM
    address = os.environ.get("DBUS_SESSION_BUS_ADDRESS", "")
    if not address:
        raise Unavailable("there is no session bus: DBUS_SESSION_BUS_ADDRESS is not set")
    return address


class BlockingBus:
    """A connection to a bus.  Raises Unavailable when it cannot be had, or is lost."""

    def __init__(self, address: str | None = None, timeout_s: float = CALL_TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._serial = 0
        self._buffer = bytearray()
        self._socket = _connect(address or bus_address())
        self._socket.settimeout(timeout_s)
        hello = self._call_bytes(_BUS, "/org/freedesktop/DBus", _BUS, "Hello", "", ())
        try:
            # one write for everything: the answers come in order anyway
            self._socket.sendall(_auth_lines() + hello)
            self._read_auth()
            self._answer("Hello")
        except OSError as error:
            raise Unavailable(f"the bus ends the conversation: {error}") from None

    def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
    ) -> Sequence[Any]:
        """The out arguments.  Raises RemoteError for an error reply, Unavailable when none comes."""
        message = self._call_bytes(destination, path, interface, member, signature, body)
        try:
            self._socket.sendall(message)
            return self._answer(f"{destination} {interface}.{member}")
        except TimeoutError:
            raise Unavailable(f"{destination} did not answer {member} in {self._timeout_s:g} s") from None
        except (OSError, CodecError) as error:
            raise Unavailable(f"the connection to the bus is lost: {error}") from None

    def close(self) -> None:
        self._socket.close()

    def _call_bytes(
        self, destination: str, path: str, interface: str, member: str, signature: str, body: Sequence[Any]
    ) -> bytes:
        self._serial += 1
        fields = {
            PATH: path,
            INTERFACE: interface,
            MEMBER: member,
            DESTINATION: destination,
            SIGNATURE: signature,
        }
        return encode(Message(CALL, self._serial, fields, body))

    def _answer(self, what: str) -> Sequence[Any]:
        while True:
            message = self._next_message()
            if message.fields.get(REPLY_SERIAL) != self._serial:
                continue  # a signal, or the late answer to a call given up
            if message.type == RETURN:
                return message.body
            if message.type == ERROR:
                text = message.body[0] if message.body and isinstance(message.body[0], str) else what
                raise RemoteError(str(message.fields.get(ERROR_NAME, "")), text)

    def _next_message(self) -> Message:
        self._fill(16)
        size = size_of(bytes(self._buffer[:16]))
        self._fill(size)
        message = decode(bytes(self._buffer[:size]))
        del self._buffer[:size]
        return message

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            data = self._socket.recv(64 * 1024)
            if not data:
                raise ConnectionResetError("the bus closed it")
            self._buffer += data

    def _read_auth(self) -> None:
        while b"\r\n" not in self._buffer:
            self._fill(len(self._buffer) + 1)
            if len(self._buffer) > _MAX_AUTH:
                raise Unavailable("the bus does not speak the authentication protocol")
        line, _, rest = bytes(self._buffer).partition(b"\r\n")
        if not line.startswith(b"OK "):
            raise Unavailable(f"the bus refuses us: {line[:80]!r}")
        self._buffer[:] = rest


def _auth_lines() -> bytes:
    return b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\nBEGIN\r\n"


def _connect(address: str) -> socket.socket:
    """The first of the addresses that answers.  Raises Unavailable."""
    problem = "only unix:path= and unix:abstract= are known"
    for name in _socket_names(address):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            sock.connect(name)
            return sock
        except OSError as error:
            sock.close()
            problem = error.strerror or str(error)
    raise Unavailable(f"the bus at {address} cannot be reached: {problem}")


def _socket_names(address: str) -> list[str]:
    names = []
    for one in address.split(";"):
        transport, _, rest = one.partition(":")
        pairs = dict(pair.partition("=")[::2] for pair in rest.split(","))
        if transport == "unix" and "path" in pairs:
            names.append(_unescape(pairs["path"]))
        elif transport == "unix" and "abstract" in pairs:
            names.append("\0" + _unescape(pairs["abstract"]))
    return names


def _unescape(text: str) -> str:
    first, *rest = text.split("%")
    try:
        raw = first.encode() + b"".join(bytes.fromhex(part[:2]) + part[2:].encode() for part in rest)
    except ValueError:
        raise Unavailable(f"bus address: bad %-escape in {text!r}") from None
    return raw.decode()
