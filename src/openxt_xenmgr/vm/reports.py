# SPDX-License-Identifier: GPL-2.0-or-later
"""What the daemons of others are told of VMs: when it happens, and again when one of them comes.

None of them holds up a VM: one that is absent, slow or refuses is logged.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from openxt_core.ids import Domid
from openxt_xenmgr.links import input, network, usb
from openxt_xenmgr.links.nodes import LOGIN_BEGUN
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.world import World


@dataclass(frozen=True)
class Reports:
    world: World

    def follow(self) -> None:
        """Tell newcomers what they missed."""
        news = (
            (network.NAME, self._tell_backends),
            (usb.NAME, self._tell_usb),
            (input.NAME, self._begin_login),
        )
        for name, tell in news:
            self.world.peers.when_there(name, self._in_background(name, tell))

    def _in_background(self, name: str, tell: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
        return lambda: self.world.background.spawn(f"news for {name}", tell())

    async def has_started(self, vm: Vm, config: VmConfig) -> None:
        if vm.domid is None:
            return
        if config["provides-network-backend"]:
            await self.world.network.backend_status(vm.uuid, vm.domid)
        if config["usb-enabled"]:
            self.world.background.spawn("USB daemon", self.world.usb.vm_started(vm.domid))

    async def has_ended(self, vm: Vm, config: VmConfig, domid: Domid | None) -> None:
        """`domid`: what it had; None if that is not known any more."""
        if config["provides-network-backend"]:
            await self.world.network.backend_status(vm.uuid, None)
        if domid is not None:
            self.world.background.spawn("USB daemon", self.world.usb.vm_stopped(domid))
            self.world.places.at(f"/var/run/alsa-vm-{domid}.conf").unlink(missing_ok=True)

    async def _tell_backends(self) -> None:
        for vm in self.world.registry:
            config = await self.world.store.config_or_none_set(vm)
            if vm.domid is not None and config["provides-network-backend"]:
                await self.world.network.backend_status(vm.uuid, vm.domid)

    async def _tell_usb(self) -> None:
        for vm in self.world.registry:
            config = await self.world.store.config_or_none_set(vm)
            if vm.domid is not None and config["usb-enabled"]:
                await self.world.usb.vm_started(vm.domid)

    async def _begin_login(self) -> None:
        """Once a boot: a restarted xenmgr does not lock the screen of somebody who works."""
        if await self.world.nodes.xs.read(LOGIN_BEGUN) is None:
            await self.world.nodes.xs.write(LOGIN_BEGUN, "1")
            await self.world.input.begin_login()
