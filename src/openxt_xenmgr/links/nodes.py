# SPDX-License-Identifier: GPL-2.0-or-later
"""The XenStore nodes that xenmgr owns: each path in one place, and what is written there.

Source of paths and permissions: OpenXT xenmgr, 2015.  `name` of a domain is where `xl list` looks.
"""

from dataclasses import dataclass

from openxt_core.errors import Unavailable
from openxt_core.ids import DOM0, Domid, Uuid
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.batch import Batch
from openxt_xen.xenstore.client import XenStore
from openxt_xen.xenstore.wire import Permission
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.vm.states import State, parse_state
from openxt_xenmgr.vm.tree import parse_int

EXPORTS = "/xenmgr/vms"
HOST_STATE = "/xenmgr/host-state"
POWER_ACTION = "/xenmgr/pm-current-action"
UI_READY = "/xenmgr/ui-ready"
AUTOSTARTED = "/xenmgr/autostarted"  # of this boot: XenStore does not outlive it
LOGIN_BEGUN = "/xenmgr/login-begun"  # of this boot
VMS = "/vm"
LICENSE_HASH = "/xenmgr/license/hash"
BSG_DEVICES = "/xenclient/bsgdev"
BACKEND_DOMID = "/local/domain/0/backend-domid"

READABLE = (Permission(DOM0, "r"),)
WRITABLE = (Permission(DOM0, "b"),)


def _shared_with(domid: Domid) -> tuple[Permission, ...]:
    return (Permission(DOM0, "n"), Permission(domid, "b"))


def state_node(uuid: Uuid) -> str:
    return f"{paths.vm(uuid)}/state"


def export_node(uuid: Uuid) -> str:
    return f"{EXPORTS}/{uuid}"


def sentinel_node(domid: Domid, name: str) -> str:
    return f"{paths.domain(domid)}/{name}"


def exported(config: VmConfig, domid: Domid) -> dict[str, str]:
    """What the switcher is told of a running VM, by node name."""
    tag = {} if config.is_user_vm else {str(config["type"]): "1"}
    return {
        "domid": str(domid),
        "name": config.name,
        "slot": str(config["slot"]),
        "image": str(config["image-path"]),
        "type": str(config["type"]),
        "hidden": _digit(config["hidden-in-switcher"]),
        "hide-switcher": _digit(not config["show-switcher"]),
        "seamlessid": str(config["seamless-id"]),
        **tag,
    }


def _export(batch: Batch, config: VmConfig, domid: Domid) -> None:
    top = export_node(config.uuid)
    batch.mkdir(top)
    batch.set_permissions(top, READABLE)  # new nodes below it take these over
    for name, value in exported(config, domid).items():
        batch.write(f"{top}/{name}", value)


def _digit(value: bool) -> str:
    return "1" if value else "0"


@dataclass(frozen=True, slots=True)
class Nodes:
    """Writes and reads them.  Raises Unavailable when xenstored does not answer."""

    xs: XenStore

    async def prepare_host(self) -> None:
        """What must be there before any VM starts, and what a crash may have left."""
        await self.xs.mkdir(VMS)  # stays when the last VM's nodes go
        await self.xs.write(LICENSE_HASH, "local")
        for path, permissions in ((EXPORTS, READABLE), (BSG_DEVICES, WRITABLE)):
            await self.xs.mkdir(path)
            await self.xs.set_permissions(path, permissions)
        await self.xs.rm(POWER_ACTION)
        await self.xs.write(HOST_STATE, "idle")

    async def state(self, uuid: Uuid) -> State:
        """The recorded state; shut down when there is none."""
        return parse_state(await self.xs.read(state_node(uuid)) or "") or State.SHUTDOWN

    async def has_state(self, uuid: Uuid) -> bool:
        return await self.xs.read(state_node(uuid)) is not None

    async def write_state(self, uuid: Uuid, state: State) -> None:
        await self.xs.write(state_node(uuid), state)

    async def forget_state(self, uuid: Uuid) -> None:
        """Remove the state, and the VM's folder if nobody else has anything in it."""
        await self.xs.rm(state_node(uuid))
        if not await self.xs.list(paths.vm(uuid)):
            await self.xs.rm(paths.vm(uuid))

    async def known_uuids(self) -> list[str]:
        """Uuids that have a folder below /vm."""
        return await self.xs.list(paths.VMS)

    async def forget(self, uuid: Uuid) -> None:
        """Leave no node of a deleted VM."""
        for path in (export_node(uuid), paths.vm(uuid)):
            await self.xs.rm(path)

    async def exported_domid(self, uuid: Uuid) -> Domid | None:
        """The domain that a VM was exported with; also known when the domain is gone already."""
        number = parse_int(await self.xs.read(f"{export_node(uuid)}/domid") or "")
        return None if number is None else Domid(number)

    async def exported_stubdomid(self, uuid: Uuid) -> Domid | None:
        """The stub domain of a VM's run; None when it has none.  No guest can write this node."""
        number = parse_int(await self.xs.read(f"{export_node(uuid)}/stubdomid") or "")
        return None if number is None else Domid(number)

    async def export_stubdom(self, uuid: Uuid, domid: Domid, timeout_s: float) -> None:
        """Note the stub domain of a domain that is being built, once it is there.  Raises Unavailable."""
        try:
            stubdom = await self.xs.wait_until(paths.stubdomid(domid), bool, timeout_s)
        except TimeoutError as late:
            text = f"domain {domid} has no stub domain after {timeout_s:g} s"
            raise Unavailable(text) from late
        await self.xs.write(f"{export_node(uuid)}/stubdomid", stubdom or "")

    async def export(self, config: VmConfig, domid: Domid) -> None:
        """Tell the switcher of a running VM."""
        batch = Batch()
        _export(batch, config, domid)
        await self.xs.apply(batch)

    async def unexport(self, uuid: Uuid) -> None:
        await self.xs.rm(export_node(uuid))

    async def prepare_domain(self, config: VmConfig, domid: Domid) -> None:
        """What device models, guests, the switcher and `xl` look for before the domain runs."""
        batch = Batch()
        batch.write(paths.name(domid), config.name)
        for path in (paths.vm_link(domid), f"{paths.vm(config.uuid)}/uuid"):
            batch.set_permissions(path, READABLE, may_lack=True)
        _export(batch, config, domid)
        for name in ("bsgdev", "bsgdev-req"):  # in which its CD backend and we speak
            batch.write(f"{paths.domain(domid)}/{name}", "")
            batch.set_permissions(f"{paths.domain(domid)}/{name}", _shared_with(domid))
        if config["provides-network-backend"]:
            batch.write(BACKEND_DOMID, str(domid))
            batch.set_permissions(BACKEND_DOMID, READABLE)
        await self.xs.apply(batch)

    async def allow_device_model(self, domid: Domid) -> None:
        """The v4v rules stand: a stub domain may run."""
        await self.xs.write(f"{paths.domain(domid)}/v4v-firewall-ready", "1")

    async def memory_target_kib(self, domid: Domid) -> int:
        return parse_int(await self.xs.read(paths.memory_target(domid)) or "") or 0

    async def set_memory_target(self, domid: Domid, kib: int) -> None:
        """Ask a guest to hold so much; nothing happens if it is gone."""
        if await self.xs.read(paths.memory_target(domid)) is not None:
            await self.xs.write(paths.memory_target(domid), str(kib))

    async def nic_backend(self, domid: Domid, nic: int) -> Domid | None:
        """The domain that a guest's card is connected to, as its own nodes say; None without such a card."""
        for kind in ("vif", "vwif"):
            number = parse_int(await self.xs.read(f"{paths.frontend(domid, kind, nic)}/backend-id") or "")
            if number is not None:
                return Domid(number)
        return None

    async def disconnect_nic(self, domid: Domid, nic: int) -> None:
        """Have the guest's driver connect anew.  A guest without the card is not given a node of it."""
        for kind in ("vif", "vwif"):
            frontend = paths.frontend(domid, kind, nic)
            if await self.xs.read(paths.state(frontend)) is not None:
                await self.xs.write(f"{frontend}/disconnect", "1")
