# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that means harm: one attack on an rpc-proxy, from a process of its own.

Usage: hostile_guest.py ATTACK SOCKET DOMID COUNT        (SOCKET: the proxy's own; DOMID: whom it shall see)
Says `on`, with what it saw, when the attack is at its height, and keeps it up until its stdin ends.
"""

import contextlib
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from openxt_bus.codec import Message, decode, encode
from openxt_bus.framing import cut
from openxt_bus.transport.hello import HELLO, MAGIC

BUS, BUS_PATH = "org.freedesktop.DBus", "/org/freedesktop/DBus"
CALL, RETURN, SIGNAL = 1, 2, 4
NO_REPLY = 1
TIMEOUT_S = 20.0
STALLED_S = 0.5  # nothing goes any more for so long: the proxy does not read us


class Connection:
    """One of the guest's connections."""

    def __init__(self, where: str, domid: int) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(where)
        self.sock.sendall(HELLO.pack(MAGIC, domid, 1))
        self.serial = 0
        self._buffer = bytearray()
        self._waiting: list[Message] = []
        self._unsent = b""

    def enter(self) -> "Connection":
        self.sock.sendall(b"\0AUTH EXTERNAL 30\r\n")
        assert self.sock.recv(200).startswith(b"OK")
        self.sock.sendall(b"BEGIN\r\n" + self.call("Hello"))
        assert self.answer().type == RETURN
        return self

    def call(self, member: str, *args: Any, serial: int = 0, flags: int = 0) -> bytes:
        """A call of the bus itself."""
        self.serial += 1
        signature = "".join("s" if isinstance(arg, str) else "u" for arg in args)
        fields = {1: BUS_PATH, 2: BUS, 3: member, 6: BUS, 8: signature}
        return encode(Message(CALL, serial or self.serial, fields, args, flags))

    def answer(self) -> Message:
        """The next message that is no signal.  Raises EOFError."""
        while True:
            while self._waiting:
                message = self._waiting.pop(0)
                if message.type != SIGNAL:
                    return message
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self._buffer += data
            self._waiting += map(decode, cut(self._buffer, 2**27))

    def errors(self, count: int) -> dict[str, int]:
        """How often each error is among so many answers."""
        found: dict[str, int] = {}
        for _ in range(count):
            name = self.answer().fields.get(4, "")
            found[name.rpartition(".")[2]] = found.get(name.rpartition(".")[2], 0) + 1
        return found

    def push(self, data: bytes) -> bool:
        """Send without ever reading; False when nothing goes any more.  What is left then comes first."""
        self.sock.setblocking(False)
        view = memoryview(self._unsent or data)
        while view:
            try:
                view = view[self.sock.send(view) :]
            except BlockingIOError:
                if not select.select([], [self.sock], [], STALLED_S)[1]:
                    self._unsent = bytes(view)
                    return False
        self._unsent = b""
        return True

    def is_cut_off(self) -> bool:
        """The proxy ended the conversation."""
        self.sock.settimeout(TIMEOUT_S)
        with contextlib.suppress(ConnectionError):
            while self.sock.recv(65536):
                pass
        return True


Open = Callable[[], Connection]
Attack = Callable[[Open, int], Iterator[str]]
"""Yields what it saw at its height, then goes on as often as it is asked."""


def slow_reader(new: Open, count: int) -> Iterator[str]:
    """Wants every signal, reads none, and has another connection send them."""
    victim, flood = new().enter(), new().enter()
    victim.sock.sendall(victim.call("AddMatch", "type='signal'"))
    fields = {1: "/", 2: "com.citrix.xenclient.guest", 3: "agent_started"}
    batch = b"".join(encode(Message(SIGNAL, 10 + number, fields)) for number in range(100))
    for _ in range(count // 100):
        flood.push(batch)
    while True:
        yield "signals"
        flood.push(batch)


def unread_replies(new: Open, count: int) -> Iterator[str]:
    """Until nothing goes any more; before so many it is only read slowly."""
    one = new().enter()
    sent = 0
    while True:
        if one.push(b"".join(one.call("GetNameOwner", BUS) for _ in range(100))):
            sent += 100
        elif sent >= count:
            yield f"stalled after {sent}"


def match_flood(new: Open, count: int) -> Iterator[str]:
    one = new().enter()
    found: dict[str, int] = {}
    for start in range(0, count, 100):
        batch = [
            one.call("AddMatch", f"type='signal',arg0='{number}'") for number in range(start, start + 100)
        ]
        one.sock.sendall(b"".join(batch))
        for name, times in one.errors(100).items():
            found[name] = found.get(name, 0) + times
    while True:
        yield str(found)


def name_flood(new: Open, count: int) -> Iterator[str]:
    one = new().enter()
    one.sock.sendall(b"".join(one.call("RequestName", f"a.flood{number}", 0) for number in range(count)))
    found = one.errors(count)
    while True:
        yield str(found)


def connections(new: Open, count: int) -> Iterator[str]:
    kept = []
    refused = 0
    for _ in range(count):
        try:
            kept.append(new().enter())
        except (OSError, AssertionError):
            refused += 1
    while True:
        yield f"{len(kept)} open, {refused} refused"


def maximal_messages(new: Open, count: int) -> Iterator[str]:
    """One that is too large, whole; then all connections with as much of one as goes."""
    one = new().enter()
    one.sock.sendall(one.call("GetNameOwner", "x" * (9 * 2**20)))
    found = one.errors(1)
    others = [new().enter() for _ in range(8)]
    most = others[0].call("GetNameOwner", "x" * (7 * 2**20))[:-1]
    for other in others:
        with contextlib.suppress(ConnectionError):
            other.push(most)
    while True:
        yield str(found)


def half_messages(new: Open, count: int) -> Iterator[str]:
    halves = [new().enter() for _ in range(30)]
    for one in halves:
        one.sock.sendall(one.call("GetNameOwner", BUS)[:-3])
    while True:
        yield f"{len(halves)} halves"


def auth_stalls(new: Open, count: int) -> Iterator[str]:
    stalled = [new() for _ in range(30)]
    for number, one in enumerate(stalled):
        one.sock.sendall(b"\0AUTH EXTERNAL 30\r\n"[: number % 19])
    while True:
        yield f"{len(stalled)} stalls"


def lies(good: bytes) -> Iterator[bytes]:
    """A sound message, changed so that it contradicts itself."""
    fields = struct.unpack_from("<I", good, 12)[0]
    at = {"body": 4, "serial": 8, "fields": 12}
    for name, value in (("body", 2**32 - 1), ("serial", 0), ("fields", 2**32 - 1), ("fields", fields - 3)):
        yield good[: at[name]] + struct.pack("<I", value) + good[at[name] + 4 :]
    yield b"X" + good[1:]  # no byte order
    yield good[:3] + b"\2" + good[4:]  # version
    yield good[:18] + b"u" + good[19:]  # a path that is a number
    yield good[:20] + struct.pack("<I", 2**31) + good[24:]  # a string beyond the header
    twice = good[16:40]
    yield good[:12] + struct.pack("<I", fields + 24) + twice + good[16:]
    yield good[:16] + b"\x00" + good[17:]  # field 0
    yield good[:1] + b"\0" + good[2:]  # no type


def header_lies(new: Open, count: int) -> Iterator[str]:
    told = 0
    sample = Connection.call(new().enter(), "GetNameOwner", BUS)
    for bad in lies(sample):
        one = new().enter()
        with contextlib.suppress(ConnectionError):
            one.sock.sendall(bad + b"\0" * 64)
        with contextlib.suppress(ConnectionError):
            one.sock.shutdown(socket.SHUT_WR)
        told += one.is_cut_off()
    while True:
        yield f"{told} cut off"


def new_headers(new: Open, count: int) -> Iterator[str]:
    """Each message has another header, on as many connections as go: nothing kept helps to judge them."""
    one = new().enter()
    fields = {1: "/", 2: "made.up", 6: "made.up"}
    batches = [
        b"".join(
            encode(Message(CALL, 10 + number, {**fields, 3: f"m{connection}_{number}"}, (), NO_REPLY))
            for number in range(2000)
        )
        for connection in range(count - 1)
    ]
    others = [one, *(new().enter() for _ in batches[1:])]
    rests = [memoryview(batch) for batch in batches]
    for other in others:
        other.sock.setblocking(False)
    while True:
        for at, other in enumerate(others):
            with contextlib.suppress(BlockingIOError):
                rests[at] = rests[at][other.sock.send(rests[at]) :] or memoryview(batches[at])
        yield f"{len(others)} connections"


def serial_reuse(new: Open, count: int) -> Iterator[str]:
    one = new().enter()
    one.sock.sendall(b"".join(one.call("GetNameOwner", BUS, serial=77) for _ in range(2)))
    found = one.errors(2)
    while True:
        yield str(found)


def forged_replies(new: Open, count: int) -> Iterator[str]:
    one = new().enter()
    for number in range(1, count):
        fields = {5: number % 100 + 1, 6: f":1.{number % 30}", 8: "s"}
        one.sock.sendall(encode(Message(RETURN, number + 10, fields, ("forged",))))
    one.sock.sendall(one.call("GetNameOwner", BUS))
    found = one.errors(1)
    while True:
        yield str(found)


def hello_twice(new: Open, count: int) -> Iterator[str]:
    one = new().enter()
    one.sock.sendall(one.call("Hello"))
    found = one.errors(1)
    one.sock.sendall(one.call("GetNameOwner", BUS))
    assert one.answer().type == RETURN
    while True:
        yield str(found)


ATTACKS: dict[str, Attack] = {
    one.__name__: one
    for one in (
        *(slow_reader, unread_replies, match_flood, name_flood, connections, maximal_messages, half_messages),
        *(auth_stalls, header_lies, new_headers, serial_reuse, forged_replies, hello_twice),
    )
}


def main() -> None:
    attack, where, domid, count = sys.argv[1:]
    steps = ATTACKS[attack](lambda: Connection(where, int(domid)), int(count))
    print("on", next(steps), flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        next(steps)
        time.sleep(0.001)


if __name__ == "__main__":
    main()
