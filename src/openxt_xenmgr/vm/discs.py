# SPDX-License-Identifier: GPL-2.0-or-later
"""Which VM has which CD drive of the host: asked for in XenStore, granted by the CD backend.

A drive that is *sticky* to a VM is given to it at each start.  Others are taken and given back by guests
themselves, by way of the backend, unless autolock is off.  **Source:** OpenXT xenmgr, 2015.
"""

from collections.abc import Sequence

from openxt_core.errors import BadRequest, Unavailable
from openxt_core.ids import Domid, Uuid, parse_uuid
from openxt_xen.xenstore import paths
from openxt_xenmgr.host.drives import Drive, cd_drives, drive, has_disc, usb_id
from openxt_xenmgr.links.nodes import BSG_DEVICES
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.tree import parse_bool
from openxt_xenmgr.world import World

STICKY = "/xenmgr/cdassign"
AUTOLOCK = "/xenmgr/autolock-cd-drives"
BACKEND_TIMEOUT_S = 5.0


def lock_node(domid: Domid, drive: Drive) -> str:
    return f"{paths.domain(domid)}/bsgdev/{drive.node}/lock"


def request_node(domid: Domid, drive: Drive, request: str) -> str:
    return f"{paths.domain(domid)}/bsgdev-req/{drive.node}/{request}"


def running(world: World) -> list[tuple[Vm, Domid]]:
    return [(vm, vm.domid) for vm in world.registry if vm.domid is not None]


async def sticky_to(world: World, drive: Drive) -> Uuid | None:
    """The VM that the drive belongs to; None for all."""
    text = await world.db.read(f"{STICKY}/{drive.node}")
    try:
        return parse_uuid(text) if text else None
    except BadRequest:
        return None


async def holders(world: World, drive: Drive) -> list[tuple[bool, Uuid]]:
    """Those that have it now, then the one it is sticky to; with each, whether it is sticky to it."""
    owner, xs = await sticky_to(world, drive), world.nodes.xs
    now = [vm.uuid for vm, domid in running(world) if await xs.read(lock_node(domid, drive)) == "1"]
    every = [*now, owner] if owner is not None and owner not in now else now
    return [(uuid == owner, uuid) for uuid in every]


async def listed(world: World) -> list[dict[str, str]]:
    """id, name, vm, vm-sticky, usb-id of each drive."""
    return [await _record(world, one) for one in cd_drives(world.places)]


async def _record(world: World, drive: Drive) -> dict[str, str]:
    sticky, uuid = next(iter(await holders(world, drive)), (False, ""))
    return {
        "id": drive.id,
        "name": drive.name,
        "vm": uuid,
        "vm-sticky": "1" if sticky else "0",
        "usb-id": usb_id(world.places, drive),
    }


async def holder(world: World, id: str) -> tuple[bool, str]:
    """Sticky, uuid of the first holder; (False, "") for none."""
    return next(iter(await holders(world, drive(world.places, id))), (False, ""))


async def assign(world: World, id: str, vm: Vm | None, *, sticky: bool) -> None:
    """Take a drive from whoever has it, and give it to `vm`, if any.

    Raises Unavailable when the CD backend does not do it within 5 s.
    """
    one = drive(world.places, id)
    for _, domid in await _holding(world, one):
        await _request(world, domid, one, "req-eject")
    await world.db.rm(f"{STICKY}/{one.node}")
    if vm is not None and sticky:
        await world.db.write(f"{STICKY}/{one.node}", vm.uuid)
    if vm is not None and vm.domid is not None:
        await _request(world, vm.domid, one, "req-assign")
    await write_autolock(world)
    world.announcer.cd_assignment_changed(one.id, vm.uuid if vm is not None else None)


async def _holding(world: World, drive: Drive) -> list[tuple[Vm, Domid]]:
    xs = world.nodes.xs
    return [(vm, domid) for vm, domid in running(world) if await xs.read(lock_node(domid, drive)) == "1"]


async def _request(world: World, domid: Domid, drive: Drive, request: str) -> None:
    """Ask the CD backend, which takes the node away when it is done."""
    xs, node = world.nodes.xs, request_node(domid, drive, request)
    await xs.write(node, "1")
    try:
        await xs.wait_until(node, lambda text: text is None, BACKEND_TIMEOUT_S)
    except TimeoutError as late:
        await xs.rm(node)
        text = f"CD drive {drive.id}: nobody answered {request} of domain {domid} within 5 s"
        raise Unavailable(text) from late


async def write_autolock(world: World) -> None:
    """Tell every running VM's backend which drives lock when they are used."""
    await _write_autolock(world, [domid for _, domid in running(world)])


async def _write_autolock(world: World, domids: Sequence[Domid]) -> None:
    allowed = parse_bool(await world.db.read(AUTOLOCK) or "true")
    for one in cd_drives(world.places):
        value = "1" if allowed and await sticky_to(world, one) is None else "0"
        for domid in domids:
            await world.nodes.xs.write(request_node(domid, one, "autolock"), value)


# At a start, and when a guest does it


async def prepare(world: World, domid: Domid) -> None:
    """Which drives lock when they are used, and what is in them."""
    if cd_drives(world.places):
        await _write_autolock(world, [domid])
        await note_media(world)


async def give_sticky(world: World, vm: Vm, domid: Domid) -> None:
    """The drives that belong to a VM, before it runs.  Raises Unavailable when nobody gives one."""
    for one in cd_drives(world.places):
        is_given = await world.nodes.xs.read(lock_node(domid, one)) == "1"
        if await sticky_to(world, one) == vm.uuid and not is_given:
            await _request(world, domid, one, "req-assign")


async def note_media(world: World) -> None:
    """Which drives have a disc in them, for those who look into XenStore; written only if it changed."""
    for one in cd_drives(world.places):
        node, value = f"{BSG_DEVICES}/{one.node}/media", "1" if await has_disc(world.places, one) else "0"
        if await world.nodes.xs.read(node) != value:
            await world.nodes.xs.write(node, value)


async def tell_holders(world: World) -> None:
    """A guest may have taken a drive or let it go: say who has which, if that is news."""
    for one in cd_drives(world.places):
        _, uuid = next(iter(await holders(world, one)), (False, None))
        if world.announcer.is_other_holder(one.id, uuid):
            world.announcer.cd_assignment_changed(one.id, uuid)
            await note_media(world)
