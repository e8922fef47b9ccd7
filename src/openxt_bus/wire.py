# SPDX-License-Identifier: GPL-2.0-or-later
"""A socket to the message bus: connect, authenticate, then whole messages in and bytes out.

What is sent while a batch of messages is being received leaves in one piece at its end; what is sent for a
lone one leaves at once.  A message of a kind nobody knows is passed over, as the protocol asks.
Knows nothing of what messages mean, but that calls may have come before and be answered at once.
"""

import asyncio
import logging
import os
import re
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator
from struct import Struct

from openxt_bus.heads import HEAD_SIZE, read_head
from openxt_bus.loop import BusLoop
from openxt_bus.plans import MAX_SERIAL
from openxt_bus.quick import Plan, Receiver, answer_all
from openxt_bus.receiver import READ_SIZE
from openxt_core.errors import Unavailable

log = logging.getLogger(__name__)

LEAST_CALL = 64  # bytes: a head, and fields for path, member and sender
MAX_MESSAGE = 128 * 1024 * 1024
AUTH_TIMEOUT_S = 25.0
CONNECT_PAUSE_S = 0.01
MAX_AUTH_LINE = 16 * 1024

_LITTLE, _BIG = Struct("<BBBBIII"), Struct(">BBBBIII")
_LITTLE_ENDIAN = 0x6C
_KNOWN_TYPES = frozenset({1, 2, 3, 4})
_BUT_FLAGS = 0xFF00FFFF
_ORDINARY = frozenset(int.from_bytes(b"l%c\0\1" % kind, "little") for kind in _KNOWN_TYPES)
"""How little-endian messages of known types begin, but for their flags."""


async def connect(address: str) -> socket.socket:
    """An authenticated connection.  Raises Unavailable naming the address."""
    problem: object = "no unix:path= or unix:abstract= in it"
    for target in _targets(address):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            async with asyncio.timeout(AUTH_TIMEOUT_S):
                await _stand_in_line(sock, target)
                await _authenticate(sock)
            return sock
        except OSError as error:
            sock.close()
            problem = error
        except BaseException:
            sock.close()
            raise
    raise Unavailable(f"the message bus at {address} does not answer: {problem}")


async def _stand_in_line(sock: socket.socket, target: str) -> None:
    """Connect.  Where too many wait already a UNIX socket refuses at once: the try must be repeated.

    asyncio's `sock_connect` takes that for "under way", and says that it is done.
    """
    while True:
        try:
            sock.connect(target)
        except BlockingIOError:
            await asyncio.sleep(CONNECT_PAUSE_S)
        else:
            return


def _targets(address: str) -> Iterator[str]:
    """The UNIX sockets in a bus address; `\\0` begins an abstract name."""
    for entry in address.split(";"):
        transport, _, options = entry.partition(":")
        values = dict(option.partition("=")[::2] for option in options.split(","))
        if transport == "unix" and "path" in values:
            yield _unescaped(values["path"])
        elif transport == "unix" and "abstract" in values:
            yield "\0" + _unescaped(values["abstract"])


def _unescaped(value: str) -> str:
    return re.sub("%([0-9A-Fa-f]{2})", lambda found: chr(int(found[1], 16)), value)


async def _authenticate(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    user = str(os.geteuid()).encode().hex()
    await loop.sock_sendall(sock, f"\0AUTH EXTERNAL {user}\r\n".encode())
    line = b""
    while not line.endswith(b"\r\n"):
        piece = await loop.sock_recv(sock, MAX_AUTH_LINE)
        line += piece
        if not piece or len(line) > MAX_AUTH_LINE:
            raise ConnectionError("no answer to AUTH EXTERNAL")
    if not line.startswith(b"OK "):
        raise ConnectionError(f"AUTH EXTERNAL was answered {line[:60]!r}")
    await loop.sock_sendall(sock, b"BEGIN\r\n")


def _is_one(data: bytes) -> bool:
    """Whether that is an ordinary message and nothing else, as nearly always."""
    if len(data) < HEAD_SIZE:
        return False
    kind, body, _, fields = read_head(data)
    return len(data) == (fields + 23 & ~7) + body and kind & _BUT_FLAGS in _ORDINARY


class Wire:
    """Whole messages from and to an authenticated socket, until it is lost or closed.

    `receive` gets each message that is not answered by plans; `lost` is called once, with the reason.
    """

    def __init__(
        self, sock: socket.socket, receive: Callable[[bytes], None], lost: Callable[[str], None]
    ) -> None:
        self._sock = sock
        self._fd = sock.fileno()
        self._receive = receive
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._rest = bytearray()
        self._out: deque[bytes | bytearray | memoryview] = deque()
        self._waiting = False
        self._is_free = True  # open, and nothing holds up what is sent
        self.is_open = True
        self._receiver = Receiver(self._fd, self._out, self._take)
        self.next_serial = self._receiver.next_serial
        """For a message that is about to be sent."""
        self._loop.add_reader(self._fd, self._receiver.readable)
        if isinstance(self._loop, BusLoop):
            self._loop.favour(self._fd, self._receiver.readable)

    def answer_by(self, plans: dict[bytes, Plan]) -> None:
        """Calls that came before are answered by these from now on."""
        self._receiver.plans = plans

    def send(self, data: bytes | bytearray) -> None:
        """Send now, or right after what is being received or sent."""
        if not self._is_free:
            if self.is_open:
                self._out.append(data)
            return None
        try:
            sent = self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            return self.close(f"the message bus is gone: {error}")
        if sent < len(data):
            self._out.append(memoryview(data)[sent:])
            self._wait_until_writable()
        return None

    def close(self, why: str = "the connection was closed") -> None:
        """Closing twice is fine."""
        if self.is_open:
            self.is_open = self._is_free = False
            self._out.append(b"")  # so nobody sends at once any more
            if isinstance(self._loop, BusLoop):
                self._loop.forget(self._fd)
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            self._sock.close()
            self._lost(why)

    def _take(self, came: bytes | None, left: bytes | None) -> None:
        """What the receiver leaves to others."""
        if left is not None:
            return self.send(left)
        if came is None:
            try:
                came = self._sock.recv(READ_SIZE)
            except (BlockingIOError, InterruptedError):
                return None
            except OSError as error:
                return self.close(f"the message bus is gone: {error}")
        return self._hand_over(came) if not self._rest and _is_one(came) else self._receive_all(came)

    def _hand_over(self, message: bytes) -> None:
        try:
            self._receive(message)
        except Exception:  # what follows in the stream must not suffer
            log.exception("a message of %d bytes could not be handled", len(message))

    def _receive_all(self, data: bytes) -> None:
        if not data:
            return self.close("the message bus is gone")
        self._is_free = False
        try:
            self._cut(data)
        finally:
            self._is_free = self.is_open and not self._waiting
            self._receiver.is_held = bool(self._rest)
        if self._out and self._is_free:
            self._flush()
        return None

    def _cut(self, data: bytes) -> None:
        """Hand over the complete messages, keep the rest."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._size(self._rest, 0):
                return
            data = bytes(self._rest)
            self._rest.clear()
        at, end, receiver = 0, len(data), self._receiver
        while self.is_open and end - at >= HEAD_SIZE:
            serial, most = receiver.next_serial(), (end - at) // LEAST_CALL
            receiver.serial = (serial + most) % MAX_SERIAL
            at = answer_all(receiver.plans, data, at, serial, self._out.append)
            if end - at < HEAD_SIZE or end - at < (size := self._size(data, at)):
                break
            if data[at + 1] in _KNOWN_TYPES:
                self._hand_over(data[at : at + size])
            at += size
        if at < end:
            self._rest += data[at:]

    def _size(self, data: bytes | bytearray, at: int) -> int:
        """Length of the message at `at`; closes the connection when it cannot be one."""
        if len(data) - at < HEAD_SIZE:
            return HEAD_SIZE
        header = _LITTLE if data[at] == _LITTLE_ENDIAN else _BIG
        _, _, _, version, body, _, fields = header.unpack_from(data, at)
        size: int = HEAD_SIZE + (fields + 7 & ~7) + body
        if version != 1 or size > MAX_MESSAGE + HEAD_SIZE + 7:
            self.close("the message bus sent what is no message")
            return sys.maxsize
        return size

    def _flush(self) -> None:
        """Send what is queued; what the socket does not take waits until it does."""
        out = self._out
        if len(out) > 1 and not self._waiting:
            whole = b"".join(out)
            out.clear()
            out.append(whole)
        while out:
            try:
                sent = self._sock.send(out[0])
            except (BlockingIOError, InterruptedError):
                return self._wait_until_writable()
            except OSError as error:
                return self.close(f"the message bus is gone: {error}")
            if sent < len(out[0]):
                out[0] = memoryview(out[0])[sent:]
                return self._wait_until_writable()
            out.popleft()
        if self._waiting:
            self._waiting, self._is_free = False, True
            self._loop.remove_writer(self._fd)
        return None

    def _wait_until_writable(self) -> None:
        if not self._waiting:
            self._waiting, self._is_free = True, False
            self._loop.add_writer(self._fd, self._flush)
