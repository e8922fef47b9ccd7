# SPDX-License-Identifier: GPL-2.0-or-later
"""Daemons that may not be installed at all: absent must cost nothing.

Who of them is on the bus is followed from the start, so that asking an absent one is no call, no time-out
and no activation.  One that comes late, or comes back, can be told what it missed.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol

from openxt_bus.connection import Subscription
from openxt_core.errors import OpenxtError
from openxt_core.spec import Caller, Value

log = logging.getLogger(__name__)


class NamedCaller(Caller, Protocol):
    """A caller that also knows who is there."""

    async def follow_name(self, name: str, callback: "NameWatcher") -> tuple[Subscription, str]: ...


class NameWatcher(Protocol):
    def __call__(self, old: str, new: str, /) -> None: ...


class Peers:
    """The optional daemons that are there now."""

    def __init__(self, bus: NamedCaller, answer_s: float) -> None:
        self.bus = bus
        self.answer_s = answer_s  # how long an answer may take
        self._there: set[str] = set()
        self._arrivals: dict[str, Callable[[], None]] = {}

    async def follow(self, names: Iterable[str]) -> None:
        """Know from now on which of `names` are on the bus."""
        for name in names:
            changed = partial(self._changed, name)
            _, owner = await self.bus.follow_name(name, changed)
            if not owner:
                log.info("%s is not there: what it would do is not done", name)
            elif name not in self._there:  # else it came just now
                changed("", owner)

    def when_there(self, name: str, tell: Callable[[], None]) -> None:
        """Call `tell` whenever that daemon comes; at once if it is there."""
        self._arrivals[name] = tell
        if name in self._there:
            tell()

    def _changed(self, name: str, _old: str, owner: str) -> None:
        """One that comes without having gone, as far as we know, is another one."""
        if not owner:
            self._there.discard(name)
            log.warning("%s has gone", name)
            return
        self._there.add(name)
        log.info("%s is there", name)
        if name in self._arrivals:
            self._arrivals[name]()

    def has(self, name: str) -> bool:
        return name in self._there

    async def ask(
        self, destination: str, interface: str, member: str, signature: str = "", *body: Value
    ) -> Sequence[Value] | None:
        """The answer of a peer's root object; None when it is absent, late or refuses (logged)."""
        if not self.has(destination):
            return None
        try:
            return await self.bus.call(
                destination, "/", interface, member, signature, body, timeout_s=self.answer_s
            )
        except OpenxtError as error:
            log.warning("%s.%s: %s", destination, member, error)
            return None
