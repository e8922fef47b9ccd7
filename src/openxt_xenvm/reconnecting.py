# SPDX-License-Identifier: GPL-2.0-or-later
"""Network cards whose host's side others make ready: one that comes back is told to be connected once more.

When a card's backend ends and comes again, because its guest let it go or its domain's driver was loaded
anew, its `hotplug-status` is gone, without which netback does not serve.  That it is back is the hotplug
script's word, as at the first time.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from openxt_core.errors import Unavailable
from openxt_core.ids import Domid
from openxt_xen.xenstore import paths
from openxt_xenvm.devices.vif import Vif, vif
from openxt_xenvm.leaving import InTurn
from openxt_xenvm.lifecycle import Lifecycle
from openxt_xenvm.plan.handshake import CONNECTED
from openxt_xenvm.state import ALIVE

log = logging.getLogger(__name__)


@dataclass
class Reconnecting:
    life: Lifecycle
    in_turn: InTurn
    _work: asyncio.Task[None] | None = None

    def follow(self) -> None:
        """To be called whenever the VM's state or its devices have changed."""
        vm = self.life.vm
        if vm.domid is None or vm.state not in ALIVE or not self._cards():
            self.forget()
        elif self._work is None or self._work.done():
            self._work = asyncio.create_task(self._follow(vm.domid))

    def _cards(self) -> Sequence[Vif]:
        return [card for card in map(vif, self.life.vm.active.nic) if card.is_by_script]

    async def _follow(self, domid: Domid) -> None:
        changed = asyncio.Event()
        try:
            watch = await self.life.host.store.watch(
                paths.hotplug_of_kind(domid, Vif.kind), lambda _: changed.set()
            )
            try:
                while True:
                    await changed.wait()
                    changed.clear()
                    if await self._lacking(domid):
                        self.in_turn("reconnect", lambda: self._reconnect(domid))
            finally:
                await watch.close()
        except Unavailable as error:
            log.debug("cards of domain %s are not followed: %s", domid, error)

    async def _lacking(self, domid: Domid) -> Sequence[Vif]:
        """Those that are back, and not told to be connected."""
        return [card for card in self._cards() if await self._is_lacking(card, domid)]

    async def _is_lacking(self, card: Vif, domid: Domid, tx: int = 0) -> bool:
        read, back = self.life.host.store.read, _back(card, domid)
        return (
            await read(paths.hotplug_done(domid, card.backend_kind, card.devid), tx) is not None
            and await read(f"{back}/frontend", tx) is not None
            and await read(f"{back}/hotplug-status", tx) != CONNECTED
        )

    async def _reconnect(self, domid: Domid) -> None:
        for card in await self._lacking(domid) if self.life.vm.domid == domid else ():
            await self._connect(card, domid)

    async def _connect(self, card: Vif, domid: Domid) -> None:
        """One that has gone meanwhile leaves nothing behind."""
        store, back = self.life.host.store, _back(card, domid)

        async def write(tx: int) -> None:
            if await self._is_lacking(card, domid, tx):
                if card.network:
                    await store.write(f"{back}/bridge", card.network, tx)
                await store.write(f"{back}/hotplug-status", CONNECTED, tx)

        await store.transact(write)
        log.info("card %d is back", card.devid)

    def forget(self) -> None:
        if self._work is not None:
            self._work.cancel()
            self._work = None


def _back(card: Vif, domid: Domid) -> str:
    return paths.backend(card.backend_domid, card.backend_kind, domid, card.devid)
