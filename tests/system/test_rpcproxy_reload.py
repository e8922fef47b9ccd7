# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules and properties that change under an open conversation: each takes effect on its next message.

And questions about rules, asked of a running proxy.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from rpcproxy_house import ACCESS_DENIED, GUEST, STUB, UUID, World, db, denied, guest_world

from openxt_bus.connection import Bus
from openxt_core.errors import RemoteError
from openxt_core.ids import DBD_NAME, RPC_PROXY_NAME, XENMGR_NAME, vm_path
from openxt_house.services import services

PROXY = (RPC_PROXY_NAME, "/", RPC_PROXY_NAME)
RULES = (RPC_PROXY_NAME, "/", f"{RPC_PROXY_NAME}.rules")
LIST_VMS = f"deny destination {XENMGR_NAME} member list_vms"
OWN_RULES = f"/vm/{UUID}/rpc-firewall-rules"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with guest_world() as one:
        yield one


@pytest.fixture
async def guest(world: World) -> AsyncIterator[Bus]:
    one = await world.guest()
    await list_vms(one)
    yield one
    one.close()


async def list_vms(bus: Bus) -> Any:
    return await bus.call(XENMGR_NAME, "/", XENMGR_NAME, "list_vms")


async def may_list(bus: Bus) -> bool:
    try:
        await list_vms(bus)
    except RemoteError as error:
        if error.name != ACCESS_DENIED:
            raise
        return False
    return True


async def until(bus: Bus, *, allowed: bool) -> None:
    """Ask again until the answer is that: what it waits for was said, but not yet heard."""
    async with asyncio.timeout(20):
        while await may_list(bus) is not allowed:
            pass


def hang_up(world: World) -> None:
    pid = world.house.supervisor.supervised["rpc-proxy"].pid
    assert pid is not None, "rpc-proxy has died"
    os.kill(pid, signal.SIGHUP)


async def test_sighup_reads_the_file_again(world: World, guest: Bus) -> None:
    path = world.house.layout.places.rpc_rules
    before = path.read_text()
    path.write_text(before + LIST_VMS + "\n")
    await list_vms(guest)
    hang_up(world)
    await until(guest, allowed=False)
    path.write_text(before)
    hang_up(world)
    await until(guest, allowed=True)


async def test_rules_written_into_the_database_by_hand_take_effect(world: World, guest: Bus) -> None:
    await db(world.house.bus, "write", f"{OWN_RULES}/0", LIST_VMS)
    await until(guest, allowed=False)
    await db(world.house.bus, "write", f"{OWN_RULES}/0", "allow destination a.b")
    await until(guest, allowed=True)


@pytest.mark.parametrize("member", ["vm_state_changed", "vm_config_changed", "vm_name_changed", "vm_deleted"])
async def test_whatever_xenmgr_tells_of_a_vm_has_its_properties_read_again(
    world: World, guest: Bus, member: str
) -> None:
    await denied(db(guest, "list", "/"))
    world.xenmgr.properties["domstore-read-access"] = True
    await denied(db(guest, "list", "/"))
    body = (UUID, vm_path(UUID), "running", 0) if member == "vm_state_changed" else (UUID, vm_path(UUID))
    world.bus.emit("/", XENMGR_NAME, member, "sosi" if len(body) == 4 else "so", body)
    await world.bus.call(*PROXY, "list_rules")
    assert await db(guest, "list", "/") == [[]]


async def test_a_rule_added_for_a_vm_ends_when_the_vm_stops(world: World, guest: Bus) -> None:
    await world.bus.call(*PROXY, "add_rule", "s", (f"{LIST_VMS} dom-uuid {UUID}",))
    await until(guest, allowed=False)
    world.bus.emit("/", XENMGR_NAME, "vm_state_changed", "sosi", (UUID, vm_path(UUID), "stopped", 5))
    (rules,) = await world.bus.call(*PROXY, "list_rules")
    assert f"{LIST_VMS} dom-uuid {UUID}" not in rules
    await list_vms(guest)


async def test_dom_type_and_dom_name_follow_the_vm(world: World, guest: Bus) -> None:
    await world.bus.call(*PROXY, "add_rule", "s", (f"{LIST_VMS} dom-type ndvm",))
    await list_vms(guest)
    world.xenmgr.properties["type"] = "ndvm"
    await world.config_changed()
    await denied(list_vms(guest))


async def test_a_stub_domain_is_asked_about_with_the_properties_of_its_target(world: World) -> None:
    await world.bus.call(*PROXY, "add_rule", "s", (f"{LIST_VMS} stubdom true dom-type ndvm",))
    stub = await world.guest(STUB)
    await list_vms(stub)
    world.xenmgr.properties["type"] = "ndvm"
    await world.config_changed()
    await denied(list_vms(stub))
    stub.close()


async def test_a_vm_is_silent_while_the_database_is_away_and_speaks_when_it_is_back() -> None:
    async with guest_world(frozenset({"dbus-daemon", "openxt-sim", "rpc-proxy"})) as world:
        with pytest.raises(Exception, match="denied"):
            await world.guest()
        dbd = tuple(one for one in services(world.house.layout) if one.name == "dbd")
        await world.house.supervisor.start(dbd)
        await world.heard("rpc-proxy")
        guest = await world.guest()
        await list_vms(guest)
        guest.close()


async def test_a_running_proxy_explains_its_verdicts(world: World, guest: Bus) -> None:
    message = {"destination": DBD_NAME, "interface": DBD_NAME, "member": "read"}
    verdict, rule, origin, others = await world.bus.call(*RULES, "explain", "ia{ss}", (int(GUEST), message))
    assert (verdict, rule, origin.endswith("rpc-proxy.rules:5")) == ("deny", "deny all", True)
    missed = {text: why for text, _, why in others}
    assert missed[next(text for text in missed if "member read if-boolean" in text)].startswith("if-boolean")
    with pytest.raises(RemoteError, match="up"):
        await world.bus.call(*RULES, "explain", "ia{ss}", (int(GUEST), {"direction": "up"}))


async def test_a_running_proxy_checks_lints_replays_and_learns(world: World, guest: Bus) -> None:
    assert await world.bus.call(*RULES, "check", "as", (["allow all", "allow nothing"],)) == [
        ["", "rule: unknown word 'nothing': 'allow nothing'"]
    ]
    (findings,) = await world.bus.call(*RULES, "lint")
    assert {one[2] for one in findings} == {"redundant", "unknown"}
    said = {"domid": int(GUEST), "uuid": UUID, "destination": "a.b", "interface": "a.b", "member": "m"}
    line = json.dumps(said)
    assert await world.bus.call(*RULES, "replay", "asas", ([line], [])) == [[["deny", "deny all"]]]
    learned = await world.bus.call(*RULES, "learn", "as", ([line],))
    assert learned == [["allow inc-method-call destination a.b interface a.b member m"], 0]
    assert await world.bus.call(*RULES, "replay", "asas", ([line], learned[0])) == [
        [["allow", learned[0][0]]]
    ]


async def test_denied_messages_are_in_the_audit_log_and_its_chain_is_whole(world: World) -> None:
    path = world.house.layout.root / "audit"
    await world.start_proxy("audited", "-i", "v4v:5556", "--audit", str(path), "--audit-chain")
    guest = await world.guest(port=5556)
    await denied(guest.call(XENMGR_NAME, "/host", f"{XENMGR_NAME}.host", "shutdown"))
    await list_vms(guest)
    guest.close()
    (line,) = [json.loads(one) for one in path.read_text().splitlines()]
    assert (line["domid"], line["uuid"], line["member"], line["rule"]) == (
        GUEST,
        UUID,
        "shutdown",
        "deny all",
    )
    program = Path(sys.executable).with_name("rpc-proxy-rules")
    verify = await asyncio.create_subprocess_exec(program, "verify", path)
    assert await verify.wait() == 0
