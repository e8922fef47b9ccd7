# SPDX-License-Identifier: GPL-2.0-or-later
"""What a service and a client on the bus can rely on, shown on a real dbus-daemon."""

import asyncio
import logging
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from openxt_bus.connection import Bus, Match, Signal
from openxt_bus.export import Face, ObjectTree, properties_changed
from openxt_bus.loop import BusLoop
from openxt_core.errors import (
    InvalidArgs,
    NotSupported,
    RemoteError,
    Unavailable,
    VmBadState,
)
from openxt_core.signature import Variant
from openxt_core.spec import Arg, Call, Interface, Method, Property, Service
from openxt_core.spec import Signal as SignalRow
from private_bus import launch

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


pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy")


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


# Methods


async def test_plain_and_asynchronous_handlers_answer_alike(house: House) -> None:
    assert await house.call("/vm/a", VM.name, "echo", "s", ["häuschen"]) == ["häuschen"]
    assert await house.call("/vm/a", VM.name, "echo_later", "s", ["x"]) == ["x"]


async def test_none_one_and_several_results(house: House) -> None:
    assert list(await house.call("/vm/a", VM.name, "switch", "s", ["x"])) == []
    assert await house.call("/vm/a", VM.name, "two") == ["a", [1, 2]]


async def test_a_member_named_like_a_keyword_is_answered(house: House) -> None:
    assert await house.call("/vm/a", VM.name, "import") == ["keyword"]


async def test_a_handler_knows_who_called_which_object(house: House) -> None:
    assert await house.call("/vm/b", VM.name, "who") == [house.client.unique_name, ["b"]]


async def test_variants_and_structs_pass_both_ways(house: House) -> None:
    value = Variant("a{sv}", {"a": Variant("(ay)", [b"\0\1"]), "b": Variant("v", Variant("o", "/x"))})
    assert await house.call("/vm/a", VM.name, "echo_any", "v", [value]) == [value]


async def test_many_calls_in_flight_are_each_answered(house: House) -> None:
    calls = (
        house.call("/vm/a", VM.name, "echo" if n % 2 else "echo_later", "s", [str(n)]) for n in range(500)
    )
    assert await asyncio.gather(*calls) == [[str(n)] for n in range(500)]


async def test_a_megabyte_passes_both_ways(house: House) -> None:
    text = "x" * 2**20
    assert await house.call("/vm/a", VM.name, "echo", "s", [text]) == [text]


async def test_a_call_without_reply_is_run_and_not_answered(house: House) -> None:
    await dbus_send(house, "--type=method_call", "/vm/a", f"{VM.name}.switch", "string:quiet")
    async with asyncio.timeout(10):
        await house.reached.wait()
    assert house.values["switch"] == "quiet"


# Errors


@pytest.mark.parametrize("member", ["fail", "fail_later"])
@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("refused", ("NotSupported", "not built yet")),
        ("numbered", ("Failed", "102:VM is running")),
        ("remote", ("com.example.Error.Odd", "from elsewhere")),
        ("bug", ("Failed", "internal error")),
    ],
)
async def test_failures_are_told_by_name_and_text_but_bugs_without_details(
    house: House, member: str, kind: str, told: tuple[str, str]
) -> None:
    assert await house.error("/vm/a", VM.name, member, "s", [kind]) == told


async def test_a_bug_is_logged_with_its_traceback_once(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    await house.error("/vm/a", VM.name, "fail", "s", ["bug"])
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.levelno == logging.ERROR
    assert "org.test.vm.fail of /vm/a" in record.getMessage()


async def test_a_result_of_the_wrong_type_is_a_bug_and_the_connection_lives(house: House) -> None:
    assert await house.error("/vm/a", VM.name, "lie") == ("Failed", "internal error")
    assert await house.call("/vm/a", VM.name, "echo", "s", ["still here"]) == ["still here"]


@pytest.mark.parametrize(
    ("path", "interface", "member", "told"),
    [
        ("/vm/zzz", VM.name, "echo", ("UnknownObject", "/vm/zzz")),
        ("/elsewhere", VM.name, "echo", ("UnknownObject", "/elsewhere")),
        ("/vm", VM.name, "echo", ("UnknownObject", "/vm")),
        ("/vm/zzz/disk", INTROSPECTABLE, "Introspect", ("UnknownObject", "/vm/zzz/disk")),
        ("/vm/zzz/disk/0", DISK.name, "x", ("UnknownObject", "/vm/zzz/disk/0")),
        ("/vm/a/disk/1", DISK.name, "x", ("UnknownObject", "/vm/a/disk/1")),
        ("/vm/a", VM.name, "nothing", ("UnknownMethod", "nothing")),
        ("/vm/a", "org.test.other", "echo", ("UnknownMethod", "echo")),
        ("/vm/a", "", "echo", ("UnknownMethod", "echo")),
        ("/vm/a", "", "Introspect", ("UnknownMethod", "Introspect")),
    ],
)  # fmt: skip
async def test_what_is_not_there_is_named(
    house: House, path: str, interface: str, member: str, told: tuple[str, str]
) -> None:
    assert await house.error(path, interface, member) == told


@pytest.mark.parametrize(
    ("signature", "body"), [("", []), ("i", [5]), ("ss", ["a", "b"]), ("v", [Variant("s", "")])]
)
async def test_arguments_of_another_type_are_invalid(house: House, signature: str, body: list[Any]) -> None:
    name, _ = await house.error("/vm/a", VM.name, "echo", signature, body)
    assert name == "InvalidArgs"


async def test_an_object_that_goes_away_is_unknown_from_then_on(house: House) -> None:
    await house.call("/vm/b", VM.name, "echo", "s", [""])
    house.vms.discard("b")
    assert await house.error("/vm/b", VM.name, "echo", "s", [""]) == ("UnknownObject", "/vm/b")


async def test_a_connection_that_serves_nothing_knows_no_object(house: House) -> None:
    with pytest.raises(RemoteError) as caught:
        await house.server.call(house.client.unique_name, "/x", "a.b", "c")
    assert (caught.value.name, caught.value.text) == (ERROR + "UnknownObject", "/x")


# Properties


async def test_a_property_with_dashes_is_read_in_a_variant_of_its_type(house: House) -> None:
    assert await house.call("/vm/a", PROPERTIES, "Get", "ss", [VM.name, "start-on-boot"]) == [
        Variant("b", True)
    ]
    assert await house.call("/vm/a", PROPERTIES, "Get", "ss", [VM.name, "slow-name"]) == [
        Variant("s", "slow")
    ]


async def test_a_property_is_set(house: House) -> None:
    await house.call("/vm/a", PROPERTIES, "Set", "ssv", [VM.name, "start-on-boot", Variant("b", False)])
    assert house.values["start-on-boot"] is False


@pytest.mark.parametrize("value", [Variant("u", 5), Variant("s", "5"), Variant("v", Variant("i", 5))])
async def test_a_property_is_not_set_with_another_type(house: House, value: Variant) -> None:
    name, _ = await house.error("/vm/a", PROPERTIES, "Set", "ssv", [VM.name, "memory", value])
    assert name == "InvalidArgs"
    assert house.values["memory"] == 512


@pytest.mark.parametrize("name", ["nothing", "secret-key"])
async def test_get_of_what_cannot_be_read(house: House, name: str) -> None:
    told = await house.error("/vm/a", PROPERTIES, "Get", "ss", [VM.name, name])
    assert told == ("UnknownProperty", f"org.test.vm.{name} is not readable, or does not exist")


@pytest.mark.parametrize(
    ("name", "error"), [("nothing", "UnknownProperty"), ("slow-name", "PropertyReadOnly")]
)
async def test_set_of_what_cannot_be_written(house: House, name: str, error: str) -> None:
    told = await house.error("/vm/a", PROPERTIES, "Set", "ssv", [VM.name, name, Variant("s", "")])
    assert told == (error, f"org.test.vm.{name} is not writable, or does not exist")


async def test_get_all_leaves_out_and_logs_what_fails(house: House, caplog: pytest.LogCaptureFixture) -> None:
    assert await house.call("/vm/a", PROPERTIES, "GetAll", "s", [VM.name]) == [
        {
            "start-on-boot": Variant("b", True),
            "memory": Variant("i", 512),
            "slow-name": Variant("s", "slow"),
        }
    ]
    logged = " ".join(record.getMessage() for record in caplog.records)
    assert "org.test.vm.broken" in logged
    assert "org.test.vm.mistyped" in logged


@pytest.mark.parametrize(
    ("member", "signature", "rest"),
    [("Get", "ss", ["x"]), ("Set", "ssv", ["x", Variant("s", "")]), ("GetAll", "s", [])],
)
async def test_properties_of_an_unknown_interface(
    house: House, member: str, signature: str, rest: list[Any]
) -> None:
    told = await house.error("/vm/a", PROPERTIES, member, signature, ["org.test.other", *rest])
    assert told == ("UnknownInterface", "org.test.other")


async def test_changed_properties_travel_in_variants_of_their_types(house: House) -> None:
    heard: list[Signal] = []
    await house.client.subscribe(Match(PROPERTIES, "PropertiesChanged", arg0=VM.name), heard.append)
    properties_changed(house.server, "/vm/a", VM, {"start-on-boot": True})
    await house.flush()
    assert [(s.path, s.body) for s in heard] == [
        ("/vm/a", [VM.name, {"start-on-boot": Variant("b", True)}, []])
    ]


# Standard interfaces


async def test_every_node_answers_ping_and_has_a_machine_id(house: House) -> None:
    assert list(await house.call("/vm", "org.freedesktop.DBus.Peer", "Ping")) == []
    (machine,) = await house.call("/", "org.freedesktop.DBus.Peer", "GetMachineId")
    assert len(machine) == 32


async def test_the_object_manager_gives_every_object_with_all_properties(house: House) -> None:
    (objects,) = await house.call("/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
    assert set(objects) == {"/vm/a", "/vm/a/disk/0", "/vm/b", "/vm/b/disk/0"}
    assert objects["/vm/a"][VM.name]["memory"] == Variant("i", 512)
    assert objects["/vm/b/disk/0"] == {DISK.name: {"size": Variant("t", 2**40)}}


async def test_objects_that_come_and_go_are_announced(house: House) -> None:
    heard: list[Signal] = []
    await house.client.subscribe(Match("org.freedesktop.DBus.ObjectManager", path="/"), heard.append)
    await house.tree.announce_added(house.server, "/vm/b/disk/0")
    house.vms.discard("b")
    house.tree.announce_removed(house.server, "/vm/b/disk/0")
    await house.flush()
    assert [(s.member, s.body) for s in heard] == [
        ("InterfacesAdded", ["/vm/b/disk/0", {DISK.name: {"size": Variant("t", 2**40)}}]),
        ("InterfacesRemoved", ["/vm/b/disk/0", [DISK.name]]),
    ]


# Other people's tools


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, output.decode()
    return output.decode()


async def dbus_send(house: House, *args: str) -> str:
    return await run("dbus-send", f"--bus={house.address}", f"--dest={NAME}", *args)


async def test_busctl_reads_the_tree_the_interfaces_and_the_properties(house: House) -> None:
    busctl = ("busctl", f"--address={house.address}")
    tree = await run(*busctl, "--list", "tree", NAME)
    assert tree.split() == [
        "/",
        "/vm",
        "/vm/a",
        "/vm/a/disk",
        "/vm/a/disk/0",
        "/vm/b",
        "/vm/b/disk",
        "/vm/b/disk/0",
    ]
    lines = (await run(*busctl, "introspect", NAME, "/vm/a")).splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert rows[".echo"] == ["method", "s", "s", "-"]
    assert rows[".two"] == ["method", "-", "sai", "-"]
    assert rows[".start-on-boot"] == ["property", "b", "true", "emits-change", "writable"]
    assert rows[".changed"] == ["signal", "si", "-", "-"]
    assert await run(*busctl, "get-property", NAME, "/vm/a", VM.name, "start-on-boot") == "b true\n"
    await run(*busctl, "set-property", NAME, "/vm/a", VM.name, "memory", "i", "64")
    assert house.values["memory"] == 64


async def test_gdbus_walks_the_whole_tree(house: House) -> None:
    output = await run(
        "gdbus", "introspect", "--address", house.address, "--dest", NAME, "--object-path", "/", "--recurse"
    )
    assert "node /vm/b/disk/0 {" in output
    assert "readwrite b start-on-boot = true;" in output
    assert "GetManagedObjects" in output
    assert "error" not in output.lower()


async def test_dbus_send_calls_and_is_answered(house: House) -> None:
    assert 'string "hello"' in await dbus_send(
        house, "--print-reply", "/vm/a", f"{VM.name}.echo", "string:hello"
    )
    reply = await dbus_send(
        house, "--print-reply", "/vm/a", f"{PROPERTIES}.Get", f"string:{VM.name}", "string:start-on-boot"
    )
    assert "boolean true" in reply


# Calls out


async def test_a_call_that_is_not_answered_in_time_names_what_did_not(house: House) -> None:
    with pytest.raises(Unavailable, match=r"org\.test\.House\.hang did not answer within 0\.05 s"):
        await house.client.call(NAME, "/vm/a", VM.name, "hang", timeout_s=0.05)


async def test_a_call_to_nobody_is_absent(house: House) -> None:
    with pytest.raises(RemoteError) as caught:
        await house.client.call("org.test.Nobody", "/", "a.b", "c")
    assert caught.value.is_absent


async def test_a_retried_call_reaches_a_service_that_comes_later(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openxt_bus.connection.RETRY_PAUSE_S", 0.05)
    await house.server.release_name(NAME)
    retried = asyncio.create_task(
        house.client.call_retrying(NAME, "/vm/a", VM.name, "echo", "s", ["late"], timeout_s=10)
    )
    await house.client.name_owner(NAME)  # sent after the first try, so answered after it failed
    await house.server.request_name(NAME)
    assert await retried == ["late"]


async def test_a_retried_call_gives_up_and_does_not_retry_other_errors(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openxt_bus.connection.RETRY_PAUSE_S", 0)
    with pytest.raises(RemoteError) as caught:
        await house.client.call_retrying("org.test.Nobody", "/", "a.b", "c")
    assert caught.value.is_absent
    with pytest.raises(RemoteError, match="nothing"):
        await house.client.call_retrying(NAME, "/vm/a", VM.name, "nothing")


async def test_a_call_that_cannot_be_sent_is_refused_here(house: House) -> None:
    with pytest.raises(InvalidArgs):
        await house.call("/vm/a", VM.name, "echo", "s", [5])
    with pytest.raises(InvalidArgs):
        house.client.emit("/", VM.name, "changed", "s", [5])
    await house.flush()


# Signals


async def test_only_wanted_signals_arrive_in_order(house: House) -> None:
    heard: list[Signal] = []
    await house.client.subscribe(Match(VM.name, "changed", path="/vm/a"), heard.append)
    for number in range(50):
        house.server.emit("/vm/a", VM.name, "changed", "si", ["x", number])
        house.server.emit("/vm/b", VM.name, "changed", "si", ["x", number])
    await house.flush()
    assert [signal.body[1] for signal in heard] == list(range(50))
    assert heard[0] == Signal(house.server.unique_name, "/vm/a", VM.name, "changed", ["x", 0])


async def test_a_failing_listener_stops_nobody_else(house: House) -> None:
    heard: list[Signal] = []

    def fail(signal: Signal) -> None:
        raise ValueError

    await house.client.subscribe(Match(VM.name), fail)
    await house.client.subscribe(Match(VM.name), heard.append)
    house.server.emit("/vm/a", VM.name, "changed", "si", ["x", 1])
    house.server.emit("/vm/a", VM.name, "changed", "si", ["x", 2])
    await house.flush()
    assert len(heard) == 2


async def test_equal_subscriptions_share_a_rule_until_the_last_is_closed(house: House) -> None:
    first: list[Signal] = []
    second: list[Signal] = []
    match = Match(VM.name, "changed")
    one, two = await asyncio.gather(
        house.client.subscribe(match, first.append), house.client.subscribe(match, second.append)
    )
    await one.close()
    await one.close()
    house.server.emit("/vm/a", VM.name, "changed", "si", ["x", 1])
    await house.flush()
    assert (len(first), len(second)) == (0, 1)
    await two.close()
    with pytest.raises(RemoteError, match="rule"):  # the bus has no such rule any more
        await house.client.call(
            "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "RemoveMatch", "s", [match.rule]
        )


async def test_a_well_known_sender_is_followed_from_owner_to_owner(house: House) -> None:
    heard: list[Signal] = []
    name = "org.test.Second"
    subscription = await house.client.subscribe(Match(VM.name, sender=name), heard.append)
    house.server.emit("/vm/a", VM.name, "changed", "si", ["not the owner yet", 1])
    await house.server.request_name(name)
    house.server.emit("/vm/a", VM.name, "changed", "si", ["owner", 2])
    await house.server.release_name(name)
    house.server.emit("/vm/a", VM.name, "changed", "si", ["not the owner any more", 3])
    await house.flush()
    assert [signal.body[0] for signal in heard] == ["owner"]
    await subscription.close()
    house.server.emit("/vm/a", VM.name, "changed", "si", ["closed", 4])
    await house.flush()
    assert len(heard) == 1


async def test_a_sender_that_owned_its_name_before_is_heard_at_once(house: House) -> None:
    heard: list[Signal] = []
    await house.client.subscribe(Match(VM.name, sender=NAME), heard.append)
    house.server.emit("/vm/a", VM.name, "changed", "si", ["x", 1])
    await house.flush()
    assert len(heard) == 1


async def test_a_listener_may_close_its_own_subscription(house: House) -> None:
    closing: list[asyncio.Task[None]] = []
    subscription = await house.client.subscribe(
        Match(VM.name), lambda signal: closing.append(asyncio.create_task(subscription.close()))
    )
    house.server.emit("/vm/a", VM.name, "changed", "si", ["x", 1])
    await house.flush()
    await asyncio.gather(*closing)
    house.server.emit("/vm/a", VM.name, "changed", "si", ["x", 1])
    await house.flush()
    assert len(closing) == 1


# Names


async def test_a_name_has_one_owner_and_nobody_queues(house: House) -> None:
    assert not await house.client.request_name(NAME)
    assert await house.server.request_name(NAME)
    assert await house.client.name_owner(NAME) == house.server.unique_name
    await house.server.release_name(NAME)
    assert await house.client.name_owner(NAME) is None


async def test_changes_of_owner_are_told(house: House) -> None:
    told: list[tuple[str, str]] = []
    await house.client.watch_name("org.test.Second", lambda old, new: told.append((old, new)))
    await house.server.request_name("org.test.Second")
    await house.server.release_name("org.test.Second")
    await house.flush()
    assert told == [("", house.server.unique_name), (house.server.unique_name, "")]


# The end


async def test_closing_ends_pending_calls_and_running_handlers(house: House) -> None:
    pending = asyncio.create_task(house.call("/vm/a", VM.name, "hang"))
    async with asyncio.timeout(10):
        await house.reached.wait()
    house.client.close()
    house.server.close()
    with pytest.raises(Unavailable):
        await pending
    await house.client.wait_closed()
    assert house.values["hang"] == "ended"


async def test_a_lost_bus_ends_every_pending_call_and_all_later_ones() -> None:
    with tempfile.TemporaryDirectory() as folder:
        address, process = launch(Path(folder))
        client, server = await Bus.connect(address), await Bus.connect(address)
        tree, reached = ObjectTree(), asyncio.Event()
        tree.route("/", Face(VM, lambda call: Vm(call, {}, reached)))
        server.serve(tree)
        subscription = await client.subscribe(Match(VM.name), lambda signal: None)
        calls = [asyncio.create_task(client.call(server.unique_name, "/", VM.name, "hang")) for _ in range(3)]
        async with asyncio.timeout(10):
            await reached.wait()
        process.kill()
        await asyncio.to_thread(process.communicate)
        async with asyncio.timeout(10):
            await client.wait_closed()
            await server.wait_closed()
        for call in [*calls, asyncio.create_task(client.name_owner("a.b"))]:
            with pytest.raises(Unavailable):
                await call
        client.emit("/", VM.name, "changed", "si", ["nobody hears", 1])
        await subscription.close()


async def test_the_address_comes_from_the_environment(
    bus_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "DBUS_SYSTEM_BUS_ADDRESS", bus_address)
    bus = await Bus.connect()
    assert bus.unique_name.startswith(":")
    bus.close()
