# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens to a VM's domain without being asked: it ends, or one of its nodes changes.

XenStore says only "some domain went away"; whether it was ours, and why, is asked of Xen.  Follows one
domain at a time, and watches nobody else's nodes.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from openxt_core.errors import Unavailable
from openxt_core.ids import Domid, Uuid
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.client import Watch
from openxt_xenvm.fate import Fate, fate_of
from openxt_xenvm.notify import Notice, clock_moved, node_changed
from openxt_xenvm.site import Host

log = logging.getLogger(__name__)


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
    """From `follow` to `forget`: `fate` is set when the domain ends, and then `on_end` is called once."""

    host: Host
    uuid: Uuid
    tell: Callable[[Notice], None]
    on_end: Callable[[Domid, Fate], None]
    fate: asyncio.Future[Fate] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    _domid: Domid | None = None
    _watches: list[Watch] = field(default_factory=list)
    _work: asyncio.Task[None] | None = None
    _values: dict[str, str | None] = field(default_factory=dict)

    async def follow(self, domid: Domid, nodes: tuple[WatchedNode, ...]) -> None:
        await self.forget()
        self._domid = domid
        self.fate = asyncio.get_running_loop().create_future()
        todo = _Todo()
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
            except Unavailable as error:
                log.warning("domain %s cannot be followed: %s", domid, error)
                return

    async def _check_domain(self, domid: Domid) -> None:
        info = await self.host.xen(self.host.hypervisor.info, domid)
        fate = fate_of(info, self.uuid)
        if fate is not None and not self.fate.done():
            log.info("domain %s %s", domid, fate)
            self.fate.set_result(fate)
            self.on_end(domid, fate)

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
        self._some = asyncio.Event()

    def adder(self, node: WatchedNode | None) -> Callable[[str], None]:
        """A watch's callback that leaves work for later."""

        def add(_: str) -> None:
            self._waiting[node] = None
            self._some.set()

        return add

    async def next(self) -> WatchedNode | None:
        """The one that has waited longest; whatever happens to it from now on is to be looked at again."""
        while not self._waiting:
            self._some.clear()
            await self._some.wait()
        node = next(iter(self._waiting))
        del self._waiting[node]
        return node
