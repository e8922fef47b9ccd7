# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests on the bus through a real rpc-proxy: what they may say, who they are, and what hostile ones get."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from rpcproxy_house import GUEST, HOST, STRANGER, STUB, UUID, XENMGR, World, db, denied, guest_world

from openxt_bus.export import Face, ObjectTree
from openxt_core.errors import RemoteError
from openxt_core.ids import RPC_PROXY_NAME, XENMGR_NAME, vm_path
from openxt_core.spec import Call, Service


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with guest_world() as one:
        yield one


async def test_a_guest_gets_what_a_rule_allows_and_is_told_at_once_what_none_does(world: World) -> None:
    guest = await world.guest()
    assert await guest.call(XENMGR_NAME, "/", XENMGR_NAME, "list_vms") == [[vm_path(UUID)]]
    text = await denied(guest.call(XENMGR_NAME, "/host", HOST.name, "shutdown", timeout_s=5))
    assert "deny all" in text
    assert world.xenmgr.shutdowns == 0
    assert "DENY domain 7" in world.house.log("rpc-proxy")
    guest.close()


async def test_a_guest_reaches_its_own_store_only_and_only_when_allowed(
    world: World,
) -> None:
    guest = await world.guest()
    await denied(db(guest, "read", "/x"))
    world.xenmgr.properties |= {"domstore-read-access": True, "domstore-write-access": True}
    await world.config_changed()
    await db(guest, "write", "/x", "mine")
    assert await db(guest, "read", "x") == ["mine"]
    assert await db(world.house.bus, "read", f"/dom-store/{UUID}/x") == ["mine"]
    assert await db(world.house.bus, "exists", "/x") == [False]
    world.xenmgr.properties["domstore-write-access"] = False
    await world.config_changed()
    await denied(db(guest, "write", "/x", "other"))
    guest.close()


async def test_a_domain_without_a_uuid_is_refused_by_dbd_and_by_rules_that_ask(world: World) -> None:
    stranger = await world.guest(STRANGER)
    await denied(db(stranger, "read", "/x"))
    stranger.close()


async def test_rules_without_the_word_stubdom_are_not_for_stub_domains(world: World) -> None:
    stub = await world.guest(STUB)
    await stub.call(XENMGR_NAME, "/host", HOST.name, "shutdown")
    assert world.xenmgr.shutdowns == 1  # `allow stubdom true destination …xenmgr`
    await denied(db(stub, "read", "/x"))
    stub.close()


async def test_a_vms_own_rules_come_after_the_file_and_are_read_again_when_it_changes(world: World) -> None:
    rules = f"/vm/{UUID}/rpc-firewall-rules"
    await db(world.house.bus, "write", f"{rules}/0", f"deny destination {XENMGR_NAME} member list_vms")
    guest = await world.guest()
    await denied(guest.call(XENMGR_NAME, "/", XENMGR_NAME, "list_vms"))
    await db(world.house.bus, "rm", rules)
    await world.config_changed()
    assert await guest.call(XENMGR_NAME, "/", XENMGR_NAME, "list_vms") == [[vm_path(UUID)]]
    guest.close()


async def test_an_unreadable_rule_of_a_vm_silences_that_vm(world: World) -> None:
    await db(world.house.bus, "write", f"/vm/{UUID}/rpc-firewall-rules/0", "allow everything please")
    guest_connects = world.guest()
    with pytest.raises(Exception, match="denied"):
        await guest_connects


async def test_rules_can_be_added_and_removed_at_run_time(world: World) -> None:
    proxy = (RPC_PROXY_NAME, "/", RPC_PROXY_NAME)
    rule = f"allow destination {XENMGR_NAME} interface {HOST.name} member shutdown"
    question = ("isss", (int(GUEST), XENMGR_NAME, HOST.name, "shutdown"))
    bus = world.house.bus
    assert await bus.call(*proxy, "validate_call", *question) == [False]
    await bus.call(*proxy, "add_rule", "s", (rule,))
    assert await bus.call(*proxy, "validate_call", *question) == [True]
    guest = await world.guest()
    await guest.call(XENMGR_NAME, "/host", HOST.name, "shutdown")
    await bus.call(*proxy, "delete_rule", "s", (rule,))
    await denied(guest.call(XENMGR_NAME, "/host", HOST.name, "shutdown"))
    with pytest.raises(RemoteError, match="no rule added"):
        await bus.call(*proxy, "delete_rule", "s", (rule,))
    guest.close()


@pytest.mark.parametrize(
    "bytes_", [b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n" + b"\xff" * 64, b"\0" + b"A" * 500, b"garbage"]
)
async def test_garbage_ends_the_senders_own_conversation_only(world: World, bytes_: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(world.address(GUEST).removeprefix("unix:path="))
    writer.write(bytes_)
    async with asyncio.timeout(10):
        while await reader.read(1000):
            pass
    writer.close()
    guest = await world.guest()
    assert await guest.call(XENMGR_NAME, "/", XENMGR_NAME, "list_vms") == [[vm_path(UUID)]]
    guest.close()


@pytest.mark.parametrize(
    "tool",
    [
        f"busctl --address={{0}} call {XENMGR_NAME} / {XENMGR_NAME} list_vms",
        f"dbus-send --bus={{0}} --print-reply --dest={XENMGR_NAME} / {XENMGR_NAME}.list_vms",
        f"gdbus call --address {{0}} -d {XENMGR_NAME} -o / -m {XENMGR_NAME}.list_vms",
    ],
    ids=lambda tool: tool.split()[0],
)
async def test_stock_tools_speak_through_the_proxy(world: World, tool: str) -> None:
    argv = tool.format(world.address(GUEST)).split()
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert vm_path(UUID) in output.decode()


async def test_a_guest_eavesdrops_only_as_a_monitor_and_only_by_rule(world: World) -> None:
    guest = await world.guest()
    bus = ("org.freedesktop.DBus", "/org/freedesktop/DBus")
    add_match = (*bus, "org.freedesktop.DBus", "AddMatch", "s")
    await guest.call(*add_match, ("type='signal'",))
    assert "eavesdrops" in await denied(guest.call(*add_match, ("eavesdrop='true'",)))
    become_monitor = (*bus, "org.freedesktop.DBus.Monitoring", "BecomeMonitor", "asu", ([], 0))
    await denied(guest.call(*become_monitor))
    rule = f"allow destination {bus[0]} interface {become_monitor[2]} member BecomeMonitor"
    proxy = (RPC_PROXY_NAME, "/", RPC_PROXY_NAME)
    await world.house.bus.call(*proxy, "add_rule", "s", (rule,))
    assert await guest.call(*become_monitor) == []
    guest.close()


async def test_the_call_context_of_a_service_names_the_guests_connection(world: World) -> None:
    """Who asks a service is the guest's own connection, never the proxy's."""
    seen: list[Call] = []

    class Root(Service):
        SPEC = XENMGR

        def list_vms(self) -> list[str]:
            seen.append(self.call)
            return []

    tree = ObjectTree()
    tree.route("/", Face(XENMGR, Root))
    world.bus.serve(tree)
    guest = await world.guest()
    await guest.call(XENMGR_NAME, "/", XENMGR_NAME, "list_vms")
    assert seen[0].sender == guest.unique_name
    name = f"{RPC_PROXY_NAME}.p{world.house.supervisor.supervised['rpc-proxy'].pid}"
    identity = f"{RPC_PROXY_NAME}.identity"
    assert await world.house.bus.call(
        name, "/", identity, "get_connection_domid", "s", (guest.unique_name,)
    ) == [GUEST]
    guest.close()


async def test_a_stock_monitor_works_through_the_proxy_where_a_rule_allows_it(world: World) -> None:
    bus = "org.freedesktop.DBus"
    rule = f"allow destination {bus} interface {bus}.Monitoring member BecomeMonitor"
    await world.house.bus.call(RPC_PROXY_NAME, "/", RPC_PROXY_NAME, "add_rule", "s", (rule,))
    monitor = await asyncio.create_subprocess_exec(
        *("dbus-monitor", "--address", world.address(GUEST)), stdout=asyncio.subprocess.PIPE
    )
    assert monitor.stdout is not None
    try:
        async with asyncio.timeout(20):
            await monitor.stdout.readline()
            while b"member=NameLost" not in await monitor.stdout.readline():
                pass  # it is a monitor from now on
            await world.config_changed()
            while b"member=vm_config_changed" not in await monitor.stdout.readline():
                pass
    finally:
        monitor.kill()
        await monitor.wait()
