# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests on the ports of an rpc-proxy, whose dom-stores are full and that go on writing, for dbd's bench.

Usage: guests.py PORT COUNT GO-FILE PAUSE     (prints `full` if all are; goes on when the file is there)

Each has a connection of its own and does three calls, then pauses so many seconds: a write that dbd refuses,
a read and a write in place.  With a pause of 0 each asks as fast as it is answered.
"""

import itertools
import os
import select
import socket
import sys
import time
from pathlib import Path

from openxt_bus.codec import Message, decode, encode
from openxt_bus.framing import cut
from openxt_bus.transport.hello import HELLO, MAGIC
from openxt_core.ids import DBD_NAME
from openxt_xen.xenstore.client import XenStore

BUS, BUS_PATH = "org.freedesktop.DBus", "/org/freedesktop/DBus"
CALL, ERROR, SIGNAL = 1, 3, 4
WAIT_S = 60.0
VALUE = "x" * 1000


def guest_uuid(domid: int) -> str:
    return f"00000000-0000-0000-0000-{domid:012}"


class Guest:
    """One connection, by a plain socket."""

    def __init__(self, port: str, domid: int) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(WAIT_S)
        self.sock.connect(port)
        self.sock.sendall(HELLO.pack(MAGIC, domid, 1) + b"\0AUTH EXTERNAL 30\r\n")
        assert self.sock.recv(200).startswith(b"OK")
        self.sock.sendall(b"BEGIN\r\n" + encode(Message(CALL, 1, {1: BUS_PATH, 2: BUS, 3: "Hello", 6: BUS})))
        self.answer()
        self._serials = itertools.count(2)
        self._next = iter(self._three(0))
        self._turn = 0

    def _three(self, turn: int) -> tuple[tuple[str, ...], ...]:
        key = f"/k{turn % 500}"
        changed = VALUE.replace("x", "y" if turn % 2 else "z", 1)
        return ("write", f"/more{turn}", VALUE), ("read", key), ("write", key, changed)

    def ask(self) -> bool:
        """Send the next call.  False after the third of a turn."""
        deed = next(self._next, None)
        if deed is None:
            self._turn += 1
            self._next = iter(self._three(self._turn))
            return False
        self.call(*deed)
        return True

    def call(self, member: str, *args: str) -> None:
        fields = {1: "/", 2: DBD_NAME, 3: member, 6: DBD_NAME, 8: "s" * len(args)}
        self.sock.sendall(encode(Message(CALL, next(self._serials), fields, args)))

    def answer(self) -> Message:
        """The next message that is no signal."""
        buffer = bytearray()
        while True:
            data = self.sock.recv(64 * 1024)
            assert data, "the proxy ended the conversation"
            buffer += data
            for one in cut(buffer, 1 << 20):
                message = decode(one)
                if message.type != SIGNAL:
                    return message


def is_full(guest: Guest) -> bool:
    guest.call("write", "/more", VALUE)
    answer = guest.answer()
    return answer.type == ERROR and str(answer.fields[4]).endswith(".LimitsExceeded")


def go_on(guests: list[Guest], pause_s: float) -> None:
    """Until this process is ended."""
    poll = select.epoll()
    by_fd = {guest.sock.fileno(): guest for guest in guests}
    due = [(time.monotonic() + pause_s * number / len(guests), guest) for number, guest in enumerate(guests)]
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    while True:
        now = time.monotonic()
        while due and due[0][0] <= now:
            guest = due.pop(0)[1]
            if not guest.ask():
                guest.ask()
        for fd, _ in poll.poll(max(0.0, due[0][0] - now) if due else None):
            guest = by_fd[fd]
            guest.answer()
            if not guest.ask():
                due.append((time.monotonic() + pause_s, guest))


async def introduce(count: int) -> None:
    """Domains as XenStore knows them."""
    store = await XenStore.connect()
    for domid in range(1, count + 1):
        uuid = guest_uuid(domid)
        await store.write(f"/local/domain/{domid}/vm", f"/vm/{uuid}")
        await store.write(f"/vm/{uuid}/uuid", uuid)
    store.close()


def main(port: str, count: int, go: Path, pause_s: float) -> None:
    import asyncio

    asyncio.run(introduce(count))
    guests = [Guest(port, domid) for domid in range(1, count + 1)]
    assert all(map(is_full, guests))
    print("full", flush=True)
    while not go.exists():
        time.sleep(0.02)
    go_on(guests, pause_s)


if __name__ == "__main__":
    os.environ.setdefault("OPENXT_LOG", "stderr")
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]))
