# SPDX-License-Identifier: GPL-2.0-or-later
"""dom0 of the emulated Xen with the browser UI, reached through its serial line, and Chromium beside it."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from browser_house import PROJECT, chromium
from playwright.async_api import Browser

sys.path.append(str(PROJECT / "scripts"))

from xenbed import debian, image
from xenbed.folders import RUNS
from xenbed.payload import Payload
from xenbed.relay import Kind, Relay
from xenbed.runs import brought_back, wiring_of, write_disks

PAGES, WEBSOCKET = 8800, 8801  # of openxt-house in dom0
LIMIT_S = 1800
READY_TIMEOUT_S = 1500
SCRIPT = f"""\
#!/bin/sh
exec >/bed/out/log 2>&1
openxt-house --xen --dir /run/openxt --share /openxt --keep --start-timeout 200 >/bed/out/house &
house=$!
until grep -q ^ready /bed/out/house; do
    kill -0 $house || {{ cat /run/openxt/log/*; exit 1; }}
    sleep 1
done
grep -q '^ui=http://127.0.0.1:{PAGES}/' /bed/out/house || exit 1
python3 /openxt/scripts/xenbed/relay.py /dev/ttyS1
xl list >/bed/out/domains
cp /run/openxt/log/* /bed/out/
kill $house
wait $house
"""


@dataclass(frozen=True)
class XenUi:
    browser: Browser
    address: str
    relay: Relay
    qemu: "asyncio.subprocess.Process"
    folder: Path

    async def end(self) -> Path:
        """dom0 ends; what it left behind, such as console/ of the guests."""
        await self.relay.send(Kind.END)
        await self.qemu.wait()
        assert brought_back(self.folder) == 0, (self.folder / "out" / "log").read_text()
        return self.folder / "out"


@contextlib.asynccontextmanager
async def xen_ui() -> AsyncIterator[XenUi]:
    debian.install_host_packages()
    folder = RUNS / "ui"
    folder.mkdir(parents=True, exist_ok=True)
    line = folder / "line"
    write_disks(Payload("ui", SCRIPT, LIMIT_S), folder)
    wiring = wiring_of(folder, output=f"unix:{line},server=on,wait=on")
    machine = await asyncio.to_thread(image.bed)
    qemu = await asyncio.create_subprocess_exec(*machine.resumed(wiring), stdin=subprocess.DEVNULL)
    try:
        relay = Relay(*await _connected(line, qemu))
        running = asyncio.create_task(relay.run())
        ready = asyncio.create_task(relay.ready.wait())
        await asyncio.wait({ready, running}, timeout=READY_TIMEOUT_S, return_when="FIRST_COMPLETED")
        if not ready.done():
            raise RuntimeError(f"dom0 did not come up; see {folder}")
        pages, websocket = [await relay.listen(port) for port in (PAGES, WEBSOCKET)]
        async with chromium() as browser:
            yield XenUi(browser, f"http://127.0.0.1:{pages}/?ws={websocket}", relay, qemu, folder)
        await running
    finally:
        with contextlib.suppress(ProcessLookupError):
            qemu.kill()
        await qemu.wait()
        for disk in (wiring.payload, wiring.result):
            disk.unlink(missing_ok=True)


async def _connected(
    line: Path, qemu: asyncio.subprocess.Process
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """QEMU waits for somebody on the line before it goes on."""
    while qemu.returncode is None:
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            return await asyncio.open_unix_connection(line)
        await asyncio.sleep(0.1)
    raise RuntimeError(f"QEMU ended with {qemu.returncode}")
