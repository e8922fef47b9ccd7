# SPDX-License-Identifier: GPL-2.0-or-later
"""xenmgr and others edit the same VM at once: nobody's change is lost, and everybody hears of it."""

import asyncio
import json

from xenmgr_house import PROPERTIES, VM, XENMGR, Desk, desk

from openxt_api.db_transactions import DbTransactionsClient
from openxt_api.xenmgr_vm import XENMGR_VM_PCI
from openxt_bus.connection import Bus
from openxt_core.errors import Conflict, RemoteError
from openxt_core.ids import DBD_NAME

ROUNDS = 15


async def test_two_clients_and_an_editor_of_the_database_lose_nothing() -> None:
    """Lists grow by two clients of xenmgr and by a third program, which uses the database itself."""
    async with desk() as it:
        path = await it.create()
        one, two, editor = [await Bus.connect(it.house.layout.bus_address) for _ in range(3)]
        before = await _rules(it, path)
        async with asyncio.TaskGroup() as group:
            counts = [group.create_task(_grow(bus, path, first)) for bus, first in ((one, 1000), (two, 2000))]
            edits = group.create_task(_edit(editor, it, path))
        disks = [id for count in counts for id in count.result()]
        tree = json.loads(await it.db("dump", f"/vm/{it.uuid(path)}"))
        added = [f"myself -> 0:{first + n}" for first in (1000, 2000, 3000) for n in range(ROUNDS)]
        assert sorted(tree["v4v-firewall-rules"].values()) == sorted([*before, *added])
        devices = {int(entry["device"], 16) for entry in tree["config"]["pci"].values()}
        assert devices == {first + n for first in (1000, 2000) for n in range(ROUNDS)}
        assert len(set(disks)) == 2 * ROUNDS // 3
        assert {str(id) for id in disks} <= set(tree["config"]["disk"])
        assert edits.result() >= 0
        for bus in (one, two, editor):
            bus.close()


async def _rules(it: Desk, path: str) -> list[str]:
    stored = json.loads(await it.db("dump", f"/vm/{it.uuid(path)}/v4v-firewall-rules"))
    return list(stored.values()) if stored else []


async def _grow(bus: Bus, path: str, first: int) -> list[int]:
    """Add a rule of each kind and a disk, again and again; the disks' numbers."""
    disks = []
    for number in range(first, first + ROUNDS):
        await bus.call(XENMGR, path, VM, "add_v4v_firewall_rule", "s", (f"myself -> 0:{number}",))
        rule = ("any", "any", str(number))
        await bus.call(XENMGR, path, XENMGR_VM_PCI.name, "add_pt_rule", "sss", rule)
        if number % 3 == 0:  # device names are few
            disk = str((await bus.call(XENMGR, path, VM, "add_disk"))[0])
            disks.append(int(disk.rpartition("/")[2]))
    return disks


async def _edit(bus: Bus, it: Desk, path: str) -> int:
    """Add v4v rules past xenmgr; how often it had to try again."""
    together, key = DbTransactionsClient(bus, DBD_NAME), f"/vm/{it.uuid(path)}/v4v-firewall-rules"
    conflicts, done = 0, 0
    while done < ROUNDS:
        seen, text = await together.snapshot(key)
        rules = [*(json.loads(text) or {}).values(), f"myself -> 0:{3000 + done}"]
        value = json.dumps({str(at): rule for at, rule in enumerate(rules)})
        try:
            await together.commit([(key, seen)], [("inject", key, value)])
            done += 1
        except RemoteError as error:
            if error.name != Conflict.dbus_name:
                raise
            conflicts += 1
    return conflicts


async def test_an_edit_by_hand_is_announced_and_followed() -> None:
    async with desk() as it:
        path = await it.create()
        uuid = it.uuid(path)
        it.signals.clear()
        await it.db("write", f"/vm/{uuid}/config/memory", "77")
        await it.until(lambda: it.changed_properties().get("memory") == 77)
        await it.until_told("vm_config_changed", path)
        await it.db("write", f"/vm/{uuid}/name", "renamed")
        await it.until_told("vm_name_changed", path)
        assert await it.get(path, "name") == "renamed"
        await it.db("inject", f"/vm/{uuid}/config/nic/7", '{"network": "/wired/0/bridged"}')
        await it.until(lambda: _has_nic(it, path))


async def _has_nic(it: Desk, path: str) -> bool:
    try:
        await it.call(f"{path}/nic/7", PROPERTIES, "GetAll", "s", "com.citrix.xenclient.vmnic")
    except RemoteError:
        return False
    return True


async def test_a_vm_removed_and_restored_by_hand_goes_and_comes_back() -> None:
    async with desk() as it:
        path = await it.create()
        uuid = it.uuid(path)
        stored = await it.db("dump", f"/vm/{uuid}")
        await it.db("rm", f"/vm/{uuid}")
        await it.until(lambda: _is_listed(it, path, False))
        await it.db("inject", f"/vm/{uuid}", stored)
        await it.until(lambda: _is_listed(it, path, True))
        assert await it.get(path, "name") == "guest"


async def _is_listed(it: Desk, path: str, expected: bool) -> bool:
    return (path in await it.root("list_vms")) is expected
