# SPDX-License-Identifier: GPL-2.0-or-later
"""The third default instance: a browser's page, with JSON in a WebSocket, through a real proxy."""

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from rpcproxy_house import GUEST, HOST, UUID, World, db, guest_world
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus

from openxt_bus.export import Face, ObjectTree
from openxt_bus.transport.hello import HELLO, MAGIC
from openxt_core.errors import RemoteError
from openxt_core.ids import DBD_NAME, XENMGR_NAME, underscored, vm_path
from openxt_core.spec import Arg, Interface, Method, Service

BUS_NAME = "org.freedesktop.DBus"
GUEST_NAME = f"com.citrix.xenclient.guest.uuid_{underscored(UUID)}"
INVALID_ARGS = "org.freedesktop.DBus.Error.InvalidArgs"
ACCESS_DENIED = "org.freedesktop.DBus.Error.AccessDenied"
PORT = 8080
DEFAULT = ("--json-in", "--websockets-in", "-n", "com.citrix.xenclient.guest.uuid_$UUID", "--auto-auth")

# An interface that no table of ours describes.
ODD = Interface(
    "org.odd.thing",
    methods=(Method("mix", (Arg("a", "a{sx}"), Arg("b", "(sd)")), (Arg("c", "s"), Arg("d", "ay"))),),
)


class Page:
    """What a page does with its WebSocket."""

    def __init__(self, socket_: ClientConnection) -> None:
        self.socket = socket_
        self._id = 0

    async def say(self, **text: Any) -> None:
        await self.socket.send(json.dumps(text))

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            return json.loads(await self.socket.recv())

    async def receive_answer(self) -> dict[str, Any]:
        while (text := await self.receive())["type"] == "signal":
            pass
        return text

    async def ask(
        self, destination: str, path: str, interface: str, method: str, *args: Any, **more: Any
    ) -> Any:
        """The answer to this call, when no other is open."""
        self._id += 1
        where = {"destination": destination, "path": path, "interface": interface, "method": method}
        await self.say(id=self._id, args=list(args), **where, **more)
        answer = await self.receive_answer()
        assert answer["response-to"] == str(self._id)
        return answer

    async def hello(self) -> "Page":
        answer = await self.ask(BUS_NAME, "/org/freedesktop/DBus", BUS_NAME, "Hello")
        assert answer["type"] == "response"
        assert answer["args"][0].startswith(":")
        return self


@contextlib.asynccontextmanager
async def page(world: World, port: int = PORT, **options: Any) -> AsyncIterator[Page]:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(world.house.layout.places.v4v / "0" / str(port)))
    sock.sendall(HELLO.pack(MAGIC, GUEST, 1))
    async with connect("ws://1.0.0.0:8080/", sock=sock, **options) as one:
        yield Page(one)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with guest_world() as one:
        rules = one.house.layout.places.rpc_rules
        odd = f"allow destination {XENMGR_NAME} interface {ODD.name}\n"
        rules.write_text(f"{rules.read_text()}\n{odd}")
        await one.start_proxy("browser", "-i", f"v4v:{PORT}", *DEFAULT)
        yield one


async def test_a_page_greets_the_bus_and_calls_a_service(world: World) -> None:
    async with page(world, origin="http://1.0.0.0") as one:
        await one.hello()
        answer = await one.ask(XENMGR_NAME, "/", XENMGR_NAME, "list_vms")
        assert (answer["type"], answer["args"]) == ("response", [[vm_path(UUID)]])


async def test_a_page_is_told_at_once_what_it_may_not_do(world: World) -> None:
    async with page(world) as one:
        await one.hello()
        answer = await one.ask(XENMGR_NAME, "/host", HOST.name, "shutdown")
        assert (answer["type"], answer["name"]) == ("error", ACCESS_DENIED)
        assert world.xenmgr.shutdowns == 0


async def test_whatever_cannot_be_sent_is_answered_with_an_error(world: World) -> None:
    async with page(world) as one:
        await one.hello()
        for wrong in (
            await one.ask(DBD_NAME, "/", DBD_NAME, "read"),
            await one.ask(DBD_NAME, "/", DBD_NAME, "read", None),
            await one.ask(DBD_NAME, "/", DBD_NAME, "read", 5),
            await one.ask("no name", "/", DBD_NAME, "read", "x"),
            await one.ask(DBD_NAME, "no path", DBD_NAME, "read", "x"),
            await one.ask(DBD_NAME, "/", DBD_NAME, "read", "x", **{"dbus-signature": "zz"}),
        ):
            assert (wrong["type"], wrong["name"]) == ("error", INVALID_ARGS)
        await one.socket.send("no JSON")
        assert (await one.receive_answer())["response-to"] == "0"
        answer = await one.ask(XENMGR_NAME, "/", XENMGR_NAME, "list_vms")
        assert answer["args"] == [[vm_path(UUID)]]


async def test_a_page_gets_its_own_bus_name_and_its_own_store(world: World) -> None:
    world.xenmgr.properties |= {"domstore-read-access": True, "domstore-write-access": True}
    async with page(world) as one:
        await one.hello()
        path = "/org/freedesktop/DBus"
        assert (await one.ask(BUS_NAME, path, BUS_NAME, "RequestName", "anything", 3))["args"] == [1]
        assert await world.house.bus.name_owner(GUEST_NAME) is not None
        assert (await one.ask(DBD_NAME, "/", DBD_NAME, "write", "/x", "mine"))["args"] == []
        assert (await one.ask(DBD_NAME, "/", DBD_NAME, "read", "/x"))["args"] == ["mine"]
        assert await db(world.house.bus, "read", f"/dom-store/{UUID}/x") == ["mine"]


async def test_a_property_comes_without_its_variant(world: World) -> None:
    async with page(world) as one:
        await one.hello()
        interface = f"{XENMGR_NAME}.vm.unrestricted"
        answer = await one.ask(
            *(XENMGR_NAME, vm_path(UUID), "org.freedesktop.DBus.Properties", "Get"), interface, "type"
        )
        assert answer["args"] == ["svm"]


async def test_signals_arrive_once_asked_for(world: World) -> None:
    async with page(world) as one:
        await one.hello()
        rule = f"type='signal',interface='{XENMGR_NAME}'"
        await one.ask(BUS_NAME, "/org/freedesktop/DBus", BUS_NAME, "AddMatch", rule)
        await world.config_changed()
        text = await one.receive()
        assert text == {
            "id": text["id"],
            "type": "signal",
            "interface": XENMGR_NAME,
            "member": "vm_config_changed",
            "path": "/",
            "args": [UUID, vm_path(UUID)],
        }


async def test_the_types_of_an_unknown_service_are_asked_of_it_but_only_for_allowed_calls(
    world: World,
) -> None:
    asked: list[str] = []

    class Odd(Service):
        SPEC = ODD

        def mix(self, a: dict[str, int], b: tuple[str, float]) -> tuple[str, bytes]:
            return f"{a} {list(b)}", b"\1\2"

    def introspected(key: tuple[str, ...]) -> bool:
        asked.append(key[0])
        return True

    tree = ObjectTree()
    tree.route("/odd/{which}", Face(ODD, Odd), exists=introspected)
    world.bus.serve(tree)
    async with page(world) as one:
        await one.hello()
        denied = await one.ask(XENMGR_NAME, "/odd/denied", "org.odd.other", "m")
        assert denied["name"] == ACCESS_DENIED
        assert asked == []
        answer = await one.ask(XENMGR_NAME, "/odd/x", ODD.name, "mix", {"k": -5}, ["t", 2])
        assert answer["args"] == ["{'k': -5} ['t', 2.0]", [1, 2]]


async def test_a_page_can_answer_a_call(world: World) -> None:
    async with page(world) as one:
        await one.hello()
        await one.ask(BUS_NAME, "/org/freedesktop/DBus", BUS_NAME, "RequestName", "x", 0)
        call = asyncio.create_task(world.bus.call(GUEST_NAME, "/x", "a.b", "question", "s", ("why",)))
        request = await one.receive_answer()
        assert (request["type"], request["method"], request["args"]) == ("request", "question", ["why"])
        await one.say(id=90, type="response", args=["so"], **{"response-to": request["id"]})
        assert await call == ["so"]
        call = asyncio.create_task(world.bus.call(GUEST_NAME, "/x", "a.b", "question"))
        request = await one.receive_answer()
        answer = {"id": 91, "type": "error", "name": "a.b.Sorry", "args": ["no"]}
        await one.say(**answer, **{"response-to": str(request["id"])})
        with pytest.raises(RemoteError) as caught:
            await call
        assert (caught.value.name, str(caught.value)) == ("a.b.Sorry", "no")


async def test_an_answer_that_cannot_be_sent_still_ends_the_call(world: World) -> None:
    async with page(world) as one:
        await one.hello()
        await one.ask(BUS_NAME, "/org/freedesktop/DBus", BUS_NAME, "RequestName", "x", 0)
        call = asyncio.create_task(world.bus.call(GUEST_NAME, "/x", "a.b", "question"))
        request = await one.receive_answer()
        await one.say(id=90, type="response", args=[None], **{"response-to": request["id"]})
        with pytest.raises(RemoteError, match="cannot be sent"):
            await call


async def test_hundreds_of_calls_in_flight_are_all_answered(world: World) -> None:
    async with page(world) as one:
        await one.hello()
        where = {"destination": XENMGR_NAME, "path": "/", "interface": XENMGR_NAME, "method": "list_vms"}
        for number in range(100, 400):
            await one.say(id=number, args=[], **where)
        answers = {(await one.receive_answer())["response-to"] for _ in range(300)}
        assert answers == {str(number) for number in range(100, 400)}


async def test_a_page_of_another_host_is_not_let_in(world: World) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with page(world, origin="http://evil.example"):
            pass
    assert caught.value.response.status_code == 403


async def test_origins_and_hosts_can_be_chosen(world: World) -> None:
    chosen = ("--allow-origin", "https://ui.example", "--allow-host", "1.0.0.0")
    await world.start_proxy("chosen", "-i", "v4v:8081", *DEFAULT, *chosen)
    async with page(world, 8081, origin="https://ui.example") as one:
        await one.hello()
    for refused in ({"origin": "http://1.0.0.0"}, {"host": "other"}):
        headers = {"Host": refused.pop("host")} if "host" in refused else None
        with pytest.raises(InvalidStatus):
            async with page(world, 8081, additional_headers=headers, **refused):
                pass


async def test_a_text_that_is_too_large_ends_the_conversation_as_the_protocol_says(world: World) -> None:
    async with page(world) as one:
        await one.hello()
        with pytest.raises(ConnectionClosedError) as caught:
            await _send_and_receive(one, "x" * (1024 * 1024 + 1))
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1009


async def test_a_page_is_told_when_the_proxy_goes_away(world: World) -> None:
    async with page(world) as one:
        await one.hello()
        pid = world.house.supervisor.supervised["browser"].pid
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as caught:
            await one.receive_answer()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1001


async def _send_and_receive(one: Page, text: str) -> None:
    """The end may come while the text is still being sent, or afterwards."""
    await one.socket.send(text)
    await one.receive_answer()


async def test_fragments_and_pings_are_understood(world: World) -> None:
    async with page(world) as one:
        text = json.dumps(
            {
                "id": 7,
                "destination": BUS_NAME,
                "path": "/org/freedesktop/DBus",
                "interface": BUS_NAME,
                "method": "Hello",
                "args": [],
            }
        )
        await one.socket.send([text[:10], text[10:20], text[20:]])
        assert (await one.receive_answer())["response-to"] == "7"
        await (await one.socket.ping())


async def test_json_without_a_websocket_ends_each_text_with_nul(world: World) -> None:
    await world.start_proxy("nul", "-i", "v4v:8082", "--json-in", "--auto-auth")
    reader, writer = await world.stream(8082)
    for number, (destination, method) in enumerate(((BUS_NAME, "Hello"), (XENMGR_NAME, "list_vms")), 1):
        text = {"id": number, "destination": destination, "path": "/", "interface": destination}
        writer.write(json.dumps({**text, "method": method, "args": []}).encode() + b"\0")
        while (answer := json.loads((await reader.readuntil(b"\0"))[:-1]))["type"] == "signal":
            pass
        assert answer["response-to"] == str(number)
    assert answer["args"] == [[vm_path(UUID)]]
    writer.close()
