# SPDX-License-Identifier: GPL-2.0-or-later
"""xec and xec-vm as programs, against a small service of the same shape as xenmgr on a private bus."""

import asyncio
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from xec_house import NAME, PATH, VM, House, running

PROJECT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
METHODS = "start\nlist-disks\nlist-nics\nadd-pt-rule\n"


@pytest.fixture(scope="session")
def quick_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of programs as `make native` leaves it: xec is the quick one."""
    folder = tmp_path_factory.mktemp("quick")
    for name in ("xec-python", "xec-vm"):
        (folder / name).symlink_to(PROGRAMS / name)
    subprocess.run([PROJECT / "native" / "xec" / "build.sh", folder], check=True)
    return folder


@pytest.fixture(params=["python", "quick"])
async def house(
    bus_address: str, tmp_path: Path, quick_programs: Path, request: pytest.FixtureRequest
) -> AsyncIterator[House]:
    """Each promise is kept by xec in Python, and by the quick one."""
    programs = quick_programs if request.param == "quick" else tmp_path / "programs"
    if request.param == "python":
        programs.mkdir()
        (programs / "xec").symlink_to(PROGRAMS / "xec-python")
        (programs / "xec-vm").symlink_to(PROGRAMS / "xec-vm")
    async with running(bus_address, tmp_path, programs) as one:
        yield one


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
    assert await house.prints(f"xec -o {PATH} -i {VM} --list-methods") == METHODS
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
        ("xec -t 1 list-vms", "xec: domain 1 has no bus on port 5555: No such file or directory\n"),
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


@pytest.mark.parametrize(
    "words",
    [
        "255 -32768 65535 -2147483648 4294967295 -9223372036854775808 18446744073709551615 true ü /a/b_1",
        "0 32767 0 2147483647 0 9223372036854775807 0 0 a /",
        "-0 0x10 0 -0x10 0 0 0 1 -o /",
    ],
)
async def test_values_of_every_plain_type_go_and_come_back(house: House, words: str) -> None:
    out = (await house.prints(f"xec mixed {words}")).splitlines()
    kinds = [*[lambda word: str(int(word, 0))] * 7, lambda word: {"0": "false", "1": "true"}.get(word, word)]
    plain = [kind(word) for kind, word in zip(kinds, words.split(), strict=False)]
    assert out == [*plain, *words.split()[8:]]


@pytest.mark.parametrize(
    ("at", "word"),
    [(0, "256"), (0, "-1"), (1, "-32769"), (3, "2147483648"), (4, "-1"), (4, "+1"), (5, "1" * 30), (6, "-1"),
     (7, "yes"), (7, "True"), (3, ""), (3, "1x"), (9, "a"), (9, "/a/"), (9, "")],
)  # fmt: skip
async def test_a_word_beyond_its_type_is_named_and_nothing_is_called(
    house: House, at: int, word: str
) -> None:
    words = ["1", "1", "1", "1", "1", "1", "1", "1", "a", "/"]
    words[at] = word
    assert (await house.fails("xec mixed", *words)).startswith(f"xec: error parsing argument {at + 1}: ")


async def test_arrays_come_one_item_a_line_and_an_empty_one_as_a_line(house: House) -> None:
    assert await house.prints("xec lists") == "1\n-2\n\ntrue\n"


async def test_an_errors_name_and_text_are_the_services_own(house: House) -> None:
    assert await house.fails("xec fail Strange") == "a.b.Strange: it is, as asked: ü\n"
    assert "ServiceUnknown: " in await house.fails("xec -s a.b list-vms")


async def test_the_quick_one_makes_plain_calls_alone(
    bus_address: str, tmp_path: Path, quick_programs: Path
) -> None:
    shutil.copy(quick_programs / "xec", tmp_path / "xec")  # without xec-python beside it
    async with running(bus_address, tmp_path, tmp_path) as house:
        assert (await house.prints("xec list-vms")).startswith("/vm/")
        assert await house.prints(f"xec -q -o {PATH} set memory 7") == ""
        assert await house.prints(f"xec -o {PATH} -i {VM} get memory") == "7\n"
        assert "cannot run xec-python" in await house.fails("xec --help")


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


async def test_xec_itself_takes_the_name_of_a_vm(house: House) -> None:
    assert await house.prints("xec -n ndvm add-pt-rule 0x680 any any") == ""
    assert house.vms.calls == [("add_pt_rule", "0x680", "any", "any")]
    assert await house.fails("xec -n nobody start") == "xec: vm 'nobody' not found\n"


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
