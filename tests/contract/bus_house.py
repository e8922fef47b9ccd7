# SPDX-License-Identifier: GPL-2.0-or-later
"""A service on a private bus with everything that services have, and a client of it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from openxt_bus.connection import Bus
from openxt_bus.export import Face, ObjectTree
from openxt_bus.loop import BusLoop
from openxt_core.errors import (
    NotSupported,
    RemoteError,
    Unavailable,
    VmBadState,
)
from openxt_core.signature import Variant
from openxt_core.spec import Arg, Call, Interface, Method, Property, Service
from openxt_core.spec import Signal as SignalRow

NAME = "org.test.House"
ERROR = "org.freedesktop.DBus.Error."
INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
PROPERTIES = "org.freedesktop.DBus.Properties"
TEXT_IN, TEXT_OUT = (Arg("text", "s"),), (Arg("", "s"),)
VM = Interface(
    "org.test.vm",
    methods=(
        Method("echo", TEXT_IN, TEXT_OUT),
        Method("echo_later", TEXT_IN, TEXT_OUT),
        Method("echo_any", (Arg("value", "v"),), (Arg("value", "v"),)),
        Method("two", (), (Arg("a", "s"), Arg("b", "ai"))),
        Method("switch", TEXT_IN),
        Method("import", (), TEXT_OUT),
        Method("who", (), (Arg("sender", "s"), Arg("key", "as"))),
        Method("fail", TEXT_IN),
        Method("fail_later", TEXT_IN),
        Method("lie", (), TEXT_OUT),
        Method("hang"),
    ),
    properties=(
        Property("start-on-boot", "b", "readwrite"),
        Property("memory", "i", "readwrite"),
        Property("slow-name", "s", "read"),
        Property("secret-key", "s", "write"),
        Property("broken", "s", "read"),
        Property("mistyped", "i", "read"),
    ),
    signals=(SignalRow("changed", (Arg("what", "s"), Arg("value", "i"))),),
)
DISK = Interface("org.test.disk", properties=(Property("size", "t", "read"),))

FAILURES: dict[str, Exception] = {
    "refused": NotSupported("not built yet"),
    "numbered": VmBadState("VM is running"),
    "remote": RemoteError("com.example.Error.Odd", "from elsewhere"),
    "bug": KeyError("the secret detail"),
}


@dataclass
class Vm(Service):
    SPEC = VM
    values: dict[str, Any] = field(default_factory=dict)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def echo(self, text: str) -> str:
        return text

    async def echo_later(self, text: str) -> str:
        await asyncio.sleep(0)
        return text

    def echo_any(self, value: Variant) -> Variant:
        return value

    def two(self) -> tuple[str, list[int]]:
        return "a", [1, 2]

    def switch(self, text: str) -> None:
        self.values["switch"] = text
        self.reached.set()

    def import_(self) -> str:
        return "keyword"

    def who(self) -> tuple[str, list[str]]:
        return self.call.sender, list(self.call.key)

    def fail(self, text: str) -> None:
        raise FAILURES[text]

    async def fail_later(self, text: str) -> None:
        await asyncio.sleep(0)
        raise FAILURES[text]

    def lie(self) -> Any:
        return 5

    async def hang(self) -> None:
        self.reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.values["hang"] = "ended"

    def get_property(self, name: str) -> Any:
        match name:
            case "slow-name":
                return self.echo_later("slow")
            case "broken":
                raise Unavailable("no answer from below")
            case "mistyped":
                return "no number"
        return self.values[name]

    def set_property(self, name: str, value: Any) -> None:
        self.values[name] = value


@dataclass
class Disk(Service):
    SPEC = DISK

    def get_property(self, name: str) -> int:
        return 2**40


@dataclass
class House:
    """A service on a private bus, and a client of it."""

    address: str
    server: Bus
    client: Bus
    values: dict[str, Any]
    vms: set[str]
    reached: asyncio.Event
    tree: ObjectTree

    async def call(
        self, path: str, interface: str, member: str, signature: str = "", body: Sequence[Any] = ()
    ) -> Any:
        return await self.client.call(NAME, path, interface, member, signature, body, timeout_s=10)

    async def error(self, *call: Any) -> tuple[str, str]:
        with pytest.raises(RemoteError) as caught:
            await self.call(*call)
        return caught.value.name.removeprefix(ERROR), caught.value.text

    async def flush(self) -> None:
        """Returns when all that the server sent so far has arrived at the client."""
        await self.call("/vm/a", VM.name, "echo", "s", ["flush"])


class BusLoopPolicy(asyncio.DefaultEventLoopPolicy):
    """Daemons run on a loop of their own make; every promise holds on both kinds."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return BusLoop()


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy(), BusLoopPolicy()], ids=["plain", "bus"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    policy: asyncio.AbstractEventLoopPolicy = request.param
    return policy


@pytest_asyncio.fixture
async def house(bus_address: str) -> AsyncIterator[House]:
    values: dict[str, Any] = {"start-on-boot": True, "memory": 512}
    vms, reached, tree = {"a", "b"}, asyncio.Event(), ObjectTree()

    def make(call: Call) -> Vm:
        return Vm(call, values, reached)

    tree.route("/vm", children=lambda key: sorted(vms))
    tree.route("/vm/{vm}", Face(VM, make), exists=lambda key: key[0] in vms)
    tree.route("/vm/{vm}/disk", children=lambda key: ["0"])
    tree.route("/vm/{vm}/disk/{disk}", Face(DISK, Disk), exists=lambda key: key[1] == "0")
    tree.managed()
    server, client = await Bus.connect(bus_address), await Bus.connect(bus_address)
    server.serve(tree)
    assert await server.request_name(NAME)
    yield House(bus_address, server, client, values, vms, reached, tree)
    server.close()
    client.close()
