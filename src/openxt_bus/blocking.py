# SPDX-License-Identifier: GPL-2.0-or-later
"""A blocking bus client for command line tools: no event loop, quick to start.

Takes no calls; signals are dropped unless they are listened for.
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, SOCK_STREAM, socket  # the module `socket` would cost 5 ms

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
    SIGNAL,
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
    from collections.abc import Iterator, Sequence
    from typing import Any, TypeAlias

    Request: TypeAlias = tuple[str, str, str, str, str, Sequence[Any]]
    """Destination, path, interface, member, signature and body of a call."""
    Answer: TypeAlias = Sequence[Any] | RemoteError

CALL_TIMEOUT_S = 200.0
_BUS = "org.freedesktop.DBus"
_MAX_AUTH = 16 * 1024
_MAX_IN_FLIGHT = 64  # buses limit the answers a connection may wait for: dbus-daemon to 128
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

    def __init__(
        self, address: str | None = None, timeout_s: float = CALL_TIMEOUT_S, *, stream: socket | None = None
    ) -> None:
        """`stream`: a connected socket to use instead of an address."""
        self._timeout_s = timeout_s
        self._serial = 0
        self._buffer = bytearray()
        self._heard: list[Message] | None = None
        self._socket = stream or _connect(address or bus_address())
        self._socket.settimeout(timeout_s)
        request = self._encoded((_BUS, "/org/freedesktop/DBus", _BUS, "Hello", "", ()))
        try:
            # one write for everything: the answers come in order anyway
            self._socket.sendall(_auth_lines() + request)
            self._read_auth()
            (hello,) = self._answers(1)
        except (OSError, CodecError) as error:
            raise Unavailable(f"the bus ends the conversation: {error}") from None
        if isinstance(hello, RemoteError):
            raise Unavailable(f"the bus refuses us: {hello}")

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
        (answer,) = self.call_all([(destination, path, interface, member, signature, body)])
        if isinstance(answer, RemoteError):
            raise answer
        return answer

    def call_all(self, requests: Sequence[Request]) -> list[Answer]:
        """Many calls without waiting in between: out arguments, or the error, of each, in their order.

        Raises Unavailable when an answer does not come.
        """
        answers: list[Answer] = []
        for start in range(0, len(requests), _MAX_IN_FLIGHT):
            some = requests[start : start + _MAX_IN_FLIGHT]
            data = b"".join(map(self._encoded, some))
            destination, _, _, member, _, _ = some[0]
            try:
                self._socket.sendall(data)
                answers += self._answers(len(some))
            except TimeoutError:
                raise Unavailable(f"{destination} did not answer {member} in {self._timeout_s:g} s") from None
            except (OSError, CodecError) as error:
                raise Unavailable(f"the connection to the bus is lost: {error}") from None
        return answers

    def listen(self, rule: str) -> None:
        """From now on keep the signals that come; those of this match rule will."""
        self._heard = self._heard or []
        self.call(_BUS, "/org/freedesktop/DBus", _BUS, "AddMatch", "s", (rule,))

    def signals(self, timeout_s: float | None = None) -> Iterator[Message]:
        """The signals listened for, as they come; it ends when none comes for `timeout_s` (None: never)."""
        self._socket.settimeout(timeout_s)
        try:
            while True:
                yield self._heard.pop(0) if self._heard else self._next_signal()
        except TimeoutError:
            return
        except (OSError, CodecError) as error:
            raise Unavailable(f"the connection to the bus is lost: {error}") from None
        finally:
            self._socket.settimeout(self._timeout_s)

    def _next_signal(self) -> Message:
        while (message := self._next_message()).type != SIGNAL:
            pass
        return message

    def close(self) -> None:
        self._socket.close()

    def _encoded(self, request: Request) -> bytes:
        destination, path, interface, member, signature, body = request
        self._serial += 1
        fields = {
            PATH: path,
            INTERFACE: interface,
            MEMBER: member,
            DESTINATION: destination,
            SIGNATURE: signature,
        }
        return encode(Message(CALL, self._serial, fields, body))

    def _answers(self, count: int) -> list[Answer]:
        """The answers to the last `count` calls; those to earlier calls were given up."""
        wanted = range(self._serial - count + 1, self._serial + 1)
        found: dict[int, Answer] = {}
        while len(found) < count:
            message = self._next_message()
            serial = message.fields.get(REPLY_SERIAL, 0)
            if serial in wanted and message.type in (RETURN, ERROR):
                found[serial] = _answer(message)
            elif message.type == SIGNAL and self._heard is not None:
                self._heard.append(message)
        return [found[serial] for serial in wanted]

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


def _answer(message: Message) -> Answer:
    if message.type == RETURN:
        return message.body
    return RemoteError(str(message.fields.get(ERROR_NAME, "")), ", ".join(map(str, message.body)))


def _auth_lines() -> bytes:
    return b"\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\r\nBEGIN\r\n"


def over_program(argv: Sequence[str]) -> socket:
    """A stream to a bus that a program reaches for us, such as ssh, by its standard input and output."""
    from _socket import socketpair
    from subprocess import Popen

    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
    try:
        # it ends when we close our side; nobody waits for it
        Popen(argv, stdin=theirs.fileno(), stdout=theirs.fileno())
    except OSError as error:
        raise Unavailable(f"cannot run {argv[0]}: {error.strerror}") from None
    theirs.close()
    return ours


def over_v4v(folder: str, domid: int, port: int) -> socket:
    """A stream to a port of a domain, where a folder of sockets leads to domains.  Raises Unavailable."""
    from openxt_bus.transport.hello import HELLO, MAGIC

    stream = socket(AF_UNIX, SOCK_STREAM)
    try:
        stream.connect(f"{folder}/{domid}/{port}")
        stream.sendall(HELLO.pack(MAGIC, 0, 0))
    except OSError as error:
        stream.close()
        raise Unavailable(f"domain {domid} has no bus on port {port}: {error.strerror}") from None
    return stream


def _connect(address: str) -> socket:
    """The first of the addresses that answers.  Raises Unavailable."""
    problem = "only unix:path= and unix:abstract= are known"
    for name in _socket_names(address):
        sock = socket(AF_UNIX, SOCK_STREAM)  # not inherited: PEP 446
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
