# SPDX-License-Identifier: GPL-2.0-or-later
"""Graphics cards of the host, and in which order their screens stand."""

from dataclasses import dataclass

from openxt_core.errors import UnknownGpu
from openxt_core.places import Places
from openxt_xenmgr.host.facts import capability
from openxt_xenmgr.host.pci import inventory
from openxt_xenmgr.properties.vm import HDX
from openxt_xenmgr.vm.tree import parse_int
from openxt_xenmgr.world import World

PLACEMENTS = "/xenmgr/gpu-placement"
VGA = 0x0300


@dataclass(frozen=True, slots=True)
class Gpu:
    id: str  # `hdx`, or a PCI address
    name: str


def gpus(places: Places) -> tuple[Gpu, ...]:
    """The primary one, then those that may be passed through beside it, if the host can do that."""
    cards = [device for device in inventory(places) if device.pci_class == VGA]
    first = [Gpu(HDX, card.name) for card in cards if card.is_primary_vga][:1]
    if capability(places, "secondary-gpu-pt") != "true":
        return tuple(first)
    return (*first, *(Gpu(card.address, card.name) for card in cards if not card.is_primary_vga))


def _index(places: Places, id: str) -> int:
    """Raises UnknownGpu (234)."""
    for index, gpu in enumerate(gpus(places)):
        if gpu.id == id:
            return index
    raise UnknownGpu(f"there is no GPU {id[:60]!r}")


async def placement(world: World, id: str) -> int:
    """Where it stands, from the left.  Raises UnknownGpu (234)."""
    index = _index(world.places, id)
    stored = parse_int(await world.db.read(f"{PLACEMENTS}/{id}"))
    return index if stored is None else stored


async def place(world: World, id: str, slot: int) -> None:
    """Raises UnknownGpu (234)."""
    _index(world.places, id)
    await world.db.write(f"{PLACEMENTS}/{id}", str(slot))
    for vm in world.registry:
        await world.input.update_seamless_mouse(vm.uuid)


async def listed(world: World) -> list[dict[str, str]]:
    """addr, name, placement of each."""
    return [
        {"addr": gpu.id, "name": gpu.name, "placement": str(await placement(world, gpu.id))}
        for gpu in gpus(world.places)
    ]
