# SPDX-License-Identifier: GPL-2.0-or-later
"""The browser UI in Chromium, against a whole host: what a person does with it, and what he then sees."""

import re
from collections.abc import AsyncIterator

import pytest
from axe_playwright_python.async_playwright import Axe
from browser_house import Ui, picture
from browser_house import ui as running
from playwright.async_api import Page, expect

# the elements that reach beyond the right edge
TOO_WIDE = """[...document.querySelectorAll("body *")]
    .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
    .map((one) => one.outerHTML.slice(0, 80))"""

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def ui() -> AsyncIterator[Ui]:
    async with running() as one:
        yield one


async def create(page: Page, name: str, template: str = "new-vm-pvh", disk_gb: int = 0) -> None:
    """Through the wizard, not started; the page then shows the VM."""
    await page.get_by_role("link", name="New VM").click()
    await page.get_by_label("Template").select_option(template)
    await page.get_by_label("Name", exact=True).fill(name)
    await page.get_by_label("Memory in MiB").fill("64")
    await page.get_by_label("Disk in GB (0: none)").fill(str(disk_gb))
    await page.get_by_label("Start from").select_option("off")
    await picture(page, "wizard")
    await page.get_by_role("button", name="Create").click()
    await expect(page.locator("main h1", has_text=name)).to_be_visible()


async def test_the_wizard_makes_the_disk_of_a_vm(ui: Ui) -> None:
    await create(await ui.page(), "roomy", disk_gb=8)
    (image,) = (ui.house.layout.places.storage / "disks").glob("*.vhd")
    assert image.stat().st_size < 1_000_000  # it grows with what is written


async def set_property(page: Page, name: str, value: str) -> None:
    if await page.locator("#properties").get_attribute("open") is None:
        await page.locator("#properties summary").click()
    field = page.locator(f'[data-property="{name}"] input')
    await field.fill(value)
    await field.press("Enter")


async def test_a_vm_lives_its_life_in_the_browser_and_another_one_watches(ui: Ui) -> None:
    page, other = await ui.page(), await ui.page()
    await create(page, "desktop")
    row = other.locator("tr", has=other.get_by_role("link", name="desktop"))
    await expect(row.locator(".state")).to_have_text("stopped")

    await set_property(page, "kernel", await ui.kernel())
    await expect(page.locator('[data-property="kernel"] input')).to_have_class(re.compile("saved"))
    await page.get_by_role("button", name="Start desktop").click()
    await expect(page.locator("#vm-head .state")).to_have_text("running")
    await expect(row.locator(".state")).to_have_text("running")
    await picture(other, "list")
    await picture(page, "running")

    await page.get_by_role("button", name="Pause desktop").click()
    await expect(page.locator("#vm-head .state")).to_have_text("paused")
    await page.get_by_role("button", name="Continue desktop").click()
    await expect(page.locator("#vm-head .state")).to_have_text("running")
    await page.get_by_role("button", name="Shut down desktop").click()
    await expect(page.locator("#vm-head .state")).to_have_text("stopped")

    await page.get_by_role("button", name="Delete").click()
    await picture(page, "delete")
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("There is no VM yet.")).to_be_visible()
    await expect(other.get_by_text("There is no VM yet.")).to_be_visible()
    await page.get_by_role("link", name="Events").click()
    for text in ("desktop was created.", "desktop is running.", "desktop is paused.", "desktop was deleted."):
        await expect(page.get_by_text(text).first).to_be_visible()
    await picture(page, "events")


async def test_a_refusal_is_shown_in_words_beside_the_field(ui: Ui) -> None:
    page = await ui.page()
    await create(page, "guarded")
    path = page.url.partition("#")[2]
    uuid = path.removeprefix("/vm/").replace("_", "-")
    await ui.db_write(f"/vm/{uuid}/policies/modify-vm-settings", "false")
    await set_property(page, "memory", "128")
    row = page.locator('[data-property="memory"]')
    await expect(row.get_by_role("alert")).to_contain_text("(error 202)")
    await expect(row.locator("input")).to_have_value("64")
    await row.scroll_into_view_if_needed()
    await picture(page, "refusal")


async def test_what_speaks_against_a_vm_is_told_before_anything_is_made(ui: Ui) -> None:
    page = await ui.page()
    await page.get_by_role("link", name="New VM").click()
    await page.get_by_label("Name", exact=True).fill("giant")
    await page.get_by_label("Memory in MiB").fill("9999999")
    await page.get_by_role("button", name="Create").click()
    await expect(page.locator(".problems")).to_contain_text("It wants 9999999 MiB of memory")
    await picture(page, "preflight")
    await page.get_by_role("link", name="VMs", exact=True).click()
    await expect(page.get_by_text("There is no VM yet.")).to_be_visible()


async def test_the_page_comes_back_by_itself_after_the_proxy_was_restarted(ui: Ui) -> None:
    page = await ui.page()
    await create(page, "survivor")
    await page.locator("#properties summary").click()
    search = page.get_by_label("Find a property")
    await search.fill("mem")
    await ui.kill("rpc-proxy-ui")
    await expect(page.locator("#link")).to_contain_text("Not connected")
    await expect(page.locator("#link")).to_have_text("", timeout=30_000)
    await expect(search).to_have_value("mem")
    await set_property(page, "memory", "96")
    await expect(page.locator("#facts")).to_contain_text("96")


async def test_markup_in_a_name_stays_text(ui: Ui) -> None:
    page = await ui.page()
    name = "<img src=x onerror=alert(1)>"
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    await create(page, name)
    await page.get_by_role("link", name="VMs", exact=True).click()
    assert await page.locator("main img").count() == 0
    await expect(page.get_by_role("link", name="onerror")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_bars_people_who_need_aids(ui: Ui, scheme: str) -> None:
    page = await ui.page(color_scheme=scheme)
    await create(page, "reachable")
    await page.locator("#properties summary").click()
    path = page.url.partition("#")[2]
    for view in (path, "/vms", "/services", "/new", "/host", "/events"):
        await page.evaluate(f"location.hash = '#{view}'")
        await page.locator("main h1").wait_for()
        result = await Axe().run(page)
        assert result.violations_count == 0, f"{view}: {result.generate_report()}"
    await page.evaluate("location.hash = '#/host'")
    await picture(page, f"host-{scheme}")


async def test_a_small_screen_needs_no_sideways_scrolling(ui: Ui) -> None:
    page = await ui.page()
    await create(page, "a-name-that-is-longer-than-a-small-screen-is-wide-by-a-good-deal")
    await page.set_viewport_size({"width": 360, "height": 640})
    for view in (page.url.partition("#")[2], "/vms", "/new", "/host"):
        await page.evaluate(f"location.hash = '#{view}'")
        await page.locator("main h1").wait_for()
        assert await page.evaluate(TOO_WIDE) == [], view
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360, view
    await picture(page, "small")


async def test_the_keyboard_is_enough(ui: Ui) -> None:
    page = await ui.page()
    for _ in range(12):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.textContent") == "New VM":
            break
    await page.keyboard.press("Enter")
    await page.get_by_label("Name", exact=True).focus()
    await page.keyboard.type("typed")
    await page.get_by_label("Disk in GB (0: none)").fill("0")
    await page.get_by_label("Start from").select_option("off")
    await page.keyboard.press("Enter")
    await expect(page.locator("main h1", has_text="typed")).to_be_visible()
