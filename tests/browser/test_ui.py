# SPDX-License-Identifier: GPL-2.0-or-later
"""The browser UI in Chromium, against a whole host: what a person does with it, and what he then sees."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from browser_house import Ui, ended, picture, uuid_of
from browser_house import ui as running
from playwright.async_api import Locator, Page, expect

# the elements that reach beyond the right edge
# what an image's handler leaves behind when scripts in the text of the page run
RAN = """new Promise((resolve) => {
    const image = new Image();
    image.setAttribute("onerror", "window.ran = true");
    image.addEventListener("error", () => resolve(window.ran));
    image.src = "nowhere.png";
    document.body.append(image);
})"""
TOO_WIDE = """[...document.querySelectorAll("body *")]
    .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
    .map((one) => one.outerHTML.slice(0, 80))"""

pytestmark = [pytest.mark.timeout(180), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host() -> AsyncIterator[Ui]:
    async with running() as one:
        yield one


@pytest_asyncio.fixture(loop_scope="module")
async def ui(host: Ui) -> AsyncIterator[Ui]:
    yield host
    await host.clear()


async def create(page: Page, name: str, template: str = "new-vm-pvh", disk_gb: int = 0) -> str:
    """Through the wizard, on no network, not started; the page then shows the VM, whose object path it is."""
    await page.get_by_role("link", name="New VM").click()
    await page.get_by_label("Template").select_option(template)
    await page.get_by_label("Name", exact=True).fill(name)
    await page.get_by_label("Memory in MiB").fill("64")
    await page.get_by_label("Disk in GB (0: none)").fill(str(disk_gb))
    await page.get_by_label("Start from").select_option("off")
    for network in await page.get_by_label("Wired network").all():  # absent without a network daemon
        await network.select_option("")
    await page.get_by_role("button", name="Create").click()
    await expect(page.locator("main h1", has_text=name)).to_be_visible()
    return page.url.partition("#")[2]


async def set_property(page: Page, name: str, value: str) -> None:
    properties = page.locator("#properties-com-citrix-xenclient-xenmgr-vm")
    if await properties.get_attribute("open") is None:
        await properties.locator("summary").click()
    field = page.locator(f'[data-property="{name}"] input')
    await field.fill(value)
    await field.press("Enter")


async def show(page: Page, view: str) -> None:
    await page.evaluate(f"location.hash = '#{view}'")
    await page.locator(f'main[data-view="#{view}"]').wait_for()


def row(of: Page | Locator, text: str) -> Locator:
    return of.locator("tr", has_text=text)


def head(page: Page) -> Locator:
    """The state of the VM that the page shows."""
    return page.locator("#vm-head .state")


async def add(card: Locator, title: str, **fields: str) -> None:
    """Unfolds a card's form, fills it in, and sends it."""
    form = card.locator("details", has_text=title)
    if await form.get_attribute("open") is None:
        await form.locator("summary").click()
    for name, value in fields.items():
        field = form.locator(f'[name="{name}"]')
        is_choice = await field.evaluate("one => one.tagName") == "SELECT"
        await (field.select_option(value) if is_choice else field.fill(value))
    await form.get_by_role("button", name="Add", exact=True).click()


async def remove(card: Locator, text: str) -> None:
    await row(card, text).get_by_role("button", name="Remove").click()
    await card.page.get_by_role("dialog").get_by_role("button", name="Remove").click()


async def test_a_vm_lives_its_life_in_the_browser_and_another_one_watches(ui: Ui) -> None:
    ui.bridge("br0")
    await ui.daemon("network")
    page, other = await ui.page(), await ui.page()
    await page.get_by_role("link", name="New VM").click()
    await page.get_by_label("Template").select_option("new-vm-pvh")
    await page.get_by_label("Name", exact=True).fill("desktop")
    await page.get_by_label("Memory in MiB").fill("256")
    await page.get_by_label("Disk in GB (0: none)").fill("8")
    await expect(page.get_by_label("Wired network")).to_have_value(
        "/wired/0/bridged"
    )  # the first bridged one
    await page.get_by_label("Start from").select_option("kernel")
    await page.get_by_label("Kernel", exact=True).fill(await ui.kernel())
    await picture(page, "life-1-wizard")
    await page.get_by_role("button", name="Create").click()
    await expect(page.locator("main h1", has_text="desktop")).to_be_visible()
    await expect(head(page)).to_have_text("running")
    seen = row(other, "desktop").locator(".state")
    await expect(seen).to_have_text("running")
    (image,) = (ui.house.layout.places.storage / "disks").glob("*.vhd")
    await expect(page.locator("#disks")).to_contain_text(image.name)
    await expect(page.get_by_label("Network of card 0")).to_have_value("/wired/0/bridged")
    await picture(page, "life-2-running", whole=True)
    await picture(other, "life-3-seen-by-another")

    await set_property(page, "description", "mail and papers")
    await expect(page.locator("#facts")).to_contain_text("mail and papers")
    await expect(row(other, "desktop")).to_contain_text("mail and papers")
    path = page.url.partition("#")[2]
    await ui.db_write(f"/vm/{uuid_of(path)}/policies/modify-vm-settings", "false")
    await set_property(page, "memory", "128")
    refused = page.locator('[data-property="memory"]')
    await expect(refused.get_by_role("alert")).to_contain_text("(error 202)")
    await expect(refused.locator("input")).to_have_value("256")
    await refused.scroll_into_view_if_needed()
    await picture(page, "life-4-refused")

    await ui.kill("rpc-proxy-ui")
    await expect(page.locator("#link")).to_contain_text("Not connected")
    await picture(page, "life-5-link-lost")
    await expect(page.locator("#link")).to_have_text("", timeout=30_000)
    await page.get_by_role("button", name="Pause desktop").click()
    await expect(head(page)).to_have_text("paused")
    await expect(seen).to_have_text("paused")
    await page.get_by_role("button", name="Continue desktop").click()
    await page.get_by_role("button", name="Shut down desktop").click()
    await expect(head(page)).to_have_text("stopped")
    await expect(seen).to_have_text("stopped")

    await page.get_by_role("button", name="Delete").click()
    await picture(page, "life-6-delete")
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("There is no VM yet.")).to_be_visible()
    await expect(other.get_by_text("There is no VM yet.")).to_be_visible()
    await page.get_by_role("link", name="Events").click()
    for text in ("desktop was created.", "desktop is running.", "desktop is paused.", "desktop was deleted."):
        await expect(page.get_by_text(text).first).to_be_visible()
    await picture(page, "life-7-events")


async def test_an_iso_is_put_into_the_new_vms_drive(ui: Ui) -> None:
    ui.iso("debian-12.iso")
    page = await ui.page()
    await page.get_by_role("link", name="New VM").click()
    await page.get_by_label("Template").select_option("new-vm-linux")
    await page.get_by_label("Name", exact=True).fill("installs")
    await page.get_by_label("Memory in MiB").fill("64")
    await page.get_by_label("Disk in GB (0: none)").fill("0")
    await expect(page.get_by_label("ISO image", exact=True)).to_have_value("debian-12.iso")
    await page.get_by_role("button", name="Create").click()
    await page.locator(".steps .failed").wait_for()  # this host has no firmware for a full machine
    await picture(page, "wizard-stopped-on-the-way", whole=True)
    await page.get_by_role("link", name="Go to the VM as it is").click()
    await expect(page.locator("#facts")).to_contain_text("debian-12.iso")
    await expect(page.locator("#disks")).to_contain_text("CD drive")


async def test_what_speaks_against_a_vm_is_told_before_anything_is_made(ui: Ui) -> None:
    page = await ui.page()
    await page.get_by_role("link", name="New VM").click()
    await page.get_by_label("Name", exact=True).fill("giant")
    await page.get_by_label("Memory in MiB").fill("9999999")
    await page.get_by_label("Disk in GB (0: none)").fill("0")
    await page.get_by_label("Encrypt the disk").select_option("256")
    await page.get_by_label("Start from").select_option("kernel")
    await page.get_by_role("button", name="Create").click()
    told = page.locator(".problems")
    await expect(told).to_contain_text("It wants 9999999 MiB of memory")
    await expect(told).to_contain_text("There is no disk to encrypt.")
    await expect(told).to_contain_text("It needs the kernel's file to start from.")
    await told.scroll_into_view_if_needed()
    await picture(page, "preflight")
    await page.get_by_role("link", name="VMs", exact=True).click()
    await expect(page.get_by_text("There is no VM yet.")).to_be_visible()


async def test_why_a_vm_cannot_start_stands_above_it(ui: Ui) -> None:
    page = await ui.page()
    path = await create(page, "hindered")
    await expect(page.locator("#why")).to_contain_text("no kernel is set")
    await ui.db_write(f"/vm/{uuid_of(path)}/config/kernel", await ui.kernel())
    await expect(page.locator("#why")).to_be_hidden()
    await ui.db_write(f"/vm/{uuid_of(path)}/config/notify", "nobody")
    await expect(page.locator("#why")).to_contain_text("config/notify must be 'dbus'")
    await page.get_by_role("button", name="Start hindered").click()
    await expect(page.locator("#messages .error")).to_contain_text("config/notify must be 'dbus'")
    await picture(page, "why-not")


async def test_the_parts_of_a_vm_are_added_and_removed_for_all_who_look(ui: Ui) -> None:
    await ui.daemon("network")
    page, other = await ui.page(), await ui.page()
    path = await create(page, "second")
    await show(page, "/vms")
    path = await create(page, "first")
    await show(other, path)
    await other.locator("#disks").wait_for()

    await add(page.locator("#disks"), "Add a disk", way="new", value="2")
    await expect(row(other.locator("#disks"), "2000 MB")).to_be_visible()
    await add(page.locator("#nics"), "Add a network card", network="/wifi/0/shared")
    await expect(other.get_by_label("Network of card 0")).to_have_value("/wifi/0/shared")
    await page.get_by_label("Network of card 0").select_option("/wired/0/shared")
    await expect(other.get_by_label("Network of card 0")).to_have_value("/wired/0/shared")
    await add(page.locator("#firewall"), "Add a rule", rule="myself -> 0:5555")
    await expect(row(other.locator("#firewall"), "myself -> 0:5555")).to_contain_text("MYSELF")
    await expect(page.locator("#firewall")).to_contain_text("Not enforced: ")  # this host has no viptables
    await add(
        page.locator("#pci"), "Pass through all of a kind", pciclass="0x200", vendor="any", device="any"
    )
    await expect(row(other.locator("#pci"), "class=0x0200")).to_be_visible()
    await add(page.locator("#needs"), "Start another VM first", uuid="second")
    await expect(row(page.locator("#needs"), "second")).to_be_visible()
    await picture(page, "parts", whole=True)

    listed = {
        "#disks": "2000",
        "#nics": "wireless",
        "#firewall": "0:5555",
        "#pci": "0x0200",
        "#needs": "second",
    }
    for card, text in listed.items():
        await remove(page.locator(card), text)
        await expect(row(page.locator(card), text)).to_have_count(0)
    for card in ("#disks", "#nics", "#pci"):
        await expect(row(other.locator(card), "Remove")).to_have_count(0)
    assert list((ui.house.layout.places.storage / "disks").glob("*.vhd")) == []


async def test_a_wrong_rule_is_told_and_nothing_is_added(ui: Ui) -> None:
    page = await ui.page()
    await create(page, "strict")
    before = await page.locator("#firewall tbody tr").count()
    await add(page.locator("#firewall"), "Add a rule", rule="whatever")
    await expect(page.locator("#messages .error")).to_contain_text("whatever")
    assert await page.locator("#firewall tbody tr").count() == before


async def test_usb_devices_are_there_while_their_daemon_is(ui: Ui) -> None:
    page, other = await ui.page(), await ui.page()
    path = await create(page, "plugged")
    await show(other, path)
    await expect(page.locator("#usb")).to_be_hidden()
    daemon = await ui.daemon("usb")
    usb = page.locator("#usb")
    stick = row(usb, "Kingston DataTraveler")
    await stick.get_by_role("button", name="Assign").click()
    await expect(stick).to_contain_text("its own now")
    await expect(row(other.locator("#usb"), "Kingston DataTraveler")).to_contain_text("its own now")
    await stick.get_by_role("button", name="Always assign").click()
    await expect(stick).to_contain_text("its own, always")
    await expect(row(usb, "Fingerprint reader")).to_contain_text("kept from it by policy")
    await usb.scroll_into_view_if_needed()
    await picture(page, "usb")
    await show(other, "/host")
    await expect(row(other.locator("#usb-names"), "plugged")).to_have_count(1)
    await other.get_by_label("Name of USB device 1").fill("my stick")
    await other.get_by_label("Name of USB device 1").press("Enter")
    stick = row(usb, "my stick")
    await stick.get_by_role("button", name="Release").click()
    await expect(stick).to_contain_text("free")
    await ended(daemon)
    await expect(usb).to_be_hidden()
    await expect(other.locator("#usb-names")).to_be_hidden()


async def test_updates_are_found_fetched_and_called_off(ui: Ui) -> None:
    page = await ui.page()
    await expect(page.get_by_role("link", name="Updates")).to_be_hidden()
    await ui.daemon("updates")
    await page.get_by_role("link", name="Updates").click()
    address = page.get_by_label("Address of the update")
    await address.fill("https://elsewhere.example/")
    await address.press("Enter")
    await expect(page.locator("#messages .error")).to_contain_text("The update was not found (error 311)")
    await address.fill("https://updates.example/openxt")
    await address.press("Enter")
    await expect(page.get_by_text("The update can be downloaded.")).to_be_visible()
    await page.get_by_role("button", name="Download").click()
    await expect(page.get_by_label("42 %, 1.5 MB a second")).to_be_visible()
    await picture(page, "update")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.get_by_text("No update is under way.")).to_be_visible()


async def test_what_was_typed_survives_a_lost_link(ui: Ui) -> None:
    page = await ui.page()
    await create(page, "survivor")
    await page.locator("#properties-com-citrix-xenclient-xenmgr-vm summary").click()
    search = page.get_by_label("Find a property")
    await search.fill("mem")
    await ui.kill("rpc-proxy-ui")
    await expect(page.locator("#link")).to_contain_text("Not connected")
    await expect(page.locator("#link")).to_have_text("", timeout=30_000)
    await expect(search).to_have_value("mem")
    await set_property(page, "memory", "96")
    await expect(page.locator("#facts")).to_contain_text("96 MiB")


async def test_an_edit_elsewhere_appears_in_the_form_but_not_under_the_fingers(ui: Ui) -> None:
    page, other = await ui.page(), await ui.page()
    path = await create(page, "shared")
    await show(other, path)
    await other.locator("#properties-com-citrix-xenclient-xenmgr-vm summary").click()
    await other.locator('[data-property="description"] input').press_sequentially("half a")
    await set_property(page, "memory", "80")
    await set_property(page, "description", "whole")
    await expect(other.locator('[data-property="memory"] input')).to_have_value("80")
    await expect(other.locator("#facts")).to_contain_text("whole")
    await expect(other.locator('[data-property="description"] input')).to_have_value("half a")


async def test_markup_in_a_name_stays_text(ui: Ui) -> None:
    page = await ui.page()
    name = "<img src=x onerror=alert(1)>"
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    await create(page, name)
    await page.get_by_role("link", name="VMs", exact=True).click()
    assert await page.locator("main img").count() == 0
    assert await page.evaluate(RAN) is None  # nor would it run if it did not
    await expect(page.get_by_role("link", name="onerror")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_bars_people_who_need_aids(ui: Ui, scheme: str) -> None:
    for daemon in ("network", "usb", "updates"):
        await ui.daemon(daemon)
    page = await ui.page(color_scheme=scheme)
    path = await create(page, "reachable", disk_gb=1)
    await add(page.locator("#nics"), "Add a network card", network="/wired/0/bridged")
    await page.get_by_label("Network of card 0").wait_for()
    for unfold in await page.locator("main summary").all():
        if await unfold.is_visible() and await unfold.evaluate("one => !one.parentElement.open"):
            await unfold.click()
    for view in (path, "/vms", "/services", "/new", "/host", "/updates", "/events"):
        await show(page, view)
        result = await Axe().run(page)
        assert result.violations_count == 0, f"{view}: {result.generate_report()}"
        await picture(page, f"{scheme}-{view.split('/')[1]}", whole=True)


async def test_a_small_screen_needs_no_sideways_scrolling(ui: Ui) -> None:
    for daemon in ("network", "usb", "updates"):
        await ui.daemon(daemon)
    page = await ui.page()
    path = await create(page, "a-name-that-is-longer-than-a-small-screen-is-wide-by-a-good-deal", disk_gb=1)
    await add(page.locator("#nics"), "Add a network card", network="/wired/0/bridged")
    await page.get_by_label("Network of card 0").wait_for()
    await page.set_viewport_size({"width": 360, "height": 640})
    for view in (path, "/vms", "/new", "/host", "/updates"):
        await show(page, view)
        assert await page.evaluate(TOO_WIDE) == [], view
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360, view
        await picture(page, f"small-{view.split('/')[1]}", whole=True)


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
