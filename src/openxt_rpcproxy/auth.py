# SPDX-License-Identifier: GPL-2.0-or-later
"""The authentication phase: what a client says before its first message, and what we say to the bus.

No I/O.  The client's claims are never passed on: we authenticate to the bus ourselves, first with the
client's domid (`AUTH DOMID`, which an OpenXT bus daemon understands), then as ourselves.
Source: D-Bus specification 1.0, "Authentication Protocol"; OpenXT rpc-proxy 2015.
"""

import enum

MAX_LINE = 128  # bytes, line end included
MAX_LINES = 32

_MECHANISMS = ("ANONYMOUS", "EXTERNAL")
_OF_DOM0 = (*_MECHANISMS, "DOMID")  # another proxy in domain 0 names its client; it stays domain 0 to us


class AuthError(Exception):
    """The client broke the protocol or a limit: its connection is closed."""


class _State(enum.Enum):
    NUL = enum.auto()
    AUTH = enum.auto()
    DATA = enum.auto()  # a mechanism was chosen; its initial data is awaited
    ACCEPTED = enum.auto()
    DONE = enum.auto()


class ClientAuth:
    """The server's side towards the client.  Feed it bytes; it gives answers."""

    def __init__(self, uuid: str = "", *, is_dom0: bool = False) -> None:
        """`uuid`: told to the client as DATA before OK when not empty."""
        self._uuid = uuid
        self._mechanisms = _OF_DOM0 if is_dom0 else _MECHANISMS
        self._guid = ""  # the bus's, once it accepted us; stays when the client begins anew
        self._state = _State.NUL
        self._buffer = bytearray()
        self._lines = 0

    @property
    def wants_guid(self) -> bool:
        """The client's mechanism is fine; say `accept(guid)` or close."""
        return self._pending

    _pending = False

    @property
    def done(self) -> bool:
        """BEGIN was read; `rest()` holds what came after it."""
        return self._state is _State.DONE

    def rest(self) -> bytes:
        return bytes(self._buffer)

    def feed(self, data: bytes) -> bytes:
        """Take what the client sent; the answer, which may be empty.  Raises AuthError."""
        self._buffer += data
        return self.proceed()

    def proceed(self) -> bytes:
        """Go on with what was fed already (after `accept`)."""
        answers = bytearray()
        while not self.done and not self._pending:
            line = self._next_line()
            if line is None:
                break
            answers += self._answer(line)
        return bytes(answers)

    def accept(self, guid: str) -> bytes:
        """The bus took our own authentication; tell the client."""
        assert self._pending
        self._pending = False
        self._guid = guid
        return self._accepted()

    def _accepted(self) -> bytes:
        self._state = _State.ACCEPTED
        told = f"DATA {self._uuid}\r\n" if self._uuid else ""
        return f"{told}OK {self._guid}\r\n".encode()

    def _next_line(self) -> str | None:
        if self._state is _State.NUL:
            return self._nul()
        end = self._buffer.find(b"\r\n", 0, MAX_LINE)
        if end < 0:
            if len(self._buffer) >= MAX_LINE:
                raise AuthError(f"line of {MAX_LINE} bytes or more")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        self._lines += 1
        if self._lines > MAX_LINES or not line.isascii():
            raise AuthError("too many lines, or not ASCII")
        return line.decode("ascii")

    def _nul(self) -> str | None:
        if not self._buffer:
            return None
        if self._buffer.pop(0) != 0:
            raise AuthError("the first byte is not NUL")
        self._state = _State.AUTH
        return self._next_line()

    def _answer(self, line: str) -> bytes:
        word, _, argument = line.partition(" ")
        if word == "AUTH" and self._state is _State.AUTH:
            return self._auth(argument)
        if word == "DATA" and self._state is _State.DATA:
            return self._identified()
        if word in ("CANCEL", "ERROR"):
            return self._rejected()
        if word == "BEGIN":
            if self._state is not _State.ACCEPTED:
                raise AuthError("BEGIN before OK")
            self._state = _State.DONE
            return b""
        # NEGOTIATE_UNIX_FD too: no file descriptor crosses between domains
        return b"ERROR\r\n"

    def _auth(self, argument: str) -> bytes:
        mechanism, _, initial = argument.partition(" ")
        if mechanism not in self._mechanisms:
            return self._rejected()
        if mechanism == "EXTERNAL" and not initial:
            self._state = _State.DATA
            return b"DATA\r\n"
        return self._identified()

    def _identified(self) -> bytes:
        """Who the client says it is does not matter; that the bus takes us does."""
        if self._guid:
            return self._accepted()
        self._pending = True
        return b""

    def _rejected(self) -> bytes:
        self._state = _State.AUTH
        return f"REJECTED {' '.join(self._mechanisms)}\r\n".encode()


class BusAuth:
    """Our side towards the bus.  Lines out, answers in; ends with the bus's guid."""

    def __init__(self, domid: int, uid: int) -> None:
        external = f"AUTH EXTERNAL {str(uid).encode().hex()}\r\n".encode()
        as_domain = f"AUTH DOMID {str(domid).encode().hex()}\r\n".encode()
        self._tries = [as_domain, external] if domid != 0 else [external]

    def first(self) -> bytes:
        return b"\0" + self._tries.pop(0)

    def answer(self, line: str) -> tuple[bytes, str | None]:
        """What to send next, and the guid once the bus accepted.  Raises AuthError."""
        word, _, argument = line.partition(" ")
        if word == "OK":
            return b"BEGIN\r\n", argument
        if word in ("REJECTED", "ERROR") and self._tries:
            return self._tries.pop(0), None
        raise AuthError(f"the bus answered {line[:80]!r}")
