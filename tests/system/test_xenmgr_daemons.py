# SPDX-License-Identifier: GPL-2.0-or-later
"""xenmgr and the daemons of others: what each is asked and told, and what happens when one is absent, comes
late, is slow, refuses, or is started anew."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from mocked import Asked, Mocked, mocked
from xenmgr_house import Desk, desk, refused

from openxt_api.ctxusb_daemon import USBDAEMON
from openxt_api.input_daemon import INPUT
from openxt_api.network import NETWORK_CONFIG
from openxt_api.network_daemon import NETWORKDAEMON
from openxt_api.surfman import SURFMAN
from openxt_api.xcpmd import XCPMD
from openxt_api.xenmgr_host import XENMGR_HOST

WIRED, WIFI = "/wired/0/bridged", "/wifi/0/shared"
ENTER_S3 = "/usr/share/xenclient/enter-s3.sh"
SESSION = "0a1b2c"


@pytest.fixture
async def it() -> AsyncIterator[Desk]:
    async with desk() as opened:
        yield opened


async def told(it: Desk, daemon: Mocked, *wanted: Asked) -> list[Asked]:
    """All calls of a daemon, once these were made."""

    async def are_there() -> bool:
        asked = await daemon.asked()
        return all(one in asked for one in wanted)

    await it.until(are_there)
    return await daemon.asked()


def network(**answers: str) -> dict[str, object]:
    """What makes a network daemon with a wired and a wireless network."""
    row = "self.dbus.Dictionary({'object': '%s'}, signature='ss')"
    rows = ", ".join(row % path for path in (WIRED, WIFI))
    objects = [
        (WIRED, NETWORK_CONFIG.name, {"bridge": "brwired", "type": "wired"}),
        (WIFI, NETWORK_CONFIG.name, {"bridge": "brwifi", "type": "wifi"}),
    ]
    return {
        "objects": objects,
        "list": f"self.dbus.Array([{rows}], signature='a{{ss}}')",
        "is_initialized": "True",
        "get_network_backend": "''",
        **answers,
    }


async def with_nics(it: Desk, *networks: str, **properties: bool) -> str:
    for name in ("brwired", "brwifi"):  # bridges of the simulated dom0
        (it.house.layout.root / "var/run/xenvm/dom0/bridges" / name).mkdir(parents=True, exist_ok=True)
    nics = {str(at): {"id": str(at), "network": name} for at, name in enumerate(networks)}
    path = await it.create(nic=nics)
    for name, value in {"track-dependencies": False, **properties}.items():
        await it.set(path, name, "b", value)
    return path


def vif_lines(it: Desk, path: str) -> list[str]:
    lines = it.places.xenvm_config(it.uuid(path)).read_text().splitlines()
    return [line for line in lines if line.startswith("vif=")]


async def until_logged(it: Desk, text: str) -> None:
    await it.until(lambda: text in it.house.log("xenmgr"))


# Network daemon


async def test_the_network_daemon_names_bridges_and_policy_knows_what_is_wireless(it: Desk) -> None:
    async with mocked(it.house, NETWORKDAEMON, **network()) as daemon:
        await it.until_there(NETWORKDAEMON.name)
        path = await with_nics(it, WIRED, WIFI, "/any/7", **{"policy-wireless-networking": False})
        await it.vm(path, "start")
        first, third = vif_lines(it, path)
        assert f"network={WIRED},bridge=brwired," in first
        assert "network=/any/7,backend" in third
        assert ("get_network_backend", WIRED) in await daemon.asked()


async def test_a_network_daemon_that_is_not_ready_is_waited_for(it: Desk) -> None:
    ready = "setattr(self, 'tries', getattr(self, 'tries', 0) + 1) or self.tries > 2"
    async with mocked(it.house, NETWORKDAEMON, **network(is_initialized=ready)) as daemon:
        await it.until_there(NETWORKDAEMON.name)
        path = await with_nics(it, WIFI)
        await it.vm(path, "start")
        assert "bridge=brwifi" in vif_lines(it, path)[0]
        assert (await daemon.asked()).count(("is_initialized",)) == 3


async def test_a_network_that_is_listed_without_an_object_is_unknown_and_costs_no_start(it: Desk) -> None:
    answers = {**network(), "objects": []}
    async with mocked(it.house, NETWORKDAEMON, **answers):
        await it.until_there(NETWORKDAEMON.name)
        path = await with_nics(it, WIRED)
        await it.vm(path, "start")
        assert "bridge=" not in vif_lines(it, path)[0]
        await until_logged(it, f"network {WIRED} is listed, but has no object")


async def test_a_network_vm_is_told_to_the_network_daemon_also_to_one_that_comes_late_or_anew(
    it: Desk,
) -> None:
    path = await with_nics(it, **{"provides-network-backend": True})
    await it.vm(path, "start")
    up = ("ndvm_status", it.uuid(path), await it.get(path, "domid"), 1)
    async with mocked(it.house, NETWORKDAEMON) as late:
        await told(it, late, up)
    async with mocked(it.house, NETWORKDAEMON) as anew:
        await told(it, anew, up)
        await it.vm(path, "destroy")
        calls = await told(it, anew, ("ndvm_status", it.uuid(path), -1, 0))
        assert next(call for call in calls if call[0] == "ndvm_status") == up
    await until_logged(it, f"{NETWORKDAEMON.name} has gone")


async def test_a_running_vms_card_is_moved_by_the_network_daemon(it: Desk) -> None:
    async with mocked(it.house, NETWORKDAEMON, **network()) as daemon:
        await it.until_there(NETWORKDAEMON.name)
        path = await with_nics(it, "/any/7")
        await it.vm(path, "start")
        await it.set(path, "wired-network", "s", WIRED)
        vif = f"vif{await it.get(path, 'domid')}.0"
        assert ("move_to_network", vif, WIRED) in await daemon.asked()


# USB daemon


async def test_the_usb_daemon_hears_of_vms_that_may_have_devices_also_when_it_comes_later(it: Desk) -> None:
    path = await it.create()
    without = await it.create()
    await it.set(without, "usb-enabled", "b", False)
    for vm in (path, without):
        await it.vm(vm, "start")
    domid, other = await it.get(path, "domid"), await it.get(without, "domid")
    sound = it.places.at(f"/var/run/alsa-vm-{domid}.conf")
    sound.write_text("")
    async with mocked(it.house, USBDAEMON) as daemon:
        assert ("new_vm", other) not in await told(it, daemon, ("new_vm", domid))
        await it.vm(path, "destroy")
        await told(it, daemon, ("vm_stopped", domid))
    assert not sound.exists()


# Input daemon


async def test_a_host_that_asks_for_a_login_does_so_once_a_boot(it: Desk) -> None:
    async with mocked(it.house, INPUT, get_auth_on_boot="True") as daemon:
        await told(it, daemon, ("auth_begin",))
        await it.restart()
        await it.until_there(INPUT.name)
    async with mocked(it.house, INPUT, get_auth_on_boot="True") as anew:
        await it.until_there(INPUT.name)
        assert ("auth_begin",) not in await anew.asked()


async def test_a_ui_that_is_ready_is_shown_when_nothing_has_the_focus(it: Desk) -> None:
    ui, other = await it.create(), await it.create()
    await it.set(ui, "provides-graphics-fallback", "b", True)
    for path in (other, ui):
        await it.vm(path, "start")
    async with mocked(it.house, INPUT, get_focus_domid="0") as daemon:
        await it.until_there(INPUT.name)
        await it.set("/host", "ui-ready", "b", True, XENMGR_HOST.name)
        asked = await daemon.asked()
        assert ("switch_focus", await it.get(ui, "domid"), False) in asked
        await it.set("/host", "ui-ready", "b", True, XENMGR_HOST.name)
        assert await daemon.asked() == asked


async def test_an_input_daemon_that_refuses_or_hangs_holds_up_no_vm(it: Desk) -> None:
    path = await it.create()
    hangs = "self.time.sleep(60)"
    async with mocked(it.house, INPUT, set_slot=hangs, switch_focus="1 / 0"):
        await it.until_there(INPUT.name)
        await it.vm(path, "start")
        ready = f"/local/domain/{await it.get(path, 'domid')}/switcher/ready"
        await it.house.xenstore.write(ready, "true")
        await it.vm(path, "switch")
        await it.set(path, "slot", "i", 5)
        assert await it.get(path, "slot") == 5
        await until_logged(it, f"{INPUT.name}.set_slot")


# surfman, and the sleep of the host


async def test_before_and_after_a_sleep_everybody_is_asked_in_order(it: Desk) -> None:
    order = it.places.storage / "order"
    sleep = it.places.at(ENTER_S3)
    sleep.parent.mkdir(parents=True, exist_ok=True)
    sleep.write_text(f"#!/bin/sh\necho asleep >> {order}\n")
    sleep.chmod(0o755)

    def notes(word: str) -> str:
        return f"open({str(order)!r}, 'a').write('{word}\\n') and None"

    async with (
        mocked(it.house, INPUT, get_auth_on_boot="True", lock=notes("lock")) as screen,
        mocked(it.house, SURFMAN, pre_s3=notes("pre_s3"), post_s3=notes("post_s3")),
    ):
        for name in (INPUT.name, SURFMAN.name):
            await it.until_there(name)
        await it.call("/host", XENMGR_HOST.name, "sleep")
        assert order.read_text().split() == ["lock", "pre_s3", "asleep", "post_s3"]
        assert ("lock", True) in await screen.asked()


async def test_a_gpu_vm_is_refused_by_what_surfman_says(it: Desk) -> None:
    path = await it.create()
    await it.set(path, "pv-addons", "b", True)
    await it.set(path, "start-on-boot", "b", True)
    assert (await it.fails(it.set(path, "gpu", "s", "hdx"))).startswith(refused(200))
    mode = "(1, 'igfx', True, ['0000:00:02.0'])"
    async with mocked(it.house, SURFMAN, vgpu_mode=mode):
        await it.until_there(SURFMAN.name)
        await it.set(path, "gpu", "s", "hdx")
        assert await it.get(path, "gpu") == "hdx"


async def test_the_mouse_goes_to_the_vm_on_the_next_screen(it: Desk) -> None:
    devices = {"0000:00:02.0": "1", "0000:01:00.0": "0", "0000:02:00.0": "0"}
    for address, primary in devices.items():
        folder = it.places.at(f"/sys/bus/pci/devices/{address}")
        folder.mkdir(parents=True)
        for name, text in (
            ("class", "0x030000"),
            ("vendor", "0x8086"),
            ("device", "0x1"),
            ("boot_vga", primary),
        ):
            (folder / name).write_text(text)
    it.places.at("/etc/caps.default").write_text("secondary-gpu-pt = true\n")
    await it.restart()
    shown, right = await it.create(), await it.create()
    await it.vm(shown, "start")
    await it.db("write", f"/vm/{it.uuid(right)}/gpu", "0000:02:00.0")
    domid = await it.get(shown, "domid")
    async with mocked(it.house, SURFMAN, get_visible=f"self.dbus.Array([{domid}], signature='i')"):
        await it.until_there(SURFMAN.name)
        slot = await it.get(shown, "slot")
        assert await it.get(right, "seamless-mouse-left") == slot
        assert await it.get(right, "seamless-mouse-right") == -1
        assert await it.get(shown, "seamless-mouse-right") == -1  # the one there does not run
        assert await it.get(shown, "seamless-mouse-left") == -1


# xcpmd


async def test_an_empty_battery_hibernates_the_host_even_if_a_vm_does_not(it: Desk) -> None:
    off = it.places.at("/sbin/poweroff")
    off.parent.mkdir(parents=True, exist_ok=True)
    done = it.places.storage / "off"
    off.write_text(f"#!/bin/sh\ntouch {done}\n")
    off.chmod(0o755)
    path = await it.create()
    await it.vm(path, "start")
    await it.listens(path)
    await it.house.xenstore.write("/pm/currentbatterylevel", "3")
    async with mocked(it.house, XCPMD) as daemon:
        await daemon.emit("battery_level_notification")
        await it.until(done.exists)
    assert await it.db("read", "/platform/hibernated") == "true"
    assert await it.state(path) == "stopped"
    assert it.uuid(path) in it.house.log("xenmgr")


# Absent


async def test_without_any_of_them_a_vm_lives_and_it_is_said_who_is_missing(it: Desk) -> None:
    path = await with_nics(it, WIRED)
    await it.vm(path, "start")
    await it.vm(path, "switch")
    await it.vm(path, "shutdown")
    for daemon in (INPUT, NETWORKDAEMON, SURFMAN, USBDAEMON):
        assert f"{daemon.name} is not there" in it.house.log("xenmgr")


async def test_users_sessions_end_before_the_host_sleeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    async with desk() as it:
        asleep = it.places.storage / "asleep"
        for file, lines in (
            (it.places.at(ENTER_S3), f"echo asleep >> {asleep}"),
            (tmp_path / "sec-umount", f'echo ended "$@" >> {asleep}\n[ ! -e {tmp_path}/busy ]'),
        ):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"#!/bin/sh\n{lines}\n")
            file.chmod(0o755)
        mounts = it.places.at("/proc/mounts")
        mounts.parent.mkdir(parents=True, exist_ok=True)
        mounts.write_text(f"/dev/x /config/sec/s-{SESSION} ext3 rw 0 0\n/dev/y /config ext3 rw 0 0\n")
        await it.call("/host", XENMGR_HOST.name, "sleep")
        assert asleep.read_text() == f"ended {SESSION}\nasleep\n"
        (tmp_path / "busy").touch()
        text = await it.fails(it.call("/host", XENMGR_HOST.name, "sleep"))
        assert text.startswith(refused(223))
        assert asleep.read_text().count("asleep") == 1
        assert await it.get("/host", "state", XENMGR_HOST.name) == "idle"
