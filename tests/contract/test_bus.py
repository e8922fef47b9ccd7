# SPDX-License-Identifier: GPL-2.0-or-later
"""What a client can rely on when it calls a service on the bus, shown on a real dbus-daemon."""

import asyncio
import logging
import subprocess
from typing import Any

import pytest
from bus_house import (
    DISK,
    ERROR,
    INTROSPECTABLE,
    NAME,
    PROPERTIES,
    VM,
    House,
    event_loop_policy,  # noqa: F401  (each test runs on both kinds of loop)
)

from openxt_bus.connection import Match, Signal
from openxt_bus.export import Face, properties_changed
from openxt_bus.loglimit import BURST
from openxt_core.errors import NoSuchDisk, OpenxtError, RemoteError, Unavailable, UnknownObject
from openxt_core.signature import Variant
from openxt_core.spec import Call, Service

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy")

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


async def test_refusals_do_not_fill_the_log(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(3 * BURST):
        assert await house.error("/vm/a", VM.name, "fail", "s", ["refused"]) == (
            "NotSupported",
            "not built yet",
        )
    told = [record.getMessage() for record in caplog.records]
    assert len([line for line in told if "not built yet" in line]) == BURST
    assert len([line for line in told if "calls that were refused" in line]) == 1


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


@pytest.mark.parametrize("refusal", [UnknownObject("/vm/a"), NoSuchDisk()])
async def test_an_object_that_is_gone_by_the_time_it_is_asked_hides_no_other(
    house: House, refusal: OpenxtError
) -> None:
    def make(call: Call) -> Service:
        raise refusal

    house.tree.route("/vm/a", Face(VM, make))
    (objects,) = await house.call("/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
    assert set(objects) == {"/vm/b", "/vm/b/disk/0"}


async def test_what_cannot_be_had_now_is_an_error_and_no_empty_list(house: House) -> None:
    def make(call: Call) -> Service:
        raise Unavailable("nobody answers")

    house.tree.route("/vm/{vm}", Face(VM, make), exists=lambda key: key[0] in house.vms)
    _, text = await house.error("/", "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
    assert text == "nobody answers"


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
