# SPDX-License-Identifier: GPL-2.0-or-later
"""One VM's business does not have the database hand out all VMs: whoever asks for more is named here."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio
from bus_monitor import monitored
from xenmgr_house import Desk, desk

from openxt_api.vm_disk import VMDISK
from openxt_api.xenmgr_vm import XENMGR_VM_PRODUCT
from openxt_core.ids import DBD_NAME

in_module = pytest.mark.asyncio(loop_scope="module")
READING = ("dump", "snapshot", "lease")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def it() -> AsyncIterator[Desk]:
    async with desk() as opened:
        yield opened


async def creates(it: Desk, _vm: str) -> None:
    assert await it.get(await it.root("create_vm"), "slot") > 0


async def moves_to_a_slot_that_is_taken(it: Desk, vm: str) -> None:
    other = await it.root("create_vm")
    mine, theirs = await it.get(vm, "slot"), await it.get(other, "slot")
    await it.set(vm, "slot", "i", theirs)
    assert [await it.get(path, "slot") for path in (vm, other)] == [theirs, mine]


async def takes_the_native_experience(it: Desk, vm: str) -> None:
    other = await it.root("create_vm")
    for path in (other, vm):
        await it.set(path, "native-experience", "b", True)
    assert await it.get(other, "native-experience") is False


async def starts_on_boot_with_a_card(it: Desk, vm: str) -> None:
    await it.db("write", f"/vm/{it.uuid(vm)}/gpu", "hdx")
    assert (await it.fails(it.set(vm, "start-on-boot", "b", True))).startswith("200:")


async def with_image(it: Desk, vm: str) -> str:
    image = it.places.storage / "disks/own.vhd"
    image.touch()
    disk = str(await it.vm(vm, "add_disk"))
    await it.call(disk, VMDISK.name, "attach_vhd", "s", str(image))
    return disk


async def deletes_a_disk(it: Desk, vm: str) -> None:
    await it.call(await with_image(it, vm), VMDISK.name, "delete")
    assert not (it.places.storage / "disks/own.vhd").exists()


async def is_deleted(it: Desk, vm: str) -> None:
    path = await it.root("create_vm")
    await with_image(it, path)
    await it.vm(path, "delete")
    assert not (it.places.storage / "disks/own.vhd").exists()


async def tells_its_environment(it: Desk, vm: str) -> None:
    await it.db("write", f"/appliance/shop/vm/{it.uuid(vm)}/id", "web")
    assert "<Environment" in await it.call(vm, XENMGR_VM_PRODUCT.name, "get_ovf_env_xml")


@pytest.mark.parametrize(
    "deed",
    [
        creates,
        moves_to_a_slot_that_is_taken,
        takes_the_native_experience,
        starts_on_boot_with_a_card,
        deletes_a_disk,
        is_deleted,
        tells_its_environment,
    ],
    ids=lambda deed: deed.__name__,
)
@in_module
async def test_no_whole_tree_of_all_vms_is_read(
    it: Desk, deed: Callable[[Desk, str], Awaitable[None]]
) -> None:
    vm = await it.root("create_vm")
    rule = f"type='method_call',destination='{DBD_NAME}'"
    async with monitored(it.house.bus, it.house.layout.bus_address, rule) as monitor:
        await deed(it, vm)
        asked = [(one.member, one.texts[:1]) for one in await monitor.so_far() if one.member in READING]
    assert asked
    assert [member for member, paths in asked if paths in (["/vm"], ["/"])] == []
    for path in set(await it.root("list_vms")):
        if await it.get(path, "slot"):
            await it.vm(path, "delete")
