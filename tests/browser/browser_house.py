# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole host with the browser UI, daemons that it does not own, and Chromium to look at it."""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright, expect

from pictures import PICTURES

sys.path.append(str(Path(__file__).parents[1] / "system"))

from houses import PROJECT, House, house

from openxt_core.ids import DBD_NAME, XENMGR_NAME
from openxt_house.services import UiPorts, ui_services

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-quic",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
SERVICE_VMS = ("0001", "0002")
PATIENCE_S = 40  # machines that test are busy
TIMEOUT_MS = PATIENCE_S * 1000
# those that are not ours: file in daemons/, name on the bus
DAEMONS = {
    "network": "com.citrix.xenclient.networkdaemon",
    "usb": "com.citrix.xenclient.usbdaemon",
    "updates": "com.citrix.xenclient.updatemgr",
}


@dataclass
class Ui:
    house: House
    browser: Browser
    address: str
    others: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def page(self, **more: Any) -> Page:
        """A new browser window, with a user of its own, at the list of VMs."""
        context = await self.browser.new_context(viewport={"width": 1100, "height": 800}, **more)
        page = await context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        await page.goto(self.address)
        await page.get_by_role("heading", name="Virtual machines").wait_for()
        return page

    async def kernel(self) -> str:
        """A file that the simulated host takes for a kernel."""
        path = self.house.layout.places.storage / "vmlinuz"
        path.write_bytes(b"a kernel")
        return str(path)

    async def db_write(self, path: str, value: str) -> None:
        await self.house.bus.call(DBD_NAME, "/", DBD_NAME, "write", "ss", (path, value))

    def iso(self, name: str) -> None:
        places = self.house.layout.places
        (places.storage / "isos" / name).write_bytes(bytes(2048))

    def bridge(self, name: str) -> None:
        """A bridge of the simulated dom0."""
        (self.house.layout.root / "var/run/xenvm/dom0/bridges" / name).mkdir(parents=True, exist_ok=True)

    async def daemon(self, name: str) -> asyncio.subprocess.Process:
        """One of `daemons/`, on the bus, by python-dbusmock, which Debian has for its own Python only."""
        file = str(Path(__file__).parent / "daemons" / f"{name}.py")
        command = ("/usr/bin/python3", "-m", "dbusmock", "--system", "--template", file)
        there = asyncio.Event()
        watch = await self.house.bus.watch_name(DAEMONS[name], lambda _, new: new and there.set())
        process = await asyncio.create_subprocess_exec(
            *command, env=self.house.supervisor.environ, stdout=asyncio.subprocess.DEVNULL
        )
        self.others.append(process)
        async with asyncio.timeout(PATIENCE_S):
            await there.wait()
        await watch.close()
        return process

    async def clear(self) -> None:
        """As if it had just begun: no pages, no daemons of others, only service VMs, no discs."""
        for context in self.browser.contexts:
            await context.close()
        while self.others:
            await ended(self.others.pop())
        for disc in (self.house.layout.places.storage / "isos").iterdir():
            disc.unlink()
        (paths,) = await self.house.bus.call(XENMGR_NAME, "/", XENMGR_NAME, "list_vms")
        for path in paths:
            if not path.endswith(SERVICE_VMS):
                await self.house.bus.call(XENMGR_NAME, path, f"{XENMGR_NAME}.vm", "destroy")
                await self.db_write(f"/vm/{uuid_of(path)}/policies/modify-vm-settings", "true")
                await self.house.bus.call(XENMGR_NAME, path, f"{XENMGR_NAME}.vm", "delete")

    async def kill(self, service: str) -> None:
        """The supervisor starts it again."""
        os.kill(self.house.supervisor.supervised[service].pid, 9)


def uuid_of(path: str) -> str:
    return path.removeprefix("/vm/").replace("_", "-")


async def picture(page: Page, name: str, *, whole: bool = False) -> None:
    """What a person sees; `whole`: what he would see if he scrolled as well."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=PICTURES / f"{name}.png", full_page=whole)


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))
        try:
            yield browser
        finally:
            async with asyncio.timeout(PATIENCE_S):
                await browser.close()


@contextlib.asynccontextmanager
async def ui(share: Path = PROJECT) -> AsyncIterator[Ui]:
    """`share`: the folder that has the pages in `uivm`."""
    expect.set_options(timeout=TIMEOUT_MS)
    ports = UiPorts(_free_port(), _free_port())
    async with house() as one, chromium() as browser:
        await one.supervisor.start(ui_services(one.layout, share, ports))
        opened = Ui(one, browser, f"http://127.0.0.1:{ports.pages}/")
        try:
            yield opened
        finally:
            for other in opened.others:
                await ended(other)


async def ended(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    await process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
