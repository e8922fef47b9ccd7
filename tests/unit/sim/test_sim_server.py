# SPDX-License-Identifier: GPL-2.0-or-later
"""The sockets of the simulated host."""

import asyncio
import errno
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from sim_process import appears, running_server, start_guest, vanishes

from openxt_core.errors import Unavailable
from openxt_sim.server import Server
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.client import XenStore, XenStoreError
from openxt_xen.xenstore.wire import Permission


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running_server(tmp_path) as running:
        yield running


@pytest.fixture
async def store(server: Server, tmp_path: Path) -> AsyncIterator[XenStore]:
    client = await XenStore.connect(str(tmp_path / "xenstored"))
    yield client
    client.close()


async def test_a_guests_socket_has_the_guests_rights_and_lives_as_long(
    server: Server, store: XenStore, tmp_path: Path
) -> None:
    domid = start_guest(server, tmp_path)
    address = tmp_path / "xenstored-domains" / str(domid)
    await appears(address)
    guest = await XenStore.connect(str(address))
    gone = asyncio.Event()
    guest.closed = gone.set
    await store.write("/secret", "x")
    with pytest.raises(XenStoreError, match="EACCES"):
        await guest.read("/secret")
    await store.set_permissions("/secret", [Permission(domid, "n")])
    assert await guest.read("/secret") == "x"
    server.host.destroy_domain(domid)
    async with asyncio.timeout(10):
        await gone.wait()
    await vanishes(address)
    with pytest.raises(Unavailable):
        await guest.read("/secret")


async def test_a_broken_packet_ends_only_its_connection(store: XenStore, tmp_path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(tmp_path / "xenstored")
    writer.write(struct.pack("=IIII", 2, 1, 0, 4097))
    assert await reader.read() == b""
    writer.close()
    assert await store.list("/tool") == ["xenstored"]


async def test_a_watcher_that_leaves_is_forgotten(server: Server, store: XenStore, tmp_path: Path) -> None:
    watcher = await XenStore.connect(str(tmp_path / "xenstored"))
    await watcher.watch("/", lambda path: None)
    watcher.close()
    async with asyncio.timeout(10):
        while len(server.connections) > 1:
            await asyncio.sleep(0)
    await store.write("/x", "1")
    assert not any(peer.watches for peer in server.connections)


async def test_a_guests_console_is_a_file(server: Server, store: XenStore, tmp_path: Path) -> None:
    await store.write(paths.name(1), "web")  # type: ignore[arg-type]  # the first domid
    start_guest(server, tmp_path, "sim.boot_s=0")
    log = tmp_path / "var/log/xen/console/guest-web.log"
    await appears(log)
    async with asyncio.timeout(10):
        while "GUEST READY" not in log.read_text():
            await asyncio.sleep(0)


async def ask(path: Path, request: bytes) -> dict[str, object]:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(struct.pack("<I", len(request)) + request)
    (length,) = struct.unpack("<I", await reader.readexactly(4))
    answer = orjson.loads(await reader.readexactly(length))
    writer.close()
    assert isinstance(answer, dict)
    return answer


@pytest.mark.parametrize(
    "request_text",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"call": "pause"}',
        b'{"call": "pause", "args": {"domid": "x"}}',
        b'{"call": "pause", "args": 3}',
        b'{"call": "set_hvm_param", "args": {"domid": 0, "param": 999, "value": 1}}',
        b'{"call": "create_domain", "args": {"spec": {"uuid": 1}}}',
    ],
)
async def test_a_hypercall_that_is_none_is_einval(
    server: Server, tmp_path: Path, request_text: bytes
) -> None:
    assert (await ask(tmp_path / "hypercalls", request_text))["errno"] == errno.EINVAL


async def test_an_unknown_hypercall_is_enosys(server: Server, tmp_path: Path) -> None:
    assert (await ask(tmp_path / "hypercalls", b'{"call": "fly"}'))["errno"] == errno.ENOSYS


async def test_an_oversized_hypercall_ends_its_connection(server: Server, tmp_path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(tmp_path / "hypercalls")
    writer.write(struct.pack("<I", 1 << 30))
    assert await reader.read() == b""
    writer.close()
