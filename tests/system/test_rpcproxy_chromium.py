# SPDX-License-Identifier: GPL-2.0-or-later
"""A page in Chromium talks to the bus through a real rpc-proxy: its WebSocket, its origin, its JSON."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import pytest
from rpcproxy_house import GUEST, HOST, World, guest_world

from openxt_core.ids import XENMGR_NAME

DBUS = "org.freedesktop.DBus"
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)
PAGE = """<!DOCTYPE html><title>page</title><script>
const said = [], socket = new WebSocket("ws://127.0.0.1:PORT/");
const calls = CALLS;
let id = 0;
function next() {
    if (!calls.length) return fetch("/told", {method: "POST", body: JSON.stringify(said)});
    const [destination, path, interface, method, args] = calls.shift();
    socket.send(JSON.stringify({id: ++id, destination, path, interface, method, args}));
}
socket.onopen = next;
socket.onclose = event => fetch("/told", {method: "POST", body: JSON.stringify({closed: event.code})});
socket.onmessage = event => {
    const text = JSON.parse(event.data);
    if (text.type === "signal") return;
    said.push(text);
    next();
};
</script>"""
CALLS = [
    (DBUS, "/org/freedesktop/DBus", DBUS, "Hello", []),
    (XENMGR_NAME, "/", XENMGR_NAME, "list_vms", []),
    (XENMGR_NAME, "/host", HOST.name, "shutdown", []),
    (DBUS, "/org/freedesktop/DBus", DBUS, "AddMatch", ["type='signal'"]),
]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextlib.asynccontextmanager
async def page(html: str) -> AsyncIterator[tuple[int, "asyncio.Future[Any]"]]:
    """A web server with one page, at a port; what the page tells it."""
    told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        if head.startswith("post"):
            size = int(head.split("content-length:")[1].split()[0])
            body = json.loads(await reader.readexactly(size))
            if not told.done():
                told.set_result(body)
        body = html.encode() if head.startswith("get / ") else b""
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/html\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], told
    server.close()


@contextlib.asynccontextmanager
async def chromium(url: str) -> AsyncIterator[None]:
    program = shutil.which("chromium")
    assert program, "chromium is needed: apt install chromium"
    with tempfile.TemporaryDirectory(prefix="chromium", ignore_cleanup_errors=True) as folder:
        process = await asyncio.create_subprocess_exec(
            *(program, *FLAGS, f"--user-data-dir={folder}", "--remote-debugging-port=0", url),
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def told_by(world: World, *options: str) -> Any:
    port = free_port()
    words = ("--json-in", "--websockets-in", "--auto-auth")
    await world.start_proxy("pages", "-i", f"tcp:{port}", "-d", str(GUEST), *words, *options)
    html = PAGE.replace("PORT", str(port)).replace("CALLS", json.dumps(CALLS))
    async with page(html) as (at, told), chromium(f"http://127.0.0.1:{at}/"), asyncio.timeout(50):
        return await told


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with guest_world() as one:
        yield one


async def test_a_page_of_the_same_host_gets_what_the_rules_allow(world: World) -> None:
    hello, vms, shutdown, match = await told_by(world)
    assert hello["args"][0].startswith(":")
    assert len(vms["args"][0]) == 1
    assert shutdown["name"] == "org.freedesktop.DBus.Error.AccessDenied"
    assert match["type"] == "response"


async def test_a_page_of_another_origin_is_not_let_in(world: World) -> None:
    assert await told_by(world, "--allow-origin", "http://elsewhere") == {"closed": 1006}
