# SPDX-License-Identifier: GPL-2.0-or-later
"""What xenops' commands work on: the host's parts, opened when a command first asks for them."""

import os
from contextlib import AsyncExitStack
from functools import cached_property

from openxt_core.errors import BadRequest
from openxt_core.ids import DOM0, Domid, Uuid
from openxt_core.places import Places
from openxt_xen.hypervisor import DomainInfo, Hypervisor, Rings
from openxt_xen.open import open_hypervisor
from openxt_xen.operator import Operator, open_operator
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.client import XenStore
from openxt_xenvm.config.lines import read_pci_address
from openxt_xenvm.config.model import PciAddress
from openxt_xenvm.dom0.keeper import open_keeper
from openxt_xenvm.plan import handshake
from openxt_xenvm.plan.closing import attached_of
from openxt_xenvm.plan.stub_site import stubdom_of
from openxt_xenvm.settings import Settings
from openxt_xenvm.site import Host, Site


class Session:
    """One run of xenops.  Nothing else runs in its loop, so short hypercalls are made in it."""

    def __init__(self) -> None:
        self._host: Host | None = None
        self._opened = AsyncExitStack()

    @cached_property
    def hypervisor(self) -> Hypervisor:
        hypervisor = open_hypervisor(os.environ)
        self._opened.callback(hypervisor.close)
        return hypervisor

    @cached_property
    def operator(self) -> Operator:
        operator = open_operator(os.environ)
        self._opened.callback(operator.close)
        return operator

    async def store(self) -> XenStore:
        return (await self.host()).store

    async def host(self) -> Host:
        if self._host is None:
            places = Places.of(os.environ)
            lock = places.at("/var/lock/xen-buildvm-lock")
            store, keeper = await XenStore.connect(), open_keeper(os.environ)
            self._host = Host(self.hypervisor, store, lock, keeper, Settings.of(os.environ))
        return self._host

    async def close(self) -> None:
        if self._host is not None:
            self._host.close()
        await self._opened.aclose()

    def info(self, domid: Domid) -> DomainInfo:
        """Raises BadRequest when there is no such domain."""
        info = self.hypervisor.info(domid)
        if info is None:
            raise BadRequest(f"there is no domain {domid}")
        return info

    def guest(self, domid: Domid) -> DomainInfo:
        """The same for a domain that may be ended: raises BadRequest for dom0."""
        if domid == DOM0:
            raise BadRequest("domain 0 is this host's own")
        return self.info(domid)

    async def empty_site(self, uuid: Uuid, domid: Domid | None = None) -> Site:
        """Where steps build a domain, or end one."""
        return Site(await self.host(), uuid, lambda _event: None, lambda _domid: None, domid)

    async def site(self, domid: Domid) -> Site:
        """Where steps change a domain that was built."""
        site = await self.empty_site(self.guest(domid).uuid, domid)
        site.store_port = await self._number(paths.store(domid, "port"))
        site.console_port = await self._number(paths.console(domid, "port"))
        site.rings = Rings(
            await self._number(paths.store(domid, "ring-ref")),
            await self._number(paths.console(domid, "ring-ref")),
        )
        site.attached |= await attached_of(site.host, domid)
        site.backends |= await handshake.servers(site.host, domid)
        site.given = await self._given(domid)
        site.stubdom = await stubdom_of(site.host, domid)
        return site

    async def _given(self, domid: Domid) -> tuple[PciAddress, ...]:
        """The PCI devices that dom0's nodes name."""
        store, folder = await self.store(), f"{paths.backends(DOM0)}/pci/{domid}"
        found: list[PciAddress] = []
        for devid in await store.list(folder):
            names = [name for name in await store.list(f"{folder}/{devid}") if name.startswith("dev-")]
            words = [await store.read(f"{folder}/{devid}/{name}") for name in names]
            found += (read_pci_address(word.partition("@")[0]) for word in words if word)
        return tuple(found)

    async def _number(self, path: str) -> int:
        """Of nodes that the toolstack writes; 0 when it did not."""
        value = await (await self.store()).read(path)
        return int(value) if value and value.isascii() and value.isdecimal() else 0
