# SPDX-License-Identifier: GPL-2.0-or-later
"""The browser UI against the real hypervisor: pages, proxy and daemons in the emulated dom0, Chromium here.

`make xen-ui` runs it.
"""

import pytest
from browser_house import picture
from playwright.async_api import expect
from xen_house import xen_ui

pytestmark = [pytest.mark.xen, pytest.mark.timeout(2400)]

PATIENCE_MS = 600_000  # Python in there is some twenty times slower


async def test_a_pv_guest_is_made_started_and_ended_from_the_browser() -> None:
    expect.set_options(timeout=PATIENCE_MS)
    async with xen_ui() as ui:
        page = await ui.browser.new_page(viewport={"width": 1100, "height": 800})
        page.set_default_timeout(PATIENCE_MS)
        await page.goto(ui.address)
        await page.get_by_role("heading", name="Virtual machines").wait_for()
        await page.get_by_role("link", name="New VM").click()
        await page.get_by_label("Template").select_option("new-vm-pv")
        await page.get_by_label("Name", exact=True).fill("real")
        await page.get_by_label("Memory in MiB").fill("128")
        await page.get_by_label("Virtual CPUs").fill("1")
        await page.get_by_label("Disk in GB (0: none)").fill("0")
        await page.get_by_label("Start from").select_option("kernel")
        await page.get_by_label("Kernel", exact=True).fill("/guest/vmlinux")
        await page.get_by_label("Initial RAM disk").fill("/guest/initrd.gz")
        await page.get_by_label("Kernel's command line").fill("console=hvc0 quiet")
        await picture(page, "xen-1-wizard", whole=True)
        await page.get_by_role("button", name="Create").click()
        state = page.locator("#vm-head .state")
        await expect(state).to_have_text("running")
        await picture(page, "xen-2-running")
        await page.get_by_role("button", name="Shut down real").click()
        await expect(state).to_have_text("stopped")
        await picture(page, "xen-3-stopped")
        await page.get_by_role("button", name="Delete").click()
        await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        await expect(page.get_by_text("There is no VM yet.")).to_be_visible()
        out = await ui.end()
    consoles = "".join(file.read_text(errors="replace") for file in (out / "console").glob("*"))
    # The guest's own kernel says so, in the one way or the other, as its programs were up already or not.
    assert "reboot: Power down" in consoles or "reboot: System halted" in consoles
    assert len((out / "domains").read_text().splitlines()) == 2  # the heading and dom0
