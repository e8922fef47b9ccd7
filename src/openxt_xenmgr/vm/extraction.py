# SPDX-License-Identifier: GPL-2.0-or-later
"""Take the kernel and the initrd of a PV or PVH guest out of its own disks, before each start.

`config/kernel-extract` and `config/initrd-extract` say where they are: `PATH`, `DISK:PATH` or
`DISK,PARTITION:PATH`; without a disk it is disk 0.  The kernel goes to `config/kernel`, or, if that is
empty, to `/tmp/kernel-<uuid>`, from where it is booted; the initrd to `config/initrd`, and nowhere if that
is empty.  Source: OpenXT xenmgr, 2015.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from openxt_core.errors import BadRequest, OpenxtError
from openxt_core.ids import Uuid
from openxt_core.places import Places
from openxt_xenmgr.host import inspection
from openxt_xenmgr.host.images import real_path
from openxt_xenmgr.vm.disk_images import image_to_read
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.world import World

_SOURCE = re.compile(r"(?:(?P<disk>[0-9]{1,5})(?:,(?P<partition>[0-9]{1,5}))?:)?(?P<path>[^:]*)")


@dataclass(frozen=True, slots=True)
class Source:
    """A file in a disk of the guest."""

    path: str
    disk: int = 0
    partition: int | None = None


def parse_source(key: str, text: str) -> Source | None:
    """None for a text without a path.  Raises BadRequest naming the key."""
    found = _SOURCE.fullmatch(text.strip())
    if found is None:
        raise BadRequest(
            f"{key} cannot be {text[:60]!r}: PATH, DISK:PATH or DISK,PARTITION:PATH is expected, with numbers"
        )
    partition = found["partition"]
    path = found["path"].strip()
    return (
        Source(path, int(found["disk"] or 0), None if partition is None else int(partition)) if path else None
    )


def sources(config: VmConfig) -> dict[str, Source]:
    """What is to be taken out, by the key that says so.  Pure.  Raises BadRequest naming the key."""
    if config.is_hvm:
        return {}
    wanted = ["kernel-extract"] + (["initrd-extract"] if config["initrd"] else [])
    found = {key: parse_source(f"config/{key}", config[key]) for key in wanted}
    return {key: source for key, source in found.items() if source is not None}


def extraction_obstacles(config: VmConfig) -> list[OpenxtError]:
    """What speaks against it before any disk is looked into.  Pure."""
    try:
        needed = {(key, source.disk) for key, source in sources(config).items()}
    except BadRequest as error:
        return [error]
    have = {disk.id for disk in config.disks}
    return [
        BadRequest(f"config/{key} names disk {disk}, which the VM does not have")
        for key, disk in sorted(needed)
        if disk not in have
    ]


def kernel_file(places: Places, uuid: Uuid) -> Path:
    """Where the kernel of a VM that names none is looked for."""
    return places.at(f"/tmp/kernel-{uuid}")


async def extract(world: World, config: VmConfig) -> None:
    """Put the files in place.  Raises BadRequest, NotSupported, IoError (223) naming the disk or the file."""
    for key, source in sources(config).items():
        disk = next(disk for disk in config.disks if disk.id == source.disk)
        image = await image_to_read(world, config, disk, source.partition)
        await inspection.copy_out(image, source.path, _target(world.places, config, key))


def _target(places: Places, config: VmConfig, key: str) -> Path:
    named = config[key.removesuffix("-extract")]
    return real_path(places, named) if named else kernel_file(places, config.uuid)
