# SPDX-License-Identifier: GPL-2.0-or-later
"""Every way in and out of a real proxy but the usual one: what a guest says arrives, and comes back."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tty
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rpcproxy_house import GUEST, UUID, World, guest_world
from websockets.asyncio.client import connect

from openxt_bus.codec import Message, decode, encode
from openxt_bus.connection import BUS_PATH, Bus
from openxt_bus.framing import cut
from openxt_bus.matching import BUS_NAME
from openxt_bus.transport.hello import HELLO, MAGIC
from openxt_core.ids import XENMGR_NAME, vm_path
from openxt_house.services import ServiceSpec

HELLO_CALL = encode(Message(1, 1, {1: BUS_PATH, 2: BUS_NAME, 3: "Hello", 6: BUS_NAME}))
PROGRAM = Path(sys.executable).with_name("rpc-proxy")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with guest_world() as one:
        yield one


async def list_vms(bus: Bus) -> object:
    return await bus.call(XENMGR_NAME, "/", XENMGR_NAME, "list_vms")


async def test_a_client_on_loopback_is_dom0(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    await world.start_proxy("tcp", "-i", f"tcp:{port}", "--auto-auth")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HELLO_CALL)
    assert (await answer(reader)).body[0].startswith(":")
    writer.close()


async def answer(reader: asyncio.StreamReader) -> Message:
    buffer = bytearray()
    async with asyncio.timeout(10):
        while not (found := list(cut(buffer, 2**20))):
            buffer += await reader.read(65536)
    return decode(found[0])


async def test_a_serial_line_carries_one_conversation_and_the_process_ends_with_it(world: World) -> None:
    ours, line = os.openpty()
    tty.setraw(ours)
    layout = world.house.layout
    notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    notices.bind(str(layout.root / "notices"))
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, "-i", f"serial:{os.ttyname(line)}", "-r", layout.places.rpc_rules, "-d", str(GUEST)),
        *("-o", layout.bus_address.replace("unix:path=", "unix:")),
        env={
            **os.environ,
            **layout.environ(),
            "OPENXT_LOG": "stderr",
            "NOTIFY_SOCKET": f"{layout.root}/notices",
        },
    )
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20):
        await loop.sock_recv(notices, 100)
    notices.close()
    reader = asyncio.StreamReader()
    os.set_blocking(ours, False)
    pipe = os.fdopen(ours, "rb", buffering=0)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    os.write(ours, b"\0AUTH EXTERNAL 30\r\n")
    async with asyncio.timeout(20):
        while not (said := await reader.readline()).startswith(b"OK"):
            assert said  # what a line echoes before it is raw
    os.write(ours, b"BEGIN\r\n" + HELLO_CALL)
    assert (await answer(reader)).body[0].startswith(":")
    os.close(line)
    os.write(ours, b"garbage, which ends it\0\0\0")
    async with asyncio.timeout(20):
        assert await process.wait() == 0


@pytest.mark.parametrize("channel", [f"v4v-domid:7777:{GUEST}", f"v4v-uuid:7777:{UUID}"])
async def test_a_client_is_forwarded_to_another_domains_bus(world: World, channel: str) -> None:
    """The guest's bus is played by dom0's own, behind the guest's port."""
    folder = world.house.layout.places.v4v / str(GUEST)
    folder.mkdir(parents=True, exist_ok=True)
    bus = world.house.layout.bus_address.removeprefix("unix:path=")

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(HELLO.size)
        far_reader, far_writer = await asyncio.open_unix_connection(bus)

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                target.write(data)
            target.close()

        with contextlib.suppress(ConnectionError):
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    server = await asyncio.start_unix_server(relay, folder / "7777")
    path = world.house.layout.root / "forwarding"
    await world.start_proxy("forwarding", "-i", f"unix:{path}", "-o", channel)
    client = await Bus.connect(f"unix:path={path}")
    assert await list_vms(client) == [[vm_path(UUID)]]
    client.close()
    server.close()


async def test_json_goes_out_to_a_proxy_that_takes_it(world: World) -> None:
    root = world.house.layout.root
    await world.start_proxy("taking", "-i", f"unix:{root}/taking", "--json-in", "--auto-auth")
    await world.start_proxy("giving", "-i", f"unix:{root}/giving", "-o", f"unix:{root}/taking", "--json-out")
    client = await Bus.connect(f"unix:path={root}/giving")
    assert client.unique_name.startswith(":")
    assert await list_vms(client) == [[vm_path(UUID)]]
    with pytest.raises(Exception, match="no_such"):
        await client.call(XENMGR_NAME, "/", XENMGR_NAME, "no_such")
    client.close()


async def test_d_bus_messages_go_in_a_websocket_without_json(world: World) -> None:
    await world.start_proxy("frames", "-i", "v4v:8081", "--websockets-in", "--auto-auth")
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(world.house.layout.places.v4v / "0" / "8081"))
    sock.sendall(HELLO.pack(MAGIC, GUEST, 1))
    async with connect("ws://1.0.0.0:8081/", sock=sock) as page:
        await page.send(HELLO_CALL[:20])
        await page.send(HELLO_CALL[20:])
        said = await page.recv()
        assert isinstance(said, bytes)
        assert decode(next(cut(bytearray(said), 2**20))).body[0].startswith(":")


async def test_a_socket_that_the_service_manager_passes_is_served(world: World, tmp_path: Path) -> None:
    layout = world.house.layout
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "passed"))
        listener.listen()
        forward = layout.bus_address.replace("unix:path=", "unix:")
        argv = ["rpc-proxy", "-i", "unix:/not/this", "-r", str(layout.places.rpc_rules), "-o", forward]
        program = f'import os; os.dup2({listener.fileno()}, 3); os.environ["LISTEN_PID"] = str(os.getpid())\n'
        program += f"os.execv({str(PROGRAM)!r}, {argv!r})"
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            pass_fds=(listener.fileno(),),
            env={**os.environ, **layout.environ(), "LISTEN_FDS": "1", "OPENXT_LOG": "stderr"},
        )
    try:
        client = await Bus.connect(f"unix:path={tmp_path / 'passed'}")
        assert await list_vms(client) == [[vm_path(UUID)]]
        client.close()
    finally:
        process.terminate()
        assert process.wait() == 0


async def test_the_pid_file_is_there_as_long_as_the_process(world: World) -> None:
    path = world.house.layout.root / "pid"
    await world.start_proxy("written", "-i", "v4v:8082", "--pidfile", str(path))
    assert int(path.read_text()) == world.house.supervisor.supervised["written"].pid
    await world.house.supervisor.stop()
    assert not path.exists()


LAST = 19
PROGRAM = str(Path(sys.executable).parent / "rpc-proxy")


@pytest.mark.parametrize(
    ("channel", "options", "niceness"),
    [
        ("v4v:5557", (), LAST),
        ("unix:{run}/own", (), 0),
        ("unix:{run}/own", ("-d", "7"), LAST),
        ("unix:{run}/own", ("-d", "0"), 0),
    ],
)
async def test_what_guests_want_comes_after_dom0s_own_work(
    world: World, tmp_path: Path, channel: str, options: tuple[str, ...], niceness: int
) -> None:
    file = tmp_path / "pid"
    await world.start_proxy("other", "-i", channel.format(run=tmp_path), "--pidfile", str(file), *options)
    assert os.getpriority(os.PRIO_PROCESS, int(file.read_text())) == niceness


async def test_a_priority_that_was_chosen_stays(world: World) -> None:
    layout = world.house.layout
    forward = layout.bus_address.replace("unix:path=", "unix:")
    argv = ("nice", "-n", "5", PROGRAM, "-i", "v4v:5557", "-o", forward, "-r", str(layout.places.rpc_rules))
    await world.house.supervisor.start((ServiceSpec("other", argv),))
    pid = world.house.supervisor.supervised["other"].pid
    assert os.getpriority(os.PRIO_PROCESS, pid) == 5
