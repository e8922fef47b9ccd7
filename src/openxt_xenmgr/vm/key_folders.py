# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the keys of encrypted disks are kept and looked for."""

from openxt_xenmgr.host.images import is_there, real_path
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.world import World

PLATFORM_KEY = "/xenmgr/platform-crypto-key-dirs"
PLATFORM_DEFAULT = "/config/platform-crypto-keys"


async def platform_key_folders(world: World) -> list[str]:
    """The host's own, in order; never none."""
    return _split(await world.db.read(PLATFORM_KEY)) or [PLATFORM_DEFAULT]


async def key_folders(world: World, config: VmConfig) -> tuple[str, ...]:
    """Where keys of this VM's disks are looked for; those that are there."""
    user = [f"/config/sec/s-{config['crypto-user']}"] if config["crypto-user"] else []
    every = (*user, *_split(config["crypto-key-dirs"]), *await platform_key_folders(world))
    real = [real_path(world.places, folder) for folder in every]
    return tuple(str(folder) for folder in real if is_there(folder) and folder.is_dir())


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
