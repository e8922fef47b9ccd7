# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens to a VM's domain without being asked: it ends, or one of its nodes changes.

XenStore says only "some domain went away"; whether it was ours, and why, is asked of Xen.  Follows one
domain at a time, and watches nobody else's nodes.  Guests own some of these nodes: whatever they write, and
however often, the domain's end is heard of.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from openxt_core.errors import OpenxtError
from openxt_core.ids import Domid, Uuid
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.client import Watch
from openxt_xenvm.fate import Fate, fate_of
from openxt_xenvm.notify import Notice, clock_moved, node_changed
from openxt_xenvm.site import Host

log = logging.getLogger(__name__)

NODE_PAUSE_S: Final = 0.5
"""Between two looks at the same node: of what changes faster only the last value is told."""

RETRY_S: Final = 1.0
"""After a look that failed.  Source: OpenXT xenvm, 2015."""


@dataclass(frozen=True)
class WatchedNode:
    path: str
    describe: Callable[[str | None], Notice]


def watched_nodes(
    domid: Domid, uuid: Uuid, local: tuple[str, ...], of_vm: tuple[str, ...]
) -> tuple[WatchedNode, ...]:
    """The guest's clock, and what the config asks for."""
    clock = WatchedNode(f"{paths.vm(uuid)}/rtc/timeoffset", lambda value: clock_moved(value or "0"))
    return (
        clock,
        *(WatchedNode(f"{paths.domain(domid)}/{node}", partial(node_changed, node)) for node in local),
        *(WatchedNode(f"{paths.vm(uuid)}/{node}", partial(node_changed, node)) for node in of_vm),
    )


@dataclass
class DomainWatch:
    """From `follow` to `forget`: `fate` is set when the domain ends, and then `on_end` is called.

    Once more if a domain that has ended and was left there vanishes afterwards.
    """

    host: Host
    uuid: Uuid
    tell: Callable[[Notice], None]
    on_end: Callable[[Domid, Fate], None]
    fate: asyncio.Future[Fate] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    _domid: Domid | None = None
    _last: Fate | None = None
    _watches: list[Watch] = field(default_factory=list)
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _todo: "_Todo" = field(default_factory=lambda: _Todo())
    _work: asyncio.Task[None] | None = None
    _values: dict[str, str | None] = field(default_factory=dict)

    async def follow(self, domid: Domid, nodes: tuple[WatchedNode, ...]) -> None:
        await self.forget()
        self._domid, self._last = domid, None
        self.fate = asyncio.get_running_loop().create_future()
        self._todo = todo = _Todo()
        self._work = asyncio.create_task(self._follow(domid, todo))
        watch = self.host.store.watch
        self._watches.append(await watch(paths.RELEASE_DOMAIN, todo.adder(None)))
        for node in nodes:
            self._watches.append(await watch(node.path, todo.adder(node)))

    async def forget(self) -> None:
        """After this, nothing that happens to the domain is told."""
        self._domid = None
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait([self._work])
            self._work = None
        watches, self._watches = self._watches, []
        for watch in watches:
            await watch.close()
        self._values.clear()

    async def check(self) -> Fate | None:
        """Ask Xen now, without waiting for an event."""
        if self._domid is not None:
            await self._check_domain(self._domid)
        return self.fate.result() if self.fate.done() else None

    async def _follow(self, domid: Domid, todo: "_Todo") -> None:
        while True:
            node = await todo.next()
            try:
                await (self._check_domain(domid) if node is None else self._check_node(node))
            except OpenxtError as error:
                log.warning("domain %s: looking again in %.0f s: %s", domid, RETRY_S, error)
                todo.add(node)
                await asyncio.sleep(RETRY_S)  # whatever failed tells nobody when it works again
            if node is not None:
                todo.rest(node, NODE_PAUSE_S)

    async def _check_domain(self, domid: Domid) -> None:
        async with self._looking:
            await self._look_at_domain(domid)

    async def _look_at_domain(self, domid: Domid) -> None:
        info = await self.host.xen(self.host.hypervisor.info, domid)
        fate = fate_of(info, self.uuid)
        is_news = fate is Fate.VANISHED if self._last else fate is not None
        if fate is None or fate is self._last or not is_news:
            return
        log.info("domain %s %s", domid, fate)
        self._last = fate
        await self._tell_the_rest()
        if not self.fate.done():
            self.fate.set_result(fate)
        self.on_end(domid, fate)

    async def _tell_the_rest(self) -> None:
        """What the guest wrote before it ended is told before that."""
        for node in self._todo.nodes():
            try:
                await self._check_node(node)
            except OpenxtError as error:
                log.warning("%s is not told: %s", node.path, error)

    async def _check_node(self, node: WatchedNode) -> None:
        """A watch fires once when it is set, too: what was not there before is no news."""
        value = await self.host.store.read(node.path)
        if value == self._values.get(node.path):
            return
        self._values[node.path] = value
        self.tell(node.describe(value))


class _Todo:
    """What is to be looked at; None is the domain itself.

    What waits already is not added again: when many domains end at once, every monitor of the host hears of
    each, and asks Xen a few times rather than once for each.
    """

    def __init__(self) -> None:
        self._waiting: dict[WatchedNode | None, None] = {}
        self._resting: set[WatchedNode | None] = set()
        self._some = asyncio.Event()

    def adder(self, node: WatchedNode | None) -> Callable[[str], None]:
        """A watch's callback that leaves work for later."""
        return lambda _: self.add(node)

    def add(self, node: WatchedNode | None) -> None:
        self._waiting[node] = None
        self._some.set()

    def nodes(self) -> list[WatchedNode]:
        """That wait, also because they rest: not any more."""
        found = [node for node in self._waiting if node is not None]
        for node in found:
            del self._waiting[node]
        return found

    def rest(self, node: WatchedNode, seconds: float) -> None:
        """It is not looked at for so long, though what happens to it meanwhile waits."""
        self._resting.add(node)
        asyncio.get_running_loop().call_later(seconds, self._wake, node)

    def _wake(self, node: WatchedNode) -> None:
        self._resting.discard(node)
        self._some.set()

    async def next(self) -> WatchedNode | None:
        """The one that has waited longest; whatever happens to it from now on is to be looked at again."""
        while not (ready := [node for node in self._waiting if node not in self._resting]):
            self._some.clear()
            await self._some.wait()
        del self._waiting[ready[0]]
        return ready[0]
