# SPDX-License-Identifier: GPL-2.0-or-later
"""Make VMs: from a template, a JSON document laid over it, and what the caller names.

Only `create_vm*` asks policy first; that is the face's business.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from openxt_core.errors import BadRequest
from openxt_core.ids import Uuid, parse_uuid
from openxt_xenmgr.links.dbd import Operation
from openxt_xenmgr.properties.table import Change
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.limited_hooks import run_hard
from openxt_xenmgr.vm.measuring import KINDS, sum_key
from openxt_xenmgr.vm.slots import free_slot, wants_slot
from openxt_xenmgr.vm.survey import slots_of_user_vms
from openxt_xenmgr.vm.templates import CHILD, parse_document
from openxt_xenmgr.vm.tree import Tree, maybe_text, merge, subtree, text, with_leaf
from openxt_xenmgr.world import World

log = logging.getLogger(__name__)

OVERRIDE_KEY = "parent-override"


@dataclass(frozen=True)
class Wanted:
    """What a caller asked for.  Empty means: whatever the template says."""

    template: str = "new-vm"
    json: str = ""
    uuid: str = ""
    name: str = ""
    description: str | None = None
    image_path: str | None = None


@dataclass(frozen=True)
class Creator:
    """`publish` makes the new VM's objects known on the bus."""

    world: World
    publish: Callable[[Vm], Awaitable[None]]

    async def create(self, wanted: Wanted) -> Vm:
        """A new VM, stored and announced.

        Raises BadRequest for a malformed document or a uuid in use, IoError (223) for a missing template,
        TooManyVms (205); what its run-post-create hook raises comes after the VM was announced.
        """
        document = self.world.templates.read(wanted.template)
        document = merge(document, parse_document(wanted.json, "the JSON document"))
        vm = await self._make(wanted, document, has_slot=wants_slot(document))
        await self._tell(vm)
        await self._run_hook(vm)
        return vm

    async def create_child(self, parent: Vm, template: str) -> Vm:
        """A service VM that belongs to `parent`, which its template may change.  No hook is run.

        Raises BadRequest for a name that is none, IoError (223) for a missing template.
        """
        if not template.strip():
            raise BadRequest("create_child_service_vm: no template is named")
        wanted = Wanted(f"{CHILD}{template}")
        document = self.world.templates.read(wanted.template)
        override = subtree(document, OVERRIDE_KEY)
        own = {key: value for key, value in document.items() if key != OVERRIDE_KEY}
        vm = await self._make(wanted, own, has_slot=False)
        words = {"${PARENT_UUID}": parent.uuid, "${UUID}": vm.uuid}
        await self.world.store.change(parent, changes_in(override, words))
        await self._tell(vm)
        return vm

    async def _make(self, wanted: Wanted, document: Tree, *, has_slot: bool) -> Vm:
        uuid, db = self._uuid(wanted, document), self.world.db
        place = f"/vm/{uuid}"
        made: dict[str, Any] = {}

        async def ask() -> tuple[Any, Collection[int]]:
            taken = (await slots_of_user_vms(db)).values() if has_slot else ()
            return await db.dump(place), taken

        def decide(seen: tuple[Any, Collection[int]]) -> tuple[Operation, ...]:
            stored, taken = seen
            if made and stored == made:
                return ()
            if isinstance(stored, Mapping):
                raise BadRequest(f"there is a VM {uuid} already")
            slot = {"slot": str(free_slot(taken))} if has_slot else {}
            made.update(completed({**document, **slot}, uuid, wanted))
            return (("inject", place, json.dumps(made)),)

        await db.edit_knowing("/vm" if has_slot else place, ask, decide)
        return self.world.registry.add(uuid)

    async def _tell(self, vm: Vm) -> None:
        log.info("VM %s created", vm.uuid)
        await self.publish(vm)
        self.world.announcer.vm_created(vm.uuid)

    def _uuid(self, wanted: Wanted, document: Tree) -> Uuid:
        chosen = wanted.uuid.strip() or text(document, "uuid")
        return parse_uuid(chosen) if chosen else Uuid(str(uuid4()))

    async def _run_hook(self, vm: Vm) -> None:
        hook = await self.world.db.read(f"{vm.db}/run-post-create")
        if hook:
            await run_hard(self.world, hook, vm.uuid)


def changes_in(override: Tree, words: Mapping[str, str], above: str = "") -> tuple[Change, ...]:
    """What a template writes into another VM's tree, with these words replaced in its texts."""
    found: list[Change] = []
    for name, value in override.items():
        if isinstance(value, Mapping):
            found += changes_in(value, words, f"{above}{name}/")
        else:
            text_ = str(value)
            for word, meant in words.items():
                text_ = text_.replace(word, meant)
            found.append(Change(f"{above}{name}", text_))
    return tuple(found)


def completed(document: Tree, uuid: Uuid, wanted: Wanted) -> dict[str, Any]:
    """The tree of the new VM: the document, with what every VM has and what the caller named."""
    tree = with_leaf(document, "uuid", uuid)
    tree = with_leaf(tree, "seamless-id", uuid)
    if not text(tree, "name").strip():
        tree = with_leaf(tree, "name", wanted.name.strip() or f"name-{uuid}")
    for key, value in (("description", wanted.description), ("image_path", wanted.image_path)):
        if value is not None:
            tree = with_leaf(tree, key, value)
    return tree


async def inject_services(world: World) -> list[Uuid]:
    """Make service VMs of their templates, again where they may be overwritten; those that were made.

    Two switches, each absent or true by default, forbid overwriting: `/xenmgr/overwrite-<tag>-settings` and
    `/overwrite-<tag>-settings`.  A new VM is made whatever they say.
    """
    made = []
    for tag, document in world.templates.services().items():
        uuid = Uuid(text(document, "uuid").lower())
        stored = await world.db.dump(f"/vm/{uuid}")
        if isinstance(stored, dict) and not await _may_overwrite(world, tag):
            continue
        kept = stored if isinstance(stored, dict) else {}
        await world.db.inject(f"/vm/{uuid}", with_checksums(document, kept))
        log.info("service VM %s (%s) made from its template", uuid, tag)
        made.append(uuid)
    return made


async def _may_overwrite(world: World, tag: str) -> bool:
    for switch in (f"/xenmgr/overwrite-{tag}-settings", f"/overwrite-{tag}-settings"):
        if (await world.db.read(switch)).strip().lower() in ("false", "no", "0"):
            return False
    return True


def with_checksums(document: Tree, stored: Tree) -> dict[str, Any]:
    """The document with the disk checksums that were stored: they survive a new injection."""
    tree = dict(document)
    for disk in subtree(stored, "config/disk"):
        for kind in KINDS:
            found = maybe_text(stored, sum_key(disk, kind))
            if found is not None and subtree(document, f"config/disk/{disk}"):
                tree = with_leaf(tree, sum_key(disk, kind), found)
    return tree


def icon_path(folder: Path, image: str) -> Path:
    """The file of an icon below `folder`.  Raises BadRequest for one outside."""
    path = (folder / image).resolve()
    if not image or not path.is_relative_to(folder.resolve()):
        raise BadRequest(f"not the path of an icon: {image[:60]!r}")
    return path
