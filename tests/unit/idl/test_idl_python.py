# SPDX-License-Identifier: GPL-2.0-or-later
"""What generated modules promise: the tables of the file, and classes that follow them."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from idl_writer import files

from openxt_core.errors import NotSupported, Unavailable
from openxt_core.signature import Variant
from openxt_core.spec import Arg, Enum, EnumValue, IdlFile, Interface, Method, Property, Signal, Value
from openxt_idl.emit.python import module
from openxt_idl.read import IdlError

RUFF = shutil.which("ruff", path=f"{Path(sys.executable).parent}:{os.defpath}")
LAMP = Interface(
    "com.citrix.xenclient.hall.lamp",
    methods=(
        Method("switch_on", doc="Light. And more."),
        Method("colour", (Arg("room", "s"),), (Arg("", "s"),)),
        Method(
            "import", (Arg("self", "i"), Arg("", "as"), Arg("reply", "b")), (Arg("a", "i"), Arg("b", "ay"))
        ),
        Method("list", outs=(Arg("all", "as"),)),
    ),
    properties=(
        Property("power-used", "u", "read", "Watts."),
        Property("level", "i", "readwrite"),
        Property("code", "s", "write"),
    ),
    signals=(Signal("burnt", (Arg("room", "s"), Arg("", "a{sv}"))), Signal("dark")),
)
FILE = IdlFile(
    "lamp",
    "/lamp",
    (LAMP,),
    (
        Enum("LAMP_MODE", "s", (EnumValue("NONE", ""), EnumValue("DIM", "dim"))),
        Enum("STATUS", "u", (EnumValue("OFF", 0), EnumValue("ON", 1))),
    ),
)


def loaded(file: IdlFile, **sides: bool) -> ModuleType:
    made = ModuleType(file.name)
    exec(compile(module(file, **sides), file.name, "exec"), made.__dict__)
    return made


def undocumented(file: IdlFile) -> IdlFile:
    return replace(
        file,
        doc="",
        enums=tuple(
            replace(enum, doc="", values=tuple(replace(value, doc="") for value in enum.values))
            for enum in file.enums
        ),
        interfaces=tuple(
            replace(
                interface,
                doc="",
                methods=tuple(replace(each, doc="") for each in interface.methods),
                properties=tuple(replace(each, doc="") for each in interface.properties),
                signals=tuple(replace(each, doc="") for each in interface.signals),
            )
            for interface in file.interfaces
        ),
    )


class Bus:
    """Fulfils Caller and Emitter: remembers what was sent, answers what it is told to."""

    def __init__(self, *reply: Value) -> None:
        self.sent: list[tuple[Any, ...]] = []
        self._reply = reply

    async def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Value] = (),
        *,
        timeout_s: float = 25.0,
    ) -> Sequence[Value]:
        self.sent.append((destination, path, interface, member, signature, tuple(body), timeout_s))
        return list(self._reply)

    def emit(
        self, path: str, interface: str, member: str, signature: str = "", body: Sequence[Value] = ()
    ) -> None:
        self.sent.append((path, interface, member, signature, tuple(body)))


def client(bus: Bus, **options: Any) -> Any:
    return loaded(FILE).HallLampClient(bus, "the.lamp", "/lamp", **options)


@settings(max_examples=50)
@given(files)
def test_a_module_holds_the_tables_of_its_file_unless_a_name_cannot_be(file: IdlFile) -> None:
    with suppress(IdlError):
        assert undocumented(file) == loaded(file).FILE


def test_names_follow_the_interface() -> None:
    made = loaded(FILE)
    assert undocumented(FILE) == made.FILE
    assert made.FILE.interfaces == (made.HALL_LAMP,)
    assert made.HallLamp.SPEC is made.HallLampClient.SPEC is made.HallLampSignals.SPEC is made.HALL_LAMP


def test_the_same_file_gives_the_same_text() -> None:
    assert module(FILE) == module(FILE)


def test_documentation_is_the_first_sentence() -> None:
    assert loaded(FILE).HallLamp.switch_on.__doc__ == "Light."


def test_texts_and_numbers_become_their_kind_of_enumeration() -> None:
    made = loaded(FILE)
    assert made.LampMode.DIM == "dim"
    assert made.LampMode("") is made.LampMode.NONE
    assert made.Status.ON == 1


def test_what_a_server_does_not_override_says_so() -> None:
    server = loaded(FILE).HallLamp()
    with pytest.raises(NotSupported, match=r"hall\.lamp\.import is not built yet"):
        server.import_(1, [], True)


@pytest.mark.parametrize(
    ("reply", "call", "result"),
    [
        ((), lambda lamp: lamp.switch_on(), None),
        (("red",), lambda lamp: lamp.colour("hall"), "red"),
        ((1, b"x"), lambda lamp: lamp.import_(3, ["a"], False), (1, b"x")),
        ((["x"],), lambda lamp: lamp.list(), ["x"]),
    ],
)
def test_out_arguments_are_none_one_value_or_a_tuple(
    reply: tuple[Value, ...], call: Any, result: Any
) -> None:
    assert asyncio.run(call(client(Bus(*reply)))) == result


def test_a_call_is_sent_as_the_table_says() -> None:
    bus = Bus(1, b"")
    asyncio.run(client(bus).import_(3, ["a"], False))
    assert bus.sent == [("the.lamp", "/lamp", LAMP.name, "import", "iasb", (3, ["a"], False), 25.0)]


def test_interface_and_timeout_can_be_chosen_for_one_client() -> None:
    bus = Bus()
    asyncio.run(client(bus, interface="its.own", timeout_s=3.0).switch_on())
    assert bus.sent == [("the.lamp", "/lamp", "its.own", "switch_on", "", (), 3.0)]


def test_other_out_arguments_are_an_error() -> None:
    with pytest.raises(Unavailable, match="switch_on in another form"):
        asyncio.run(client(Bus("surprise")).switch_on())
    with pytest.raises(Unavailable, match="colour in another form"):
        asyncio.run(client(Bus(5)).colour("hall"))


def test_properties_travel_as_variants_of_their_type() -> None:
    bus = Bus(Variant("u", 60))
    lamp = client(bus)
    assert asyncio.run(lamp.get_power_used()) == 60
    asyncio.run(lamp.set_level(5))
    properties = "org.freedesktop.DBus.Properties"
    assert [sent[2:6] for sent in bus.sent] == [
        (properties, "Get", "ss", (LAMP.name, "power-used")),
        (properties, "Set", "ssv", (LAMP.name, "level", Variant("i", 5))),
    ]


def test_only_readable_properties_have_a_getter_and_writable_ones_a_setter() -> None:
    helpers = {name for name in dir(client(Bus())) if name.startswith(("get_", "set_"))}
    assert helpers - {"get_all", "get_property", "set_property"} == {
        "get_power_used",
        "get_level",
        "set_level",
        "set_code",
    }


def test_all_properties_come_as_bare_values() -> None:
    bus = Bus({"level": Variant("i", 5)})
    assert asyncio.run(client(bus).get_all()) == {"level": 5}


@pytest.mark.parametrize("reply", [(), ("bare",), ({"level": 5},), ({"level": Variant("s", "5")},)])
def test_properties_in_another_form_are_an_error(reply: tuple[Value, ...]) -> None:
    with pytest.raises(Unavailable):
        asyncio.run(client(Bus(*reply)).get_property("level"))
    with pytest.raises(Unavailable):
        asyncio.run(client(Bus(*reply)).get_all())


def test_signals_are_sent_as_the_table_says() -> None:
    bus = Bus()
    signals = loaded(FILE).HallLampSignals(bus, "/lamp")
    signals.burnt("hall", {})
    signals.dark()
    assert bus.sent == [
        ("/lamp", LAMP.name, "burnt", "sa{sv}", ("hall", {})),
        ("/lamp", LAMP.name, "dark", "", ()),
    ]


@pytest.mark.parametrize(
    ("client", "server", "absent"),
    [(True, False, {"HallLamp", "HallLampSignals"}), (False, True, {"HallLampClient"})],
)
def test_one_side_alone_leaves_the_other_out(client: bool, server: bool, absent: set[str]) -> None:
    made = {name for name in dir(loaded(FILE, client=client, server=server)) if name.startswith("Hall")}
    assert made == {"HallLamp", "HallLampClient", "HallLampSignals"} - absent


CLASHES = (
    Interface("a.b", methods=(Method("call"),)),
    Interface("a.b", methods=(Method("get_x"),), properties=(Property("x", "s", "read"),)),
    Interface("a.b", properties=(Property("x-y", "s", "read"), Property("x_y", "s", "read"))),
    Interface("a.b", methods=(Method("class"), Method("class_"))),
    Interface("com.citrix.xenclient.service"),
)


@pytest.mark.parametrize("interface", CLASHES)
def test_names_that_would_hide_one_another_are_refused(interface: Interface) -> None:
    with pytest.raises(IdlError, match="two things would be called"):
        module(IdlFile("x", interfaces=(interface,)))


@pytest.mark.parametrize(
    "file",
    [
        IdlFile("x", interfaces=(Interface("com.citrix.xenclient._"),)),
        IdlFile("x", interfaces=(Interface("a.b", methods=(Method("__init__"),)),)),
        IdlFile("x", enums=(Enum("_", "s"),)),
        IdlFile("x", enums=(Enum("SIDE", "s", (EnumValue("_left_", "l"),)),)),
        IdlFile("x", enums=(Enum("SIDE", "s", (EnumValue("value", "l"),)),)),
    ],
)
def test_names_that_python_does_not_allow_are_refused(file: IdlFile) -> None:
    with pytest.raises(IdlError):
        module(file)


@pytest.mark.skipif(RUFF is None, reason="no formatter here")
@pytest.mark.parametrize("methods", [0, 1, 2, 30])
def test_the_text_is_formatted_already(methods: int) -> None:
    wide = tuple(
        Method(f"m{n}", tuple(Arg(f"argument_{k}", "a{sv}") for k in range(n)), LAMP.methods[n % 3].outs)
        for n in range(methods)
    )
    names = Interface(
        "org.example." + "x" * 60, wide, signals=(Signal("y" * 90, wide[-1].ins if wide else ()),)
    )
    text = module(replace(FILE, interfaces=(LAMP, names)))
    command = [str(RUFF), "format", "--config", "line-length=110", "--isolated", "-"]
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=True)
    assert done.stdout.decode() == text
