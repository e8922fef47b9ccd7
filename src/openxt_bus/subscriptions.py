# SPDX-License-Identifier: GPL-2.0-or-later
"""Who listens to which signals: match rules counted on the bus, callbacks called here.

A well-known sender is followed from owner to owner.  How the bus is asked is given by `connection`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from openxt_bus.matching import BUS_NAME, Key, Match, Signal, keys_of
from openxt_core.errors import Unavailable
from openxt_core.spec import Value

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Subscription:
    """Keeps a callback informed until it is closed; closing twice is fine."""

    match: Match
    callback: Callable[[Signal], None]
    owner: "Subscriptions"
    sender: str  # the unique name that match.sender stands for now; "" for none
    following: "Subscription | None" = None

    def sent_by(self, _old: str, new: str) -> None:
        self.sender = new

    async def close(self) -> None:
        await self.owner.remove(self)


class Subscriptions:
    """All subscriptions of one connection.

    `ask(member, signature, *body)` calls a method of the bus; `owner_of(name)` is a unique name or None.
    """

    def __init__(
        self,
        ask: Callable[..., Awaitable[Sequence[Value]]],
        owner_of: Callable[[str], Awaitable[str | None]],
    ) -> None:
        self._ask = ask
        self._owner_of = owner_of
        self._rules: dict[str, int] = {}
        self._rules_lock = asyncio.Lock()
        self._listeners: dict[Key, list[Subscription]] = {}

    def __bool__(self) -> bool:
        return bool(self._listeners)

    async def add(self, match: Match, callback: Callable[[Signal], None]) -> Subscription:
        """When this returns, the bus sends what matches."""
        subscription = Subscription(match, callback, self, match.sender)
        if match.followed_name:
            subscription.following, subscription.sender = await self.follow_name(
                match.followed_name, subscription.sent_by
            )
        try:
            await self._hold_rule(match.rule)
        except BaseException:
            if subscription.following is not None:
                await subscription.following.close()
            raise
        self._listeners.setdefault(match.key, []).append(subscription)
        return subscription

    async def watch_name(self, name: str, callback: Callable[[str, str], None]) -> Subscription:
        """Call `callback(old_owner, new_owner)` at each change of owner; "" means none."""
        match = Match(BUS_NAME, "NameOwnerChanged", sender=BUS_NAME, arg0=name)
        return await self.add(match, lambda signal: callback(signal.body[1], signal.body[2]))

    async def follow_name(self, name: str, callback: Callable[[str, str], None]) -> tuple[Subscription, str]:
        """As `watch_name`, and who owns the name when this returns; "" for nobody."""
        owner: str | None = None

        def changed(old: str, new: str) -> None:
            nonlocal owner
            owner = new
            callback(old, new)

        watch = await self.watch_name(name, changed)
        try:
            answer = await self._owner_of(name)
        except BaseException:
            await watch.close()
            raise
        if owner is None:  # else a change came, and it is no older than the answer
            owner = answer or ""
        return watch, owner

    async def remove(self, subscription: Subscription) -> None:
        key = subscription.match.key
        listeners = self._listeners.get(key, [])
        if subscription not in listeners:
            return
        listeners.remove(subscription)
        if not listeners:
            del self._listeners[key]
        try:
            await self._release_rule(subscription.match.rule)
            if subscription.following is not None:
                await subscription.following.close()
        except Unavailable:
            pass  # the bus is lost, and its rules with it

    def deliver(self, signal: Signal) -> None:
        """Call back all who want `signal`; one that fails is logged and stops nobody else."""
        for key in keys_of(signal):
            for listener in tuple(self._listeners.get(key, ())):
                if listener.match.accepts(signal, listener.sender):
                    _tell(listener, signal)

    async def _hold_rule(self, rule: str) -> None:
        async with self._rules_lock:
            if rule not in self._rules:
                await self._ask("AddMatch", "s", rule)
            self._rules[rule] = self._rules.get(rule, 0) + 1

    async def _release_rule(self, rule: str) -> None:
        async with self._rules_lock:
            self._rules[rule] -= 1
            if not self._rules[rule]:
                del self._rules[rule]
                await self._ask("RemoveMatch", "s", rule)


def _tell(listener: Subscription, signal: Signal) -> None:
    try:
        listener.callback(signal)
    except Exception:
        log.exception("a listener for %s.%s failed", signal.interface, signal.member)
