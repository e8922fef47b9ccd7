# SPDX-License-Identifier: GPL-2.0-or-later
"""Instances that rewrite names, and replies that nobody awaits: real proxies on a real bus."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from rpcproxy_house import ACCESS_DENIED, GUEST, STRANGER, UUID, World, denied, guest_world

from openxt_bus.codec import Message, decode, encode
from openxt_bus.connection import BUS_PATH, Bus
from openxt_bus.framing import cut
from openxt_core.errors import RemoteError
from openxt_core.ids import RPC_PROXY_NAME, XENMGR_NAME, underscored, vm_path

BUS_NAME = "org.freedesktop.DBus"
GUEST_NAME = f"com.citrix.xenclient.guest.uuid_{underscored(UUID)}"
CALL, RETURN, ERROR = 1, 2, 3


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """The second default instance runs as well, as `user`."""
    async with guest_world() as one:
        await one.start_proxy(
            "user",
            *("-i", "v4v:5556", "-n", "com.citrix.xenclient.guest.uuid_$UUID"),
            "--translate-anonymous-dests",
        )
        yield one


async def ask_bus(bus: Bus, member: str, signature: str, *args: Any) -> Any:
    return (await bus.call(BUS_NAME, BUS_PATH, BUS_NAME, member, signature, args))[0]


class RawClient:
    """A guest without a D-Bus library: it can say what no library would."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._buffer = bytearray()
        self._serial = 0

    def send(self, kind: int, fields: dict[int, Any], body: Sequence[Any] = (), serial: int = 0) -> int:
        self._serial += 1
        self._writer.write(encode(Message(kind, serial or self._serial, fields, body)))
        return serial or self._serial

    def call(self, destination: str, path: str, interface: str, member: str, serial: int = 0) -> int:
        return self.send(CALL, {1: path, 2: interface, 3: member, 6: destination}, serial=serial)

    async def receive(self) -> Message:
        """The next message that is no signal."""
        async with asyncio.timeout(10):
            while True:
                for data in cut(self._buffer, 2**20):
                    message = decode(data)
                    if message.type != 4:
                        return message
                data = await self._reader.read(4096)
                assert data, "the proxy closed the conversation"
                self._buffer += data

    def close(self) -> None:
        self._writer.close()


@pytest.fixture
async def raw(world: World) -> AsyncIterator[RawClient]:
    """Greeted by the bus, through an instance with --auto-auth, called `auto`."""
    await world.start_proxy("auto", "-i", "v4v:5600", "--auto-auth")
    client = RawClient(*await world.stream(5600))
    client.call(BUS_NAME, BUS_PATH, BUS_NAME, "Hello")
    assert (await client.receive()).body[0].startswith(":")
    yield client
    client.close()


async def test_whatever_name_a_guest_asks_for_it_gets_its_own_and_can_release_it(world: World) -> None:
    guest = await world.guest(port=5556)
    assert await ask_bus(guest, "RequestName", "su", "guest", 3) == 1
    assert await world.house.bus.name_owner(GUEST_NAME) == guest.unique_name
    assert await world.house.bus.name_owner("guest.x") is None
    assert await ask_bus(guest, "ReleaseName", "s", "guest") == 1
    assert await world.house.bus.name_owner(GUEST_NAME) is None
    guest.close()


async def test_a_domain_without_a_uuid_owns_no_name(world: World) -> None:
    stranger = await world.guest(STRANGER, 5556)
    text = await denied(ask_bus(stranger, "RequestName", "su", "com.citrix.xenclient.surfman", 0))
    assert "without a uuid" in text
    assert await world.house.bus.name_owner("com.citrix.xenclient.surfman") is None
    stranger.close()


async def test_no_guest_owns_a_name_that_says_who_guests_are(world: World) -> None:
    guest = await world.guest()
    for name in (RPC_PROXY_NAME, f"{RPC_PROXY_NAME}.p1"):
        await denied(ask_bus(guest, "RequestName", "su", name, 3))
    assert await ask_bus(guest, "RequestName", "su", f"{RPC_PROXY_NAME}x.y", 0) == 1
    guest.close()


async def test_a_connection_is_called_by_its_name_so_that_rules_on_names_match(world: World) -> None:
    unique = world.bus.unique_name
    plain, guest = await world.guest(), await world.guest(port=5556)
    await denied(plain.call(unique, "/", XENMGR_NAME, "list_vms"))
    assert await guest.call(unique, "/", XENMGR_NAME, "list_vms") == [[vm_path(UUID)]]
    await world.bus.release_name(XENMGR_NAME)
    await world.heard("user")
    await denied(guest.call(unique, "/", XENMGR_NAME, "list_vms"))
    assert await world.bus.request_name(XENMGR_NAME)
    await world.heard("user")
    assert await guest.call(unique, "/", XENMGR_NAME, "list_vms") == [[vm_path(UUID)]]
    plain.close()
    guest.close()


async def test_a_guest_is_told_the_name_it_asked_the_owner_of(world: World) -> None:
    await world.start_proxy("owners", "-i", "v4v:5600", "--owner-name", "--auto-auth")
    client = RawClient(*await world.stream(5600))
    client.call(BUS_NAME, BUS_PATH, BUS_NAME, "Hello")
    await client.receive()
    for name, answer in ((XENMGR_NAME, XENMGR_NAME), ("not.there", None)):
        client.send(CALL, {1: BUS_PATH, 2: BUS_NAME, 3: "GetNameOwner", 6: BUS_NAME, 8: "s"}, (name,))
        reply = await client.receive()
        assert reply.type == (RETURN if answer else ERROR)
        assert reply.body[0] == answer or answer is None
    client.close()


async def test_a_client_need_not_authenticate_when_the_proxy_does(world: World, raw: RawClient) -> None:
    serial = raw.call(XENMGR_NAME, "/", XENMGR_NAME, "list_vms")
    reply = await raw.receive()
    assert (reply.fields[5], reply.body) == (serial, [[vm_path(UUID)]])


async def test_a_guest_answers_a_call_once_and_made_up_replies_reach_nobody(
    world: World, raw: RawClient
) -> None:
    raw.send(RETURN, {5: 999, 6: world.bus.unique_name, 8: "s"}, ("forged",))
    names = await ask_bus(world.house.bus, "ListNames", "")
    uniques = [name for name in names if name.startswith(":")]
    found = [name for name in uniques if await _domid(world, "auto", name) == GUEST]
    call = asyncio.create_task(world.bus.call(found[0], "/x", "a.b", "question"))
    question = await raw.receive()
    assert question.fields[3] == "question"
    for answer in ("true", "twice"):
        raw.send(RETURN, {5: question.serial, 6: question.fields[7], 8: "s"}, (answer,))
    assert await call == ["true"]
    raw.call(XENMGR_NAME, "/", XENMGR_NAME, "list_vms")
    assert (await raw.receive()).type == RETURN
    assert world.house.log("auto").count("DROP domain 7") == 2


async def _domid(world: World, proxy: str, name: str) -> int | None:
    pid = world.house.supervisor.supervised[proxy].pid
    identity = f"{RPC_PROXY_NAME}.identity"
    try:
        answer = await world.bus.call(
            f"{RPC_PROXY_NAME}.p{pid}", "/", identity, "get_connection_domid", "s", (name,)
        )
    except RemoteError:
        return None
    return int(answer[0])


async def test_a_refused_call_is_answered_to_a_raw_client_too(world: World, raw: RawClient) -> None:
    raw.call(XENMGR_NAME, "/host", f"{XENMGR_NAME}.host", "shutdown")
    reply = await raw.receive()
    assert (reply.type, reply.fields[4]) == (ERROR, ACCESS_DENIED)
