# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole host with the browser UI, and Chromium to look at it."""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

sys.path.append(str(Path(__file__).parents[1] / "system"))

from houses import PROJECT, House, house

from openxt_core.ids import DBD_NAME
from openxt_house.services import UiPorts, ui_services

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-quic",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
PICTURES = Path(os.environ.get("OPENXT_SCREENSHOTS") or PROJECT / "build" / "screenshots")
TIMEOUT_MS = 20_000


@dataclass
class Ui:
    house: House
    browser: Browser
    address: str

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

    async def kill(self, service: str) -> None:
        """The supervisor starts it again."""
        os.kill(self.house.supervisor.supervised[service].pid, 9)


async def picture(page: Page, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    await page.screenshot(path=PICTURES / f"{name}.png")


@contextlib.asynccontextmanager
async def ui() -> AsyncIterator[Ui]:
    ports = UiPorts(_free_port(), _free_port())
    async with house() as one, async_playwright() as playwright:
        await one.supervisor.start(ui_services(one.layout, PROJECT, ports))
        browser = await playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))
        try:
            yield Ui(one, browser, f"http://127.0.0.1:{ports.pages}/")
        finally:
            async with asyncio.timeout(20):
                await browser.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
