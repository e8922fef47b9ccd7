# SPDX-License-Identifier: GPL-2.0-or-later
"""The inventory of appliances in the database: its keys, and what it says.  Pure.

    /appliance/<id>/version                 a whole number
    /appliance/<id>/state                   installing, installed, uninstalling
    /appliance/<id>/file/<n>                full path of a file that the appliance owns
    /appliance/<id>/vm/<uuid>/id            the VM's id in the package
    /appliance/<id>/disk/<system>/<image>   object path of the disk
    /appliance/_temp_<id>/…                 an installation under way (or what it has to remove), with

    temp      `true`
    stage     what was done to files: `aside` (old ones set aside), `placed` (new ones may be in place)
    replaced/<uuid>/{vm,dom-store}          VMs that made place for new ones with the same uuid

Source: OpenXT apptool 1.0, for all but `stage` and `replaced`.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ROOT = "/appliance"
TEMP = "_temp_"

Tree = Mapping[str, Any]


class State(enum.StrEnum):
    INSTALLING = "installing"
    INSTALLED = "installed"
    UNINSTALLING = "uninstalling"


class Stage(enum.StrEnum):
    NONE = ""
    ASIDE = "aside"
    PLACED = "placed"


@dataclass(frozen=True, slots=True)
class Appliance:
    """`key` is its name in the inventory, `id` the name that a person knows."""

    key: str
    version: int
    state: str
    files: tuple[str, ...]
    vms: Mapping[str, str]  # uuid → id in the package
    stage: Stage
    replaced: Mapping[str, Tree]

    @property
    def is_temporary(self) -> bool:
        return self.key.startswith(TEMP)

    @property
    def id(self) -> str:
        return self.key.removeprefix(TEMP)

    @property
    def path(self) -> str:
        return f"{ROOT}/{self.key}"


def read(tree: Tree) -> dict[str, Appliance]:
    """What `/appliance` holds, by key.  Entries of another form count as empty."""
    return {key: _appliance(key, one) for key, one in tree.items() if isinstance(one, Mapping)}


def _appliance(key: str, tree: Tree) -> Appliance:
    version = str(tree.get("version", ""))
    stage = str(tree.get("stage", ""))
    return Appliance(
        key=key,
        version=int(version) if version.isascii() and version.isdigit() else 1,
        state=str(tree.get("state", "")),
        files=tuple(str(path) for path in _children(tree, "file").values()),
        vms={
            uuid: str(one.get("id", "")) if isinstance(one, Mapping) else ""
            for uuid, one in _children(tree, "vm").items()
        },
        stage=Stage(stage) if stage in list(Stage) else Stage.NONE,
        replaced={key: one for key, one in _children(tree, "replaced").items() if isinstance(one, Mapping)},
    )


def _children(tree: Tree, name: str) -> Tree:
    found = tree.get(name)
    return found if isinstance(found, Mapping) else {}


def owned_alone(one: Appliance, all: Mapping[str, Appliance]) -> list[str]:
    """Files of an appliance that no other one owns too."""
    others = {path for other in all.values() if other.key != one.key for path in other.files}
    return [path for path in one.files if path not in others]


def comparison(installed: int, new: int) -> tuple[str, str]:
    """How the installed version compares with a new one, and the option that permits replacing it."""
    if installed < new:
        return "lower", "--upgrade"
    return ("same", "--reinstall") if installed == new else ("higher", "--downgrade")
