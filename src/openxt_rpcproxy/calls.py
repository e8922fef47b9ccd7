# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls of one conversation that await their answers.  Pure and bounded.

A reply passes only to an open call, and closes it: whoever makes up a reply reaches nobody.
"""

from openxt_core.errors import Refused

MAX_OPEN = 2048  # each way


class TooManyCalls(Refused):
    dbus_name = "org.freedesktop.DBus.Error.LimitsExceeded"


class OpenCalls:
    def __init__(self) -> None:
        self._clients: dict[int, str] = {}
        self._buses: dict[tuple[str, int], None] = {}

    def client_asks(self, serial: int, note: str = "") -> None:
        """`note` comes back with the answer.  Raises TooManyCalls, and for a serial that is in use."""
        if serial in self._clients:
            raise TooManyCalls(f"a call with serial {serial} is open already")
        if len(self._clients) >= MAX_OPEN:
            raise TooManyCalls(f"{MAX_OPEN} calls are open already")
        self._clients[serial] = note

    def bus_answers(self, reply_serial: int) -> str | None:
        """The note of the client's call that this answers; None when it answers none."""
        return self._clients.pop(reply_serial, None)

    def bus_asks(self, sender: str, serial: int) -> None:
        """Of too many the oldest is given up: a guest that never answers must not bar others from asking."""
        if len(self._buses) >= MAX_OPEN:
            del self._buses[next(iter(self._buses))]
        self._buses[sender, serial] = None

    def client_answers(self, destination: str, reply_serial: int) -> bool:
        """Whether that peer awaits this answer."""
        is_open = (destination, reply_serial) in self._buses
        if is_open:
            del self._buses[destination, reply_serial]
        return is_open
