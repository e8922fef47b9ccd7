# SPDX-License-Identifier: GPL-2.0-or-later
"""Measured VMs: what their disks hold is compared with what was stored, before each start.

The first disk (id 0) of a measured VM gets its sum at the first start: `config/disk/0/sha256sum`, the
SHA-256 of what its file system holds (`host/measurement`).  From then on every disk that has a sum is
checked.  A `sha1sum`, which OpenXT stored in 2015, is checked as what it is, the SHA-1 of the whole disk,
and then replaced; it stays where the file system cannot be measured.  `bypass-sha1sum-checks` skips all
checks.  Not knowing never allows: a disk that cannot be measured stops the start.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from openxt_core.errors import BadRequest, NotSupported, OpenxtError
from openxt_xenmgr.host import inspection
from openxt_xenmgr.host.opened import Image
from openxt_xenmgr.properties.config import setting
from openxt_xenmgr.properties.table import Change
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.disk_images import image_to_read
from openxt_xenmgr.vm.events import MeasurementFailed
from openxt_xenmgr.vm.model import Disk, VmConfig
from openxt_xenmgr.vm.tree import maybe_text
from openxt_xenmgr.world import World

log = logging.getLogger(__name__)

FIRST_DISK = 0
SHA1, SHA256 = "sha1sum", "sha256sum"
KINDS = (SHA1, SHA256)
_DIGITS = {SHA1: 40, SHA256: 64}
_MEASURE: dict[str, Callable[[Image], Awaitable[str]]] = {
    SHA1: inspection.sha1_of,
    SHA256: inspection.sha256_of,
}


@dataclass(frozen=True, slots=True)
class Check:
    """One sum that a disk must have."""

    disk: Disk
    kind: str
    expected: str


def sum_key(disk: int | str, kind: str) -> str:
    return f"config/disk/{disk}/{kind}"


def checks_of(config: VmConfig) -> list[Check]:
    """Every stored sum, SHA-1 first.  Pure.  Raises BadRequest for a text that is no sum."""
    return [
        Check(disk, kind, parse_sum(sum_key(disk.id, kind), stored))
        for kind in KINDS
        for disk in config.disks
        if (stored := maybe_text(config.tree, sum_key(disk.id, kind))) is not None
    ]


def parse_sum(key: str, text: str) -> str:
    """Lower case, with leading zeros.  Raises BadRequest naming the key."""
    word = text.strip().lower()
    digits = _DIGITS[key.rpartition("/")[2]]
    if not word or len(word) > digits or set(word) - set("0123456789abcdef"):
        raise BadRequest(f"{key} is {text[:80]!r}, which is no sum of {digits} hex digits")
    return word.zfill(digits)


def measuring_obstacles(config: VmConfig) -> list[OpenxtError]:
    """What speaks against a measured start before any disk is read.  Pure."""
    if not config["measured"]:
        return []
    if all(disk.id != FIRST_DISK for disk in config.disks):
        return [BadRequest("the VM is measured, but has no disk 0 to measure")]
    try:
        checks_of(config)
    except BadRequest as error:
        return [error]
    return []


async def measure(world: World, vm: Vm, config: VmConfig) -> MeasurementFailed | None:
    """The first sum that is not as stored; None when all is well, or the VM is not measured.

    Raises what `inspection` raises, and BadRequest for a VM without disk 0.
    """
    if not config["measured"]:
        return None
    for error in measuring_obstacles(config):
        raise error
    checks = checks_of(config)
    if not await setting(world, "bypass-sha1sum-checks"):
        for check in checks:
            actual = await _sum(world, config, check.disk, check.kind)
            if actual != check.expected:
                return MeasurementFailed(check.disk.path, check.kind, check.expected, actual)
        await _upgrade(world, vm, config, [check for check in checks if check.kind == SHA1])
    if all(check.disk.id != FIRST_DISK for check in checks):
        disk = next(disk for disk in config.disks if disk.id == FIRST_DISK)
        await _store(world, vm, disk, await _sum(world, config, disk, SHA256))
    return None


async def _sum(world: World, config: VmConfig, disk: Disk, kind: str) -> str:
    return await _MEASURE[kind](await image_to_read(world, config, disk))


async def _upgrade(world: World, vm: Vm, config: VmConfig, checked: list[Check]) -> None:
    """Replace SHA-1 sums, which have just been checked."""
    for check in checked:
        try:
            new = await _sum(world, config, check.disk, SHA256)
        except NotSupported as error:
            log.warning("VM %s: disk %d keeps its SHA-1 sum: %s", vm.uuid, check.disk.id, error.text)
        else:
            await _store(world, vm, check.disk, new)


async def _store(world: World, vm: Vm, disk: Disk, sha256: str) -> None:
    new = Change(sum_key(disk.id, SHA256), sha256), Change(sum_key(disk.id, SHA1), None)
    await world.store.change(vm, new, quiet=True)
    log.info("VM %s: disk %d is measured from now on: sha256sum %s", vm.uuid, disk.id, sha256)
