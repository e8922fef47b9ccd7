# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages that are not ours, and pages that xc-rpcgen makes, in Chromium."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from browser_house import PROJECT, Ui, chromium
from browser_house import ui as running
from playwright.async_api import expect

from openxt_idl.__main__ import main

pytestmark = pytest.mark.timeout(120)

ORIGINAL = PROJECT / "tests" / "golden" / "clients" / "original.html"
# links that lead to no element of the page, and to no other page
LOST = """[...document.links].map((one) => one.getAttribute("href"))
    .filter((one) => one.startsWith("#") && !document.getElementById(one.slice(1)))"""


@pytest.fixture
async def ui(tmp_path: Path) -> AsyncIterator[Ui]:
    """A host whose web server has the page of 2015 beside ours."""
    shutil.copytree(PROJECT / "uivm", tmp_path / "uivm")
    shutil.copy(ORIGINAL, tmp_path / "uivm")
    async with running(tmp_path) as one:
        yield one


async def test_a_page_of_2015_works_with_its_own_message_layer_and_callbacks(ui: Ui) -> None:
    page = await ui.page()
    await page.goto(f"{ui.address}original.html")
    log = page.locator("#log")
    await expect(log).to_contain_text("left 2")
    assert sorted((await log.text_content() or "").splitlines()) == sorted([
        "namespaces com.citrix.xenclient.xenmgr running",
        "properties true -1 function function",
        "read 96 96 by callbacks",
        "all answered old page",
        "refused string",
        "rules 0",
        "signal vm_deleted 2",
        "left 2",  # the service VMs
    ])  # fmt: skip


async def test_the_documentation_leads_nowhere_that_is_not_there(tmp_path: Path) -> None:
    assert main(["--html", "-o", str(tmp_path), *map(str, sorted((PROJECT / "idl").glob("*.xml")))]) == 0
    async with chromium() as browser:
        page = await browser.new_page()
        for file in sorted(tmp_path.glob("*.html")):
            await page.goto(file.as_uri())
            assert await page.evaluate(LOST) == [], file.name
            hrefs = await page.evaluate("[...document.links].map((one) => one.getAttribute('href'))")
            files = {href.partition("#")[0] for href in hrefs if not href.startswith(("#", "http"))}
            assert all((tmp_path / name).exists() for name in files), file.name
        await page.goto((tmp_path / "xenmgr_vm.html").as_uri())
        result = await Axe().run(page)
        assert result.violations_count == 0, result.generate_report()
