# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk of a VM as an image that dom0 can look into."""

from openxt_xenmgr.host.images import real_path
from openxt_xenmgr.host.opened import Image
from openxt_xenmgr.vm.key_folders import key_folders
from openxt_xenmgr.vm.model import Disk, VmConfig
from openxt_xenmgr.world import World


async def image_to_read(world: World, config: VmConfig, disk: Disk, partition: int | None = None) -> Image:
    """`partition` None: the whole disk."""
    keys = await key_folders(world, config) if disk.type == "vhd" else ()
    return Image(disk.type, str(real_path(world.places, disk.path)), keys, partition)
