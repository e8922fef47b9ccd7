# SPDX-License-Identifier: GPL-2.0-or-later
"""Generated clients of other languages are compiled, and run against real daemons."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from houses import house
from rpcproxy_house import World, guest_world

from openxt_idl.__main__ import main

PROJECT = Path(__file__).parents[2]
CLIENTS = PROJECT / "tests" / "golden" / "clients"
IDL = sorted((PROJECT / "idl").glob("*.xml"))
PORT = 7001


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with guest_world() as one:
        yield one


def generate(target: str, folder: Path) -> list[Path]:
    assert main([f"--{target}", "-o", str(folder), *map(str, IDL)]) == 0
    return sorted(folder.iterdir())


def run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def compile_c(source: Path, headers: Path, program: Path) -> None:
    strict = ("-std=gnu11", "-Wall", "-Wextra", "-Werror")
    run("gcc", *strict, f"-I{headers}", source, "-lsystemd", "-o", program)


def test_every_c_header_compiles_without_a_warning(tmp_path: Path) -> None:
    headers = generate("c", tmp_path / "c")
    program = tmp_path / "all.c"
    program.write_text(
        "".join(f'#include "{path.name}"\n' for path in headers) + "int main(void) { return 0; }\n"
    )
    compile_c(program, tmp_path / "c", tmp_path / "all")


async def test_a_c_program_talks_to_dbd(tmp_path: Path) -> None:
    generate("c", tmp_path / "c")
    program = tmp_path / "client"
    compile_c(CLIENTS / "db_client.c", tmp_path / "c", program)
    async with house({"dbus-daemon", "openxt-sim", "dbd"}) as one:
        environ = {"DBUS_SYSTEM_BUS_ADDRESS": one.layout.bus_address}
        process = await asyncio.create_subprocess_exec(program, env=environ, stdout=asyncio.subprocess.PIPE)
        async with asyncio.timeout(20):
            out, _ = await process.communicate()
    assert out.decode().splitlines() == [
        "read 1",
        "name one",
        "name two",
        "owned 1",
        "refused 1 org.freedesktop.DBus.Error.Failed",
        "nothing left behind 1 1",
    ]


def test_every_script_and_declaration_is_accepted(tmp_path: Path) -> None:
    generate("typescript", tmp_path)
    (tmp_path / "page.ts").write_text((CLIENTS / "page.ts").read_text())
    declared = sorted(path.name for path in tmp_path.glob("*.ts"))
    run("tsc", "--strict", "--noEmit", "--lib", "es2017", *declared, cwd=tmp_path)


def test_all_scripts_can_be_loaded_into_one_page(tmp_path: Path) -> None:
    scripts = generate("javascript", tmp_path)
    loader = "process.argv.slice(1).forEach((f) => vm.runInThisContext(fs.readFileSync(f)));"
    count = run("node", "-e", f"{loader} console.log(Object.keys(XenClient.DBus).length)", *scripts)
    assert int(count) == len(IDL)


async def test_a_page_of_the_originals_shape_talks_to_the_daemons(world: World, tmp_path: Path) -> None:
    generate("javascript", tmp_path)
    world.xenmgr.properties["domstore-read-access"] = world.xenmgr.properties["domstore-write-access"] = True
    await world.start_proxy("json-proxy", "-i", f"v4v:{PORT}", "--json-in", "--auto-auth")
    relay = await asyncio.start_unix_server(lambda r, w: _bridge(world, r, w), tmp_path / "dom0")
    scripts = [tmp_path / f"{name}_client.js" for name in ("dbus", "db", "xenmgr_host")]
    async with relay, asyncio.timeout(30):
        process = await asyncio.create_subprocess_exec(
            "node", CLIENTS / "page.js", tmp_path / "dom0", *scripts, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
    assert out.decode().splitlines() == [
        "read value",
        "refused org.freedesktop.DBus.Error.AccessDenied",
        "properties 28",
    ]


async def _bridge(world: World, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A guest's stream to the proxy, for a program that knows UNIX sockets only."""
    far_reader, far_writer = await world.stream(PORT)

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
        sink.close()

    async with asyncio.TaskGroup() as both:
        both.create_task(pump(reader, far_writer))
        both.create_task(pump(far_reader, writer))
