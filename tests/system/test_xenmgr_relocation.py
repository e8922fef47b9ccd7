# SPDX-License-Identifier: GPL-2.0-or-later
"""A network VM that ends and comes back: its clients' cards follow it, with real monitors."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

import pytest
from mocked import mocked
from xenmgr_house import Desk, desk

from openxt_api.network_daemon import NETWORKDAEMON
from openxt_core.ids import Domid
from openxt_xen.xenstore import paths

TEMPLATE_NDVM = "00000000-0000-0000-0000-000000000002"
SERVES = "sim.serves=yes"


@pytest.fixture
async def it() -> AsyncIterator[Desk]:
    async with desk() as opened:
        yield opened


async def network_vm(it: Desk, **properties: bool) -> str:
    path = await it.create(cmdline=SERVES)
    await it.set(path, "type", "s", "ndvm")
    for name in ("provides-network-backend", *(key.replace("_", "-") for key in properties)):
        await it.set(path, name, "b", True)
    return path


async def client(it: Desk, **nic: str) -> str:
    path = await it.create(nic={"0": {"id": "0", "network": "/wired/0/bridged", **nic}})
    await it.vm(path, "start")
    return path


async def domid(it: Desk, path: str) -> Domid:
    return Domid(int(await it.get(path, "domid")))


async def is_connected(it: Desk, path: str, backend: str) -> bool:
    """Both ends of the client's card say so, and there is no other end."""
    front, back = await domid(it, path), await domid(it, backend)
    read = it.house.xenstore.read
    at = paths.frontend(front, "vif", 0)
    ends = paths.backend(back, "vif", front, 0)
    return (
        await read(f"{at}/backend-id") == str(back)
        and await read(f"{at}/state") == "4"
        and await read(f"{ends}/state") == "4"
    )


async def left_of(it: Desk, old: Domid) -> list[str]:
    """Nodes that still speak of a domain that is gone."""
    nodes = await it.nodes()
    return [path for path, value in nodes.items() if f"/domain/{old}/" in f"{path}/ {value}/"]


@pytest.mark.parametrize("named", ["uuid", "name", "default"])
async def test_the_card_of_a_client_follows_a_network_vm_that_is_started_again(it: Desk, named: str) -> None:
    net = await network_vm(it, **({"provides_default_network_backend": True} if named == "default" else {}))
    await it.set(net, "name", "s", "Wires")
    await it.db("rm", f"/vm/{TEMPLATE_NDVM}/provides-default-network-backend")
    nic = {"uuid": {"backend-uuid": it.uuid(net)}, "name": {"backend-name": "Wires"}, "default": {}}[named]
    user = await client(it, **nic)
    await it.until(lambda: is_connected(it, user, net))
    old = await domid(it, net)
    await it.vm(net, "destroy")
    assert (
        await it.house.xenstore.read(f"{paths.frontend(await domid(it, user), 'vif', 0)}/disconnect") == "1"
    )
    await it.vm(net, "start")
    await it.until(lambda: is_connected(it, user, net))
    assert await domid(it, net) != old
    assert await left_of(it, old) == []
    assert await it.state(user) == "running"


async def test_a_network_vm_that_reboots_itself_gets_all_its_clients_back(it: Desk) -> None:
    net = await network_vm(it)
    users = [await client(it, **{"backend-uuid": it.uuid(net)}) for _ in range(2)]
    for user in users:
        await it.until(lambda user=user: is_connected(it, user, net))
    it.xen().reboot(await domid(it, net))
    await it.until(lambda: it.states_told(net).count("running") == 2)
    for user in users:
        await it.until(lambda user=user: is_connected(it, user, net))
        assert it.states_told(user)[-1] == "running"


async def test_a_network_vm_that_crashes_is_kept_alive_and_serves_again(it: Desk) -> None:
    net = await network_vm(it, keep_alive=True)
    user = await client(it, **{"backend-uuid": it.uuid(net)})
    await it.until(lambda: is_connected(it, user, net))
    it.xen().crash(await domid(it, net))
    await it.until(lambda: it.states_told(net).count("running") == 2)
    await it.until(lambda: is_connected(it, user, net))
    await it.set(net, "keep-alive", "b", False)
    await it.vm(net, "shutdown")
    assert await it.state(net) == "stopped"


async def test_cards_of_other_backends_stay_where_they_are(it: Desk) -> None:
    first, second = await network_vm(it), await network_vm(it)
    user = await client(it, **{"backend-uuid": it.uuid(second)})
    await it.until(lambda: is_connected(it, user, second))
    front = paths.frontend(await domid(it, user), "vif", 0)
    await it.vm(first, "start")
    await it.vm(first, "destroy")
    assert await it.house.xenstore.read(f"{front}/disconnect") is None
    assert await is_connected(it, user, second)


async def test_a_client_that_lies_about_its_card_does_not_hold_up_the_network_vm(
    it: Desk,
) -> None:
    net = await network_vm(it)
    user = await client(it, **{"backend-uuid": it.uuid(net)})
    await it.until(lambda: is_connected(it, user, net))
    await it.vm(net, "destroy")
    front = paths.frontend(await domid(it, user), "vif", 0)
    await it.house.xenstore.write(f"{front}/backend-id", "not a number")
    await it.vm(net, "start")
    assert await it.state(net) == "running"


async def test_what_was_left_to_move_when_xenmgr_died_is_moved_by_the_next(it: Desk) -> None:
    net = await network_vm(it)
    user = await client(it, **{"backend-uuid": it.uuid(net)})
    await it.until(lambda: is_connected(it, user, net))
    await it.set(net, "boot-sentinel", "s", "booted")
    await it.vm(net, "destroy")
    starting = asyncio.create_task(it.vm(net, "start"))  # it waits for the sentinel, which never comes
    await it.until_state(net, "running")
    await it.restart()
    await it.fails(starting)
    await it.until(lambda: is_connected(it, user, net))


async def test_the_network_daemon_hears_of_the_new_domain_before_the_cards_are_moved_to_it(it: Desk) -> None:
    heard: list[tuple[str, ...]] = []
    async with mocked(it.house, NETWORKDAEMON, is_initialized="True"), calls(it, heard):
        await it.until_there(NETWORKDAEMON.name)
        net = await network_vm(it)
        user = await client(it, **{"backend-uuid": it.uuid(net)})
        await it.until(lambda: is_connected(it, user, net))
        await it.vm(net, "destroy")
        await it.vm(net, "start")
        new = str(await domid(it, net))
        await it.until(lambda: any(member == "set_nic_backend_dom" for member, *_ in heard))
    assert [words for words in heard if words[0] != "NameLost"] == [
        ("ndvm_status", it.uuid(net), str(int(new) - 2), "1"),
        ("ndvm_status", it.uuid(net), "-1", "0"),
        ("ndvm_status", it.uuid(net), new, "1"),
        ("set_nic_backend_dom", "id", "0", "domid", new),
    ]


@contextlib.asynccontextmanager
async def calls(it: Desk, heard: list[tuple[str, ...]]) -> AsyncIterator[None]:
    """Writes down, in the order on the bus, the calls that matter with the texts and numbers in them."""
    rules = [f"type='method_call',member='{name}'" for name in ("ndvm_status", "set_nic_backend_dom")]
    monitor = await asyncio.create_subprocess_exec(
        *("stdbuf", "-oL", "dbus-monitor", "--address", it.house.layout.bus_address),
        *(*rules, "member='NameLost'"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert monitor.stdout is not None

    async def read(lines: asyncio.StreamReader) -> None:
        async for raw in lines:
            line = raw.decode()
            if found := re.search(r"member=(\w+)", line):
                heard.append((found[1],))
            elif heard and (found := re.match(r'\s+(?:string "(.*)"|u?int32 (-?\d+))', line)):
                heard[-1] += (found[1] or found[2],)

    reading = asyncio.create_task(read(monitor.stdout))
    try:
        await it.until(lambda: any(words[0] == "NameLost" for words in heard))  # as who listens has no name
        heard.clear()
        yield
    finally:
        monitor.kill()
        await monitor.wait()
        await reading
