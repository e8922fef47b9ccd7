# SPDX-License-Identifier: GPL-2.0-or-later
"""Hooks that call a service on the bus of another VM, over v4v."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from xenmgr_house import Desk, desk

from openxt_bus.transport.base import Stream
from openxt_bus.transport.unix import UnixTransport
from openxt_core.ids import Domid

WRITE = "destination=com.citrix.xenclient.db,interface=com.citrix.xenclient.db,member=write"


@pytest.fixture
async def it() -> AsyncIterator[Desk]:
    async with desk() as opened:
        yield opened


@contextlib.asynccontextmanager
async def own_bus(it: Desk, domid: int) -> AsyncIterator[None]:
    """Port 5555 of a domain leads to a bus: a real one, the host's own."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(stream: Stream) -> None:
        reader, writer = await asyncio.open_unix_connection(it.house.layout.root / "bus")
        await asyncio.gather(pump(stream.reader, writer), pump(reader, stream.writer))

    listener = await UnixTransport(it.places.v4v, Domid(domid)).listen(5555, serve)
    yield
    await listener.close()


async def test_a_state_hook_reaches_a_service_in_another_vm(it: Desk) -> None:
    service, path = await it.create(), await it.create()
    await it.vm(service, "start")
    await it.set(path, "run-on-state-change", "s", f"rpc:vm={it.uuid(service)},{WRITE}")
    async with own_bus(it, await it.get(service, "domid")):
        await it.vm(path, "start")
        await it.until(lambda: _is_written(it, path, "running"))
        await it.vm(path, "destroy")
        await it.until(lambda: _is_written(it, path, "stopped"))


async def _is_written(it: Desk, path: str, state: str) -> bool:
    return bool(await it.db("read", f"/{it.uuid(path)}") == state)


async def test_a_hard_hook_whose_vm_does_not_run_stops_the_start_and_says_so(it: Desk) -> None:
    service, path = await it.create(), await it.create()
    await it.set(path, "run-pre-boot", "s", f"rpc:vm={it.uuid(service)},{WRITE}")
    text = await it.fails(it.vm(path, "start"))
    assert f"VM {it.uuid(service)} does not run" in text
    assert (await it.state(path), it.domids(path)) == ("stopped", [])
