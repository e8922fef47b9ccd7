# SPDX-License-Identifier: GPL-2.0-or-later
"""What an appliance's guest reads of its settings: the OVF environment, as text and as a CD.

The text is made here, from what the database has; the CD by apptool, before each start of a VM with
`ovf-transport-iso`, and it is gone when the VM has ended.  Source: OpenXT xenmgr, 2015.
"""

from collections.abc import Mapping
from pathlib import Path

from openxt_core.errors import IoError, NotSupported, OpenxtError
from openxt_core.ids import Uuid
from openxt_core.ovf_environment import environment, systems_beside
from openxt_core.places import Places
from openxt_xenmgr.host import programs
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.vm.tree import Tree
from openxt_xenmgr.world import World

SETTING = "ovf-transport-iso"
APPTOOL = "apptool"
APPTOOL_PACKAGE = "OpenXT's apptool"
APPTOOL_TIMEOUT_S = 120.0


async def environment_xml(world: World, vm: Vm) -> str:
    """Raises BadRequest for a VM outside any appliance."""
    appliances = _tree(await world.db.dump("/appliance"))
    properties = {
        uuid: _tree(await world.db.dump(f"/vm/{uuid}/productproperty"))
        for uuid in systems_beside(appliances, vm.uuid)
    }
    return environment(appliances, vm.uuid, properties.__getitem__)


def _tree(dump: object) -> Tree:
    return dump if isinstance(dump, Mapping) else {}


def iso_file(places: Places, uuid: Uuid) -> Path:
    return places.at(f"/var/lib/ovf/{uuid}-env.iso")


def transport_obstacles(config: VmConfig) -> list[OpenxtError]:
    """What speaks against making the CD."""
    if config[SETTING] and programs.found(APPTOOL) is None:
        return [
            NotSupported(f"{SETTING}: {APPTOOL} is not installed on this host: install {APPTOOL_PACKAGE}")
        ]
    return []


async def make_iso(world: World, config: VmConfig) -> None:
    """Raises IoError (223), NotSupported without apptool; leaves no CD then."""
    if not config[SETTING]:
        return
    file = iso_file(world.places, config.uuid)
    apptool = programs.needed(APPTOOL, APPTOOL_PACKAGE)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise IoError(f"IO error: {file.parent}: {error.strerror}") from error
    where = ("--iso", str(file), "--temp", str(world.places.at("/tmp")))
    try:
        await programs.run(apptool, "--genenviso", config.uuid, *where, timeout_s=APPTOOL_TIMEOUT_S)
    except BaseException:
        remove_iso(world.places, config.uuid)
        raise


def remove_iso(places: Places, uuid: Uuid) -> None:
    iso_file(places, uuid).unlink(missing_ok=True)
