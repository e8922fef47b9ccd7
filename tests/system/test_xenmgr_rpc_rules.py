# SPDX-License-Identifier: GPL-2.0-or-later
"""What a VM's rules let it say to the bus, from its start to its stop: real xenmgr, dbd and rpc-proxy."""

from collections.abc import AsyncIterator

import pytest
from xenmgr_house import XENMGR, Desk, desk

from openxt_bus.connection import Bus
from openxt_core.errors import RemoteError
from openxt_core.ids import DBD_NAME, RPC_PROXY_NAME

PROXY = (RPC_PROXY_NAME, "/", RPC_PROXY_NAME)
ACCESS_DENIED = "org.freedesktop.DBus.Error.AccessDenied"


@pytest.fixture
async def it() -> AsyncIterator[Desk]:
    async with desk("rpc-proxy") as opened:
        yield opened


async def guest_of(it: Desk, path: str) -> Bus:
    socket = it.places.run / "guests" / str(await it.get(path, "domid")) / "5555"
    return await Bus.connect(f"unix:path={socket}")


async def may(guest: Bus, destination: str, member: str, *texts: str) -> bool:
    try:
        await guest.call(destination, "/", destination, member, "s" * len(texts), texts)
    except RemoteError as error:
        if error.name != ACCESS_DENIED:
            raise
        return False
    return True


async def rules(it: Desk) -> list[str]:
    return list((await it.house.bus.call(*PROXY, "list_rules"))[0])


async def test_a_vms_own_rules_hold_from_its_start_and_not_for_another(it: Desk) -> None:
    strict, free = await it.create(), await it.create()
    denial = f"deny destination {XENMGR} member list_vms"
    await it.db("write", f"/vm/{it.uuid(strict)}/rpc-firewall-rules/0", denial)
    for path in (strict, free):
        await it.vm(path, "start")
    one, other = await guest_of(it, strict), await guest_of(it, free)
    assert (await may(one, XENMGR, "list_vms"), await may(other, XENMGR, "list_vms")) == (False, True)
    one.close()
    other.close()


async def test_a_rule_added_for_one_run_ends_with_it(it: Desk) -> None:
    path = await it.create()
    await it.vm(path, "start")
    rule = f"deny destination {XENMGR} member list_vms dom-uuid {it.uuid(path)}"
    await it.house.bus.call(*PROXY, "add_rule", "s", (rule,))
    assert rule in await rules(it)
    await it.vm(path, "shutdown")
    await it.until(lambda: _is_gone(it, rule))


async def _is_gone(it: Desk, rule: str) -> bool:
    return rule not in await rules(it)


async def test_a_run_that_ended_while_there_was_no_xenmgr_has_ended(it: Desk) -> None:
    path = await it.create()
    await it.vm(path, "start")
    domid = await it.get(path, "domid")
    rule = f"deny destination {XENMGR} member list_vms dom-uuid {it.uuid(path)}"
    await it.house.bus.call(*PROXY, "add_rule", "s", (rule,))
    it.house.supervisor.kill("xenmgr")
    it.xen().crash(domid)
    await it.until(lambda: _is_gone(it, rule))
    assert await it.state(path) == "stopped"


async def test_what_a_property_no_longer_allows_is_refused_soon_after(it: Desk) -> None:
    path = await it.create()
    await it.set(path, "domstore-read-access", "b", True)
    await it.vm(path, "start")
    guest = await guest_of(it, path)
    assert await may(guest, DBD_NAME, "list", "/")
    await it.set(path, "domstore-read-access", "b", False)
    await it.until(lambda: _is_refused(guest))
    guest.close()


async def _is_refused(guest: Bus) -> bool:
    return not await may(guest, DBD_NAME, "list", "/")
