# SPDX-License-Identifier: GPL-2.0-or-later
"""xec and xec-vm as programs, against a small service of the same shape as xenmgr on a private bus."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from openxt_bus.connection import Bus
from openxt_bus.export import Face, ObjectTree
from openxt_core.errors import VmBadState
from openxt_core.spec import Arg, Interface, Method, Property, Service

NAME = "com.citrix.xenclient.xenmgr"
VM = f"{NAME}.vm"
ROOT_SPEC = Interface(
    NAME,
    methods=(
        Method("list_vms", (), (Arg("paths", "ao"),)),
        Method(
            "add_up",
            (Arg("numbers", "ai"), Arg("by_name", "a{sv}")),
            (Arg("sum", "i"), Arg("names", "as")),
        ),
        Method("get_nothing"),
    ),
)
VM_SPEC = Interface(
    VM,
    methods=(
        Method("start"),
        Method("list_disks", (), (Arg("paths", "ao"),)),
        Method("add_pt_rule", (Arg("class", "s"), Arg("vendor", "s"), Arg("device", "s"))),
    ),
    properties=(
        Property("name", "s", "readwrite"),
        Property("uuid", "s", "read"),
        Property("domid", "i", "read"),
        Property("state", "s", "read"),
        Property("start-on-boot", "b", "readwrite"),
        Property("memory", "i", "readwrite"),
    ),
)
UNRESTRICTED = Interface(
    f"{VM}.unrestricted", methods=(Method("unrestricted"),), properties=VM_SPEC.properties
)
DISK_SPEC = Interface("com.citrix.xenclient.vmdisk", properties=(Property("phys-path", "s", "readwrite"),))


@dataclass
class Vms:
    """What the service remembers."""

    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    ghosts: list[str] = field(default_factory=list)

    def add(self, name: str, domid: int, number: int) -> None:
        uuid = f"00000000-0000-0000-0000-{number:012}"
        self.values[uuid.replace("-", "_")] = {
            "name": name,
            "uuid": uuid,
            "domid": domid,
            "state": "stopped" if domid < 0 else "running",
            "start-on-boot": False,
            "memory": 512,
        }


@dataclass
class Root(Service):
    SPEC = ROOT_SPEC
    vms: Vms = field(default_factory=Vms)

    def list_vms(self) -> list[str]:
        return [f"/vm/{key}" for key in (*self.vms.values, *self.vms.ghosts)]

    def add_up(self, numbers: list[int], by_name: dict[str, Any]) -> tuple[int, list[str]]:
        return sum(numbers) + sum(value.value for value in by_name.values()), list(by_name)

    def get_nothing(self) -> None:
        return None


@dataclass
class Vm(Service):
    SPEC = VM_SPEC
    vms: Vms = field(default_factory=Vms)

    @property
    def values(self) -> dict[str, Any]:
        return self.vms.values[self.call.key[0]]

    def start(self) -> None:
        if self.values["domid"] >= 0:
            raise VmBadState("VM is running")
        self.vms.calls.append(("start", self.values["name"]))

    def list_disks(self) -> list[str]:
        return [f"{self.call.path}/disk/0"]

    def add_pt_rule(self, class_: str, vendor: str, device: str) -> None:
        self.vms.calls.append(("add_pt_rule", class_, vendor, device))

    def unrestricted(self) -> None:
        self.vms.calls.append(("unrestricted", self.values["name"]))

    def get_property(self, name: str) -> Any:
        return self.values[name]

    def set_property(self, name: str, value: Any) -> None:
        self.values[name] = value


@dataclass
class UnrestrictedVm(Vm):
    SPEC: ClassVar[Interface] = UNRESTRICTED


@dataclass
class Disk(Service):
    SPEC = DISK_SPEC

    def get_property(self, name: str) -> str:
        return f"/disks/{self.call.key[1]}.vhd"


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str


@dataclass
class House:
    environ: dict[str, str]
    vms: Vms

    async def run(self, program: str, *words: str, **environ: str) -> Result:
        path = Path(sys.executable).parent / program
        process = await asyncio.create_subprocess_exec(
            path, *words, stdout=-1, stderr=-1, env=self.environ | environ
        )
        async with asyncio.timeout(30):
            out, err = await process.communicate()
        assert process.returncode is not None
        return Result(process.returncode, out.decode(), err.decode())

    async def prints(self, line: str, *more: str) -> str:
        """What a command line prints that must succeed."""
        program, *words = line.split()
        result = await self.run(program, *words, *more)
        assert (result.status, result.err) == (0, "")
        return result.out

    async def fails(self, line: str, *more: str) -> str:
        program, *words = line.split()
        result = await self.run(program, *words, *more)
        assert (result.status, result.out) == (1, "")
        return result.err


@pytest_asyncio.fixture
async def house(bus_address: str, tmp_path: Path) -> AsyncIterator[House]:
    vms = Vms()
    vms.add("stopped one", -1, 1)
    vms.add("ndvm", 12, 2)
    vms.add("a-desktop-with-quite-a-long-name", 3, 3)
    server = await Bus.connect(bus_address)
    server.serve(_tree(vms))
    assert await server.request_name(NAME)
    environ = {"DBUS_SYSTEM_BUS_ADDRESS": bus_address, "OPENXT_ROOT": str(tmp_path)}
    yield House(environ, vms)
    server.close()


def _tree(vms: Vms) -> ObjectTree:
    tree = ObjectTree()

    def is_known(key: tuple[str, ...]) -> bool:
        return key[0] in vms.values

    tree.route("/", Face(ROOT_SPEC, lambda call: Root(call, vms)))
    faces = (
        Face(VM_SPEC, lambda call: Vm(call, vms)),
        Face(UNRESTRICTED, lambda call: UnrestrictedVm(call, vms)),
    )
    tree.route("/vm/{vm}", *faces, exists=is_known)
    tree.route("/vm/{vm}/disk/{disk}", Face(DISK_SPEC, Disk), exists=is_known)
    return tree


PATH = "/vm/00000000_0000_0000_0000_000000000003"

# xec


async def test_a_method_prints_its_out_arguments_one_below_the_other(house: House) -> None:
    out = await house.prints("xec add-up", "[1, 2]", '{"three": 3, "four": i:4}')
    assert out == "10\nthree\nfour\n"


async def test_a_method_without_result_prints_nothing(house: House) -> None:
    assert await house.prints("xec get-nothing") == ""


async def test_a_property_is_read_and_written_by_its_dashed_name(house: House) -> None:
    assert await house.prints(f"xec -o {PATH} get start-on-boot") == "false\n"
    assert await house.prints(f"xec -o {PATH} set start-on-boot true") == ""
    assert await house.prints(f"xec -o {PATH} -i {VM}.unrestricted -g start-on-boot") == "true\n"
    assert await house.prints(f"xec -o {PATH} -x memory -1") == ""
    assert await house.prints(f"xec -o {PATH} -g memory") == "-1\n"


async def test_all_properties_come_in_a_block_for_each_interface_that_has_any(house: House) -> None:
    lines = (await house.prints(f"xec -o {PATH} getall")).splitlines()
    assert [line for line in lines if not line.startswith("  ")] == [
        VM,
        "{",
        "}",
        f"{VM}.unrestricted",
        "{",
        "}",
    ]
    assert '  "memory"                            = 512' in lines
    assert await house.prints(f"xec -o {PATH} -i {VM} -g") == "\n".join(lines[: len(lines) // 2]) + "\n"


async def test_listings_name_what_an_object_has(house: House) -> None:
    assert VM in (await house.prints(f"xec -o {PATH} --list-interfaces")).splitlines()
    assert await house.prints(f"xec -o {PATH} -i {VM} --list-methods") == "start\nlist-disks\nadd-pt-rule\n"
    assert (await house.prints(f"xec -o {PATH} --list-properties -i {VM}")).splitlines()[:2] == [
        "name",
        "uuid",
    ]
    assert "|     +  list-disks                   ( OUT paths:ao )\n" in await house.prints(f"xec -o {PATH}")


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("xec nothing", "xec: method nothing not found in any of the interfaces\n"),
        ("xec -i a.b nothing", "xec: interface a.b not found\n"),
        (f"xec -i {NAME} nothing", f"xec: method {NAME}.nothing not found\n"),
        ("xec get nothing", "xec: property nothing not found in any of the interfaces\n"),
        ("xec list-vms 1", "xec: method list_vms expects 0 args, but 1 were given\n"),
        ("xec -t 1 list-vms", "xec: talking to the bus of another domain (-t) is not built yet\n"),
        ("xec -o nopath", "xec: 'nopath' is not an object path\n"),
    ],
)
async def test_an_error_of_the_line_is_one_sentence(house: House, line: str, error: str) -> None:
    assert await house.fails(line) == error


async def test_a_word_that_cannot_be_read_is_named_by_its_number(house: House) -> None:
    assert (await house.fails("xec add-up [1] x")).startswith("xec: error parsing argument 2: ")
    assert (await house.fails(f"xec -o {PATH} set memory 5x")).startswith("xec: error parsing argument 1: ")


async def test_an_error_reply_is_printed_with_its_name(house: House) -> None:
    text = await house.fails(f"xec -o {PATH} start")
    assert text == "org.freedesktop.DBus.Error.Failed: 102:VM is running\n"
    assert "ServiceUnknown: " in await house.fails("xec -s a.b list-vms")
    assert "UnknownObject: /vm/none" in await house.fails(f"xec -o /vm/none -i {VM} -g name")


async def test_a_wrong_option_is_a_usage_error(house: House) -> None:
    result = await house.run("xec", "--what")
    assert (result.status, result.out, result.err) == (2, "", "xec: unknown option --what; see xec --help\n")


async def test_help_needs_no_bus(house: House) -> None:
    for program in ("xec", "xec-vm"):
        result = await house.run(program, "-h", DBUS_SYSTEM_BUS_ADDRESS="unix:path=/nowhere")
        assert result.status == 0
        assert result.out.startswith(f"Usage: {program} ")


async def test_a_missing_bus_is_named(house: House) -> None:
    result = await house.run("xec", "list-vms", DBUS_SYSTEM_BUS_ADDRESS="unix:path=/nowhere")
    assert (result.status, result.out) == (1, "")
    assert "/nowhere" in result.err


async def test_the_session_bus_is_taken_when_asked_for(house: House) -> None:
    address = house.environ["DBUS_SYSTEM_BUS_ADDRESS"]
    other = {"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nowhere", "DBUS_SESSION_BUS_ADDRESS": address}
    assert (await house.run("xec", "--session", "get-nothing", **other)).status == 0


async def test_a_call_leaves_a_line_in_syslog_unless_quiet(house: House, tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(tmp_path / "dev/log"))
        await house.prints("xec -q get-nothing")
        await house.prints("xec -i", NAME, "get-nothing")
        line = log.recv(4096).decode()
        assert line.startswith("<14>")
        assert line.endswith(f" xec: invoked with: -i {NAME} get-nothing")
        log.setblocking(False)
        with pytest.raises(BlockingIOError):
            log.recv(4096)


async def test_a_reader_that_goes_away_is_no_traceback(house: House) -> None:
    command = f"{Path(sys.executable).parent}/xec | true; exit ${{PIPESTATUS[0]}}"
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", command, stderr=-1, env=house.environ | {"PATH": "/bin"}
    )
    _, err = await process.communicate()
    assert err == b""


# xec-vm


async def test_without_a_selector_there_is_a_table_with_running_vms_first(house: House) -> None:
    table = (
        " ID  | Name               | UUID                                 | State     \n"
        "-----+--------------------+--------------------------------------+--------\n"
        "   3 | a-desktop-with-quite-a-long-name | 00000000-0000-0000-0000-000000000003 | running   \n"
        "  12 | ndvm               | 00000000-0000-0000-0000-000000000002 | running   \n"
        "     | stopped one        | 00000000-0000-0000-0000-000000000001 | stopped   \n"
    )
    assert await house.prints("xec-vm") == table
    assert await house.prints("xec-vm -q") == table
    assert await house.prints("xec-vm get name") == table


@pytest.mark.parametrize(
    "selector",
    [
        ("-n", "stopped one"),
        ("--name", "stopped one"),
        ("-u", "00000000-0000-0000-0000-000000000001"),
        ("-d", "-1"),
        ("-o", "/vm/00000000_0000_0000_0000_000000000001"),
        ("--path", "/vm/00000000_0000_0000_0000_000000000001"),
        ("-d", "12", "-n", "stopped one"),
    ],
)
async def test_a_vm_is_selected_by_any_of_its_names(house: House, selector: tuple[str, ...]) -> None:
    assert await house.prints("xec-vm", *selector, "get", "name") == "stopped one\n"
    assert await house.prints("xec-vm", *selector, "start") == ""
    assert house.vms.calls == [("start", "stopped one")]


async def test_words_after_the_method_are_its_own(house: House) -> None:
    await house.prints("xec-vm -n ndvm add-pt-rule 0x680 -n any")
    assert house.vms.calls == [("add_pt_rule", "0x680", "-n", "any")]


async def test_disks_are_objects_below_the_vm(house: House) -> None:
    assert await house.prints("xec-vm -d 3 --list-disks") == f"{PATH}/disk/0\n"
    assert await house.prints("xec-vm -d 3 --list-disks -k") == f"{PATH}/disk/0\n"
    assert await house.prints("xec-vm -d 3 -k 0 get phys-path") == "/disks/0.vhd\n"
    assert await house.prints("xec-vm -k 7 -d 3 -g phys-path") == "/disks/7.vhd\n"


async def test_options_of_xec_are_handed_on(house: House) -> None:
    assert await house.prints(f"xec-vm -q -n ndvm -i {VM}.unrestricted --list-methods") == "unrestricted\n"
    assert await house.prints("xec-vm -n ndvm -x memory 7") == ""
    assert await house.prints(f"xec-vm -n ndvm -i {VM} -g memory") == "7\n"


async def test_a_vm_that_is_not_there_is_named(house: House) -> None:
    assert await house.fails("xec-vm -n nobody start") == "xec-vm: vm 'nobody' not found\n"


async def test_a_vm_deleted_since_the_listing_is_passed_over(house: House) -> None:
    house.vms.ghosts.append("ghost")
    assert await house.fails("xec-vm -n nobody start") == "xec-vm: vm 'nobody' not found\n"
    assert len((await house.prints("xec-vm")).splitlines()) == 5


async def test_many_vms_are_listed_in_one_go(house: House) -> None:
    for number in range(100, 400):
        house.vms.add(f"vm{number}", -1, number)
    assert len((await house.prints("xec-vm")).splitlines()) == 2 + 3 + 300


async def test_a_selector_without_its_word_is_a_usage_error(house: House) -> None:
    result = await house.run("xec-vm", "-n")
    assert (result.status, result.err) == (2, "xec-vm: -n needs NAME; see xec-vm --help\n")
