# SPDX-License-Identifier: GPL-2.0-or-later
"""Where steps work: Xen by way of one worker thread, XenStore, and what is known of the domain so far.

Decides nothing.  Hypercalls block, so none is made in the event loop; one thread keeps them in order.
"""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from openxt_core.ids import DOM0, Domid, Uuid
from openxt_xen.hypervisor import HvmBuilt, Hypervisor, Rings
from openxt_xen.xenstore.batch import Batch
from openxt_xen.xenstore.client import XenStore
from openxt_xenvm.config.model import PciAddress
from openxt_xenvm.devices.backing import Attachment
from openxt_xenvm.devices.base import Guest
from openxt_xenvm.dom0.keeper import Keeper
from openxt_xenvm.domain.nodes import Node
from openxt_xenvm.pruning import prune
from openxt_xenvm.settings import Settings
from openxt_xenvm.state import Event

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class Host:
    """What a monitor has of its host, for as long as it lives."""

    hypervisor: Hypervisor
    store: XenStore
    build_lock: Path
    keeper: Keeper
    settings: Settings = field(default_factory=Settings)
    run: Path = Path("/var/run/xenvm")
    logs: Path = Path("/var/log/xen")
    _worker: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=1, thread_name_prefix="xen")
    )

    async def xen(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a blocking call in the worker thread; it ends even if nobody waits for it any more."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._worker, partial(call, *args, **kwargs)))

    async def write(self, nodes: Iterable[Node], *, first_remove: Iterable[str] = ()) -> None:
        """Write nodes in one transaction, in order, after removing whole trees."""
        batch = Batch()
        for path in first_remove:
            batch.rm(path)
        for node in nodes:
            if node.value is None:
                batch.mkdir(node.path)
            else:
                batch.write(node.path, node.value)
            if node.access:
                batch.set_permissions(node.path, node.access)
        await self.store.apply(batch)

    async def remove(self, path: str, *, up_to: str) -> None:
        """Remove a tree, and the directories above it that are empty then, below `up_to`."""
        await self.store.rm(path)
        await self.prune(path.rpartition("/")[0], up_to=up_to)

    async def prune(self, path: str, *, up_to: str) -> None:
        """Remove a directory if it is empty, and then those above it that are, below `up_to`."""
        await prune(self.store, self.build_lock.with_name("xen-prune-lock"), path, up_to=up_to)

    async def remove_backend(self, path: str) -> None:
        """Remove a device's backend, and the folders above it that are empty then.

        Nobody but us fills the one of the device's domain: it needs no transaction.  Those of many monitors
        that stop at once would disturb each other.
        """
        await self.store.rm(path)
        folder = path.rpartition("/")[0]
        if not await self.store.list(folder):
            await self.remove(folder, up_to=path.partition("/backend/")[0])

    def close(self) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)
        self.hypervisor.close()
        self.store.close()


@dataclass
class Site:
    """One domain being made, or unmade."""

    host: Host
    uuid: Uuid
    announce: Callable[[Event], None]
    learn_domid: Callable[[Domid], None]
    domid: Domid | None = None
    store_port: int = 0
    console_port: int = 0
    rings: Rings | None = None
    tables: HvmBuilt | None = None  # HVM only
    backends: set[Domid] = field(default_factory=lambda: {DOM0})
    attached: set[Attachment] = field(default_factory=set)
    stubdom: Uuid | None = None  # of the domain's stub domain, from before it is made until it is gone
    learn_stubdom: Callable[[Uuid | None], None] = lambda _: None
    hidden: dict[PciAddress, str] = field(default_factory=dict)  # whose driver in dom0 was taken from them
    given: tuple[PciAddress, ...] = ()  # the domain has them, or shall have them
    save: Callable[[], None] = lambda: None
    progress: Callable[[int], None] = lambda _: None  # percent of the plan

    def remember(self, made: Attachment) -> None:
        """Before it is made: one that is written down and does not exist does no harm."""
        self.attached.add(made)
        self.save()

    def forget(self, made: Attachment) -> None:
        self.attached.discard(made)
        self.save()

    def remember_stubdom(self, uuid: Uuid | None) -> None:
        """Before it is made; None once nothing is left of it."""
        self.stubdom = uuid
        self.learn_stubdom(uuid)

    def use_backend(self, domid: Domid) -> None:
        """Before anything is written there."""
        if domid not in self.backends:
            self.backends.add(domid)
            self.save()

    def below(self, devid: int) -> tuple[Attachment, ...]:
        """What stands below one disk, the uppermost first."""
        mine = (made for made in self.attached if made.devid == devid)
        return tuple(sorted(mine, key=lambda made: -made.level))

    def in_haste(self) -> "Site":
        """The same domain, on a host that does not wait until another domain has booted."""
        settings = self.host.settings
        settings = replace(settings, backend_domain_s=min(settings.backend_s, settings.backend_domain_s))
        return replace(self, host=replace(self.host, settings=settings))

    @property
    def created(self) -> Domid:
        """Of the domain that an earlier step created."""
        assert self.domid is not None
        return self.domid

    @property
    def guest(self) -> Guest:
        """The domain that earlier steps built, or that was found running: then without its rings."""
        return Guest(self.created, self.uuid, self.console_port, self.rings or Rings(0, 0))
