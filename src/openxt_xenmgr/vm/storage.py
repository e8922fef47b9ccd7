# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM's images as files of the host: their keys, and mounting one in dom0.

Where an image is mounted stands in XenStore, so that it is known after a restart and forgotten at boot.
"""

import contextlib
from pathlib import Path

from openxt_core.errors import BadRequest, IncorrectDiskType, IoError, OpenxtError, Refused
from openxt_xenmgr.host import images, programs
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.devices import find_disk
from openxt_xenmgr.vm.key_folders import key_folders, platform_key_folders
from openxt_xenmgr.world import World


def mount_node(vm: Vm, disk: int) -> str:
    return f"/xenmgr/mount/{vm.uuid}/{disk}"


async def image_of(world: World, vm: Vm, disk: int) -> Path:
    """Raises NoSuchDisk (206), IncorrectDiskType (207) for all but vhd."""
    found = (await find_disk(world, vm, disk)).disk
    if found.type != "vhd" or not found.path:
        raise IncorrectDiskType(f"disk {disk} of VM {vm.uuid} is no vhd image")
    return images.real_path(world.places, found.path)


async def make_key(world: World, vm: Vm, disk: int, bits: int, folder: str) -> None:
    """An empty `folder` is the host's first, which is made if need be.  Raises what images.make_key does."""
    image = await image_of(world, vm, disk)
    if not (images.is_there(image) and image.is_file()):
        raise IoError(f"IO error: {image}: there is no such file")
    if folder:
        at = images.real_path(world.places, folder)
    else:
        at = images.real_path(world.places, (await platform_key_folders(world))[0])
        with contextlib.suppress(OSError):  # one level is made, no more
            at.mkdir(mode=0o700)
    if not (images.is_there(at) and at.is_dir()):
        raise BadRequest(f"{at} is no folder for keys")
    async with vm.operation:
        await images.make_key(image, bits, at)


async def mount(world: World, vm: Vm, disk: int, folder: str, *, readonly: bool) -> None:
    """Mount an image in dom0.  Undone if anything fails."""
    image, xs, node = await image_of(world, vm, disk), world.nodes.xs, mount_node(vm, disk)
    at = images.real_path(world.places, folder)
    if not folder.startswith("/") or not images.is_there(at) or not at.is_dir():
        raise BadRequest(f"dirpath cannot be {folder[:60]!r}: the full path of a folder is expected")
    async with vm.operation:
        if await xs.read(f"{node}/dev"):
            raise Refused(f"disk {disk} of VM {vm.uuid} is mounted already")
        if vm.domid is not None and not readonly:
            raise Refused(f"VM {vm.uuid} is running: its disk {disk} may be mounted for reading alone")
        folders = await key_folders(world, await world.store.config(vm))
        device = await images.attach(image, readonly=readonly, key_folders=folders)
        try:
            await xs.write(f"{node}/dev", device)
            options = ("-o", "ro") if readonly else ()
            await programs.run(programs.needed("mount", "Debian's mount"), *options, device, str(at))
            await xs.write(f"{node}/path", str(at))
        except BaseException:
            await _forget(world, node, device)
            raise


async def _forget(world: World, node: str, device: str) -> None:
    await world.nodes.xs.rm(node)
    with contextlib.suppress(OpenxtError):
        await images.detach(device)


async def unmount(world: World, vm: Vm, disk: int) -> None:
    """Raises Refused when it was not mounted by us."""
    await image_of(world, vm, disk)
    xs, node = world.nodes.xs, mount_node(vm, disk)
    async with vm.operation:
        device, path = await xs.read(f"{node}/dev"), await xs.read(f"{node}/path")
        if not device or not path:
            raise Refused(f"disk {disk} of VM {vm.uuid} is not mounted")
        await programs.run(programs.needed("umount", "Debian's mount"), path)
        await images.detach(device)
        await xs.rm(node)
