# SPDX-License-Identifier: GPL-2.0-or-later
"""Delete a VM with everything that is its own: configuration, private store, disks, nodes, files, monitor."""

import contextlib
import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from openxt_core.errors import CannotRemoveRunning, OpenxtError, UnknownObject
from openxt_core.ids import parse_uuid
from openxt_core.places import Places
from openxt_xenmgr.host.images import real_path
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.extraction import kernel_file
from openxt_xenmgr.vm.lifecycle import Lifecycle
from openxt_xenmgr.vm.limited_hooks import run_hard
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.vm.pci_guard import seen_key
from openxt_xenmgr.vm.start import last_start_key
from openxt_xenmgr.vm.survey import disk_paths
from openxt_xenmgr.vm.tree import node
from openxt_xenmgr.world import World

log = logging.getLogger(__name__)

NOTES = "/xenmgr"
LEAVING = "leaving-"  # and a uuid, below NOTES: the files that go with a VM, while it is being deleted


@dataclass(frozen=True)
class Remover:
    """`withdraw` takes the VM's objects off the bus."""

    world: World
    life: Lifecycle
    withdraw: Callable[[Vm], None]

    async def remove(self, vm: Vm) -> None:
        """Raises CannotRemoveRunning (204), and what the run-pre-delete hook raises."""
        if await self.life.surviving(vm, self.life.is_running):
            raise CannotRemoveRunning
        async with vm.operation:
            config = await self._stored(vm)
            if await self.life.is_running(vm):
                raise CannotRemoveRunning
            if config["run-pre-delete"]:
                await run_hard(self.world, config["run-pre-delete"], vm.uuid)
            files = await self._own_files(config)
            await self.world.db.write(_leaving_key(vm), json.dumps([str(path) for path in files]))
            vm.is_leaving = True
            try:
                await self._remove_stored(vm, files)
            except BaseException:
                await self._call_off(vm)
                raise
            await self._forget(vm)
        log.info("VM %s deleted", vm.uuid)

    async def _stored(self, vm: Vm) -> VmConfig:
        """Without any setting where something else is stored than a VM's tree.  Raises UnknownObject."""
        try:
            return await self.world.store.config(vm)
        except UnknownObject:
            if not await self.world.db.exists(vm.db):
                raise
            return VmConfig.of(vm.uuid, {})

    async def finish(self) -> None:
        """Carry deletions to their end that a xenmgr which died has begun."""
        stored = await self.world.db.dump(NOTES)
        notes = stored if isinstance(stored, dict) else {}
        for key in [key for key in notes if key.startswith(LEAVING)]:
            uuid, files = key.removeprefix(LEAVING), notes[key]
            log.warning("VM %s: its deletion was cut short, and is finished", uuid)
            try:
                vm = self.world.registry.add(parse_uuid(uuid))
                vm.is_leaving = True
                await self._remove_stored(vm, [Path(path) for path in json.loads(files)])
                await self._forget(vm)
            except (OpenxtError, ValueError, TypeError) as error:
                log.error("VM %s: its deletion cannot be finished: %s", uuid, error)

    async def _call_off(self, vm: Vm) -> None:
        """A VM that is still stored stays, also after a restart."""
        vm.is_leaving = False
        with contextlib.suppress(OpenxtError):
            if await self.world.db.exists(vm.db):
                await self.world.db.rm(_leaving_key(vm))

    async def _remove_stored(self, vm: Vm, files: Sequence[Path]) -> None:
        await self.world.db.rm(vm.db)
        await self.world.db.rm(vm.domstore)
        await self.world.db.rm(last_start_key(vm))
        await self.world.db.rm(seen_key(vm))
        for path in (*files, kernel_file(self.world.places, vm.uuid)):
            _unlink(path)
        shutil.rmtree(self.world.places.storage / "ovffiles" / vm.uuid, ignore_errors=True)

    async def _forget(self, vm: Vm) -> None:
        await self.life.monitors.retire(vm)
        await self.life.monitors.forget(vm)
        await self.life.queue.settled(vm)
        await self.world.nodes.forget(vm.uuid)
        self.withdraw(vm)
        self.world.registry.remove(vm.uuid)
        await self.world.db.rm(_leaving_key(vm))
        self.world.announcer.vm_deleted(vm.uuid)

    async def _own_files(self, config: VmConfig) -> list[Path]:
        """Its vhd images that no other VM uses, with what belongs to them.

        A VM that a remote server manages keeps its images.
        """
        if node(config.tree, "backend") is not None:
            return []
        own = [
            disk.path for disk in config.disks if disk.type == "vhd" and not disk.shared and not disk.is_cd
        ]
        used = await disk_paths(self.world.db, besides=config.uuid) if own else set()
        return [file for path in own if path not in used for file in image_files(self.world.places, path)]


def _leaving_key(vm: Vm) -> str:
    return f"{NOTES}/{LEAVING}{vm.uuid}"


def image_files(places: Places, path: str) -> list[Path]:
    """An image and its snapshots; nothing outside the host's own root."""
    image = real_path(places, path)
    companions = (f"{image}.hib", f"{image}.snap", str(image.with_suffix(".snap.tmp.vhd")))
    return [image, *map(Path, companions)]


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s stays: %s", path, error.strerror)
