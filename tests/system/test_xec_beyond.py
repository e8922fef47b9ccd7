# SPDX-License-Identifier: GPL-2.0-or-later
"""What xec and xec-vm do beyond the original: JSON, signals, waiting, buses of other machines and domains."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from xec_house import NAME, PATH, VM, House, running
from xenmgr_house import Desk, desk

from openxt_bus.transport.hello import HELLO, MAGIC

PROGRAMS = Path(sys.executable).parent
TWO_SIGNALS = [
    f'{NAME}.vm_state_changed / "u" "running" 3\n'.encode(),
    f"{NAME}.vm_paused /vm/1 {{}}\n".encode(),
]
SSH = """#!/bin/sh
# stands for ssh: checks how it is called, and runs the command here, where the bus is at a place of its own
[ "$*" = "-xT -- me@there systemd-stdio-bridge" ] || exit 9
exec systemd-stdio-bridge -p "$DBUS_SYSTEM_BUS_ADDRESS"
"""


@pytest.fixture
async def house(bus_address: str, tmp_path: Path) -> AsyncIterator[House]:
    async with running(bus_address, tmp_path) as one:
        yield one


async def says(house: House, line: str, *more: str) -> Any:
    return json.loads(await house.prints(line, *more))


async def test_everything_can_be_had_as_json(house: House) -> None:
    assert await says(house, "xec --json get-nothing") is None
    assert await says(house, "xec --json add-up", "[1, 2]", '{"three": 3}') == [6, ["three"]]
    assert await says(house, f"xec --json -o {PATH} get memory") == 512
    assert (await says(house, f"xec --json -o {PATH} -i {VM} getall"))[VM]["memory"] == 512
    assert "start" in await says(house, f"xec --json -o {PATH} --list-methods")
    members = (await says(house, f"xec --json -o {PATH}"))[VM]
    assert members["properties"]["memory"] == {"type": "i", "access": "readwrite"}


async def test_the_table_of_vms_as_json(house: House) -> None:
    table = await says(house, "xec-vm --json")
    assert {"name": "ndvm", "domid": 12, "state": "running"}.items() <= table[1].items()
    assert table[1]["path"].startswith("/vm/")


async def test_watch_prints_signals_as_they_come(house: House) -> None:
    async with asyncio.timeout(30):
        plain = await started(house, "watch")
        one = await started(house, "-o", "/vm", "--json", "watch", "vm-paused")
        sending = asyncio.create_task(keep_sending(house))
        assert plain.stdout is not None
        assert one.stdout is not None
        lines = [await plain.stdout.readline() for _ in range(2)]
        assert lines in (TWO_SIGNALS, TWO_SIGNALS[::-1])
        text = json.loads(await one.stdout.readline())
        assert (text["member"], text["path"], text["args"]) == ("vm_paused", "/vm/1", [{}])
        sending.cancel()
        for process in (plain, one):
            process.terminate()
            await process.wait()


async def keep_sending(house: House) -> None:
    """Signals again and again: nobody tells when a watcher has begun to listen."""
    while True:
        house.server.emit("/", NAME, "vm_state_changed", "ssi", ("u", "running", 3))
        house.server.emit("/vm/1", NAME, "vm_paused", "a{sv}", ({},))
        await asyncio.sleep(0.05)


async def started(house: House, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        PROGRAMS / "xec", *words, stdout=asyncio.subprocess.PIPE, env=house.environ
    )


async def test_another_machines_bus_is_reached_by_ssh(house: House, tmp_path: Path) -> None:
    (tmp_path / "ssh").write_text(SSH)
    (tmp_path / "ssh").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    result = await house.run("xec", "-H", "me@there", "add-up", "[4]", "{}", PATH=path)
    assert (result.status, result.out) == (0, "4\n\n")
    result = await house.run("xec-vm", "--host", "me@there", "-n", "ndvm", "get", "domid", PATH=path)
    assert (result.status, result.out) == (0, "12\n")


async def test_a_host_that_ssh_would_take_for_an_option_is_refused(house: House) -> None:
    result = await house.run("xec", "-H", "-oProxyCommand=true", "list-vms")
    assert (result.status, result.out) == (2, "")
    assert "is no host" in result.err


async def test_another_domains_bus_is_reached_over_v4v(house: House, tmp_path: Path) -> None:
    folder = tmp_path / "var/run/v4v/7"
    folder.mkdir(parents=True)
    bus = house.environ["DBUS_SYSTEM_BUS_ADDRESS"].partition("path=")[2].partition(",")[0]
    hellos: list[tuple[int, ...]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hellos.append(HELLO.unpack(await reader.readexactly(HELLO.size)))
        far_reader, far_writer = await asyncio.open_unix_connection(bus)
        async with asyncio.TaskGroup() as both:
            both.create_task(pump(reader, far_writer))
            both.create_task(pump(far_reader, writer))

    async with await asyncio.start_unix_server(serve, folder / "5555"):
        assert await house.prints("xec -t 7 add-up", "[5]", "{}") == "5\n\n"
    assert hellos == [(MAGIC, 0, 0)]


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
    sink.close()


# --wait, with a whole host


async def xec_vm(one: Desk, *words: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        PROGRAMS / "xec-vm", *words, env=one.house.layout.environ(), stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(40):
        _, err = await process.communicate()
    return process.returncode, err.decode()


async def test_wait_returns_when_the_vm_is_where_the_action_leads() -> None:
    async with desk() as one:
        path = await one.create(name="waits")
        for action, state in (("start", "running"), ("pause", "paused"), ("unpause", "running"),
                              ("shutdown", "stopped")):  # fmt: skip
            assert await xec_vm(one, "-o", path, "--wait", action) == (0, "")
            assert await one.state(path) == state


async def test_wait_ends_in_time_and_names_the_state(house: House) -> None:
    result = await house.run("xec-vm", "-n", "stopped one", "--wait", "--timeout", "0.2", "start")
    assert (result.status, result.err) == (1, "xec-vm: the VM is still stopped after 0.2 s\n")


async def test_wait_goes_with_power_actions_only(house: House) -> None:
    err = await house.fails("xec-vm -n ndvm --wait list-disks")
    assert err.startswith("xec-vm: --wait goes with destroy, hibernate, pause, ")
    assert "is no number of seconds" in await house.fails("xec-vm -n ndvm --wait --timeout soon start")
