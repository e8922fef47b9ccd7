# SPDX-License-Identifier: GPL-2.0-or-later
"""What xenmgr tells of drives, sound cards, GPUs and diagnostics of its host."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from xenmgr_house import XENMGR, Desk, desk, refused

from openxt_api.xenmgr_host import XENMGR_HOST

HOST = XENMGR_HOST.name
DIAG = f"{XENMGR}.diag"
TESTING = f"{XENMGR}.testing"
SCSI = """Attached devices:
Host: scsi0 Channel: 00 Id: 00 Lun: 00
  Vendor: ATA      Model: SSD              Rev: 1.0
  Type:   Direct-Access                    ANSI  SCSI revision: 05
Host: scsi1 Channel: 00 Id: 02 Lun: 00
  Vendor: HL-DT-ST Model: DVDRAM GT80N     Rev: LS00
  Type:   CD-ROM                           ANSI  SCSI revision: 05
"""
PCM = "00-00: ALC269 Analog : ALC269 Analog : playback 1 : capture 1\n01-03: HDMI 0 : HDMI 0 : playback 1\n"
CARDS = " 0 [PCH            ]: HDA-Intel - HDA Intel PCH\n                      HDA at 0xf7\n"
AMIXER = """Simple mixer control 'Master',0
  Capabilities: pvolume pswitch
  Playback channels: Front Left - Front Right
  Limits: Playback 0 - 87
  Mono:
  Front Left: Playback 40 [46%] [-35.25dB] [on]
  Front Right: Playback 40 [46%] [-35.25dB] [on]
"""


@pytest.fixture
async def it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """A host with a stand-in for each program: it writes down what it was asked."""
    for name, output in (("amixer", AMIXER), ("eject", ""), ("status-tool", "/tmp/report.tgz\n")):
        (tmp_path / f"{name}.out").write_text(output)
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/log\ncat {tmp_path}/{name}.out\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    async with desk() as opened:
        yield opened


def put(it: Desk, path: str, content: str) -> None:
    file = it.places.at(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


async def host(it: Desk, member: str, signature: str = "", *body: object) -> object:
    return await it.call("/host", HOST, member, signature, *body)


async def test_a_machine_without_the_hardware_lists_none(it: Desk) -> None:
    for kind in (
        "cd_devices",
        "gpu_devices",
        "playback_devices",
        "capture_devices",
        "sound_cards",
        "disk_devices",
    ):
        assert await host(it, f"list_{kind}") == [], kind


async def test_sound_devices_and_their_controls(it: Desk, tmp_path: Path) -> None:
    put(it, "/proc/asound/pcm", PCM)
    put(it, "/proc/asound/cards", CARDS)
    analog = {"id": "00-00", "name": "ALC269 Analog", "card": "0"}
    assert await host(it, "list_playback_devices") == [analog, {"id": "01-03", "name": "HDMI 0", "card": "1"}]
    assert await host(it, "list_capture_devices") == [analog]
    assert await host(it, "list_sound_cards") == [{"id": "0", "name": "HDA-Intel - HDA Intel PCH"}]
    master = {"name": "Master", "direction": "playback", "type": "volume", "value": "46% on"}
    assert await host(it, "list_sound_card_controls", "s", "0") == [master]
    assert await host(it, "get_sound_card_control", "ss", "0", "Master") == "46% on"
    await host(it, "set_sound_card_control", "sss", "0", "Master", "50% off")
    assert (tmp_path / "log").read_text().splitlines()[-1] == "amixer -c 0 sset Master 50% off"
    assert "not a card" in await it.fails(host(it, "get_sound_card_control", "ss", "0", "--help"))


async def test_gpus_and_their_places(it: Desk) -> None:
    for address, primary in (("0000:00:02.0", "1"), ("0000:01:00.0", "0")):
        for name, text in (
            ("class", "0x030000"),
            ("vendor", "0x8086"),
            ("device", "0x1"),
            ("boot_vga", primary),
        ):
            put(it, f"/sys/bus/pci/devices/{address}/{name}", text)
    (only,) = await host(it, "list_gpu_devices")  # type: ignore[misc]  # a list of one
    assert (only["addr"], only["placement"]) == ("hdx", "0")
    await host(it, "configure_gpu_placement", "si", "hdx", 3)
    assert await host(it, "get_gpu_placement", "s", "hdx") == 3
    assert (await it.fails(host(it, "get_gpu_placement", "s", "0000:09:00.0"))).startswith(refused(234))


async def test_a_cd_drive_is_kept_for_a_vm_and_ejected(it: Desk, tmp_path: Path) -> None:
    put(it, "/proc/scsi/scsi", SCSI)
    (it.places.at("/sys/class/block/sr0/device/scsi_device/1:0:2:0")).mkdir(parents=True)
    path = await it.create()
    uuid = it.uuid(path)
    await host(it, "assign_cd_device", "sbs", "1:0:2:0", True, uuid)
    (drive,) = await host(it, "list_cd_devices")  # type: ignore[misc]  # a list of one
    assert drive == {
        "id": "1:0:2:0",
        "name": "HL-DT-ST DVDRAM GT80N",
        "vm": uuid,
        "vm-sticky": "1",
        "usb-id": "",
    }
    await it.until(lambda: ["1:0:2:0", uuid, path] in [body for _, body in it.signals])
    reply = await it.house.bus.call(XENMGR, "/host", HOST, "get_cd_device_assignment", "s", ("1:0:2:0",))
    assert list(reply) == [True, uuid]
    await host(it, "assign_cd_device", "sbs", "1:0:2:0", True, "")
    assert await it.db("exists", "/xenmgr/cdassign/1_0_2_0") is False
    await host(it, "eject_cd_device", "s", "1:0:2:0")
    assert (tmp_path / "log").read_text().splitlines()[-1] == "eject /dev/sr0"
    assert (await it.fails(host(it, "eject_cd_device", "s", "0:0:0:0"))).startswith(refused(203))
    assert "not a CD drive" in await it.fails(host(it, "eject_cd_device", "s", "../sr0"))


async def test_a_running_vm_is_given_a_drive_by_the_backend_or_the_caller_is_told(it: Desk) -> None:
    put(it, "/proc/scsi/scsi", SCSI)
    path = await it.create()
    await it.vm(path, "start")
    node = f"/local/domain/{it.domids(path)[0]}/bsgdev-req/1_0_2_0"
    text = await it.fails(host(it, "assign_cd_device", "sbs", "1:0:2:0", False, it.uuid(path)))
    assert "req-assign" in text
    assert await it.house.xenstore.read(f"{node}/req-assign") is None
    asked = asyncio.create_task(host(it, "assign_cd_device", "sbs", "1:0:2:0", False, it.uuid(path)))
    await it.house.xenstore.wait_until(f"{node}/req-assign", lambda text: text == "1", 5)
    await it.house.xenstore.rm(f"{node}/req-assign")
    await asked
    assert await it.house.xenstore.read(f"{node}/autolock") == "1"


async def test_diagnostics_are_gathered_only_while_asked_for(it: Desk) -> None:
    text = await it.fails(it.call("/", DIAG, "gather", "ss", "a.log", "00"))
    assert text.startswith(refused(216))
    empty = Path(await it.call("/", DIAG, "save", "s", "all"))
    assert list(empty.iterdir()) == []
    path = await it.create()
    await it.set(path, "pv-addons", "b", True)
    await it.vm(path, "start")
    saved = asyncio.create_task(it.call("/", DIAG, "save", "s", "all"))
    await it.until(lambda: ("gather_request", ["all"]) in it.signals)
    for name, data in (("../x", "00"), ("/x", "00"), (".x", "00"), ("", "00"), ("x", "0"), ("x", "zz")):
        assert "expected" in await it.fails(it.call("/", DIAG, "gather", "ss", name, data))
    await it.call("/", DIAG, "gather", "ss", "a.log", "6869")
    folder = Path(await saved)
    assert [(file.name, file.read_text()) for file in folder.iterdir()] == [("a.log", "hi")]
    assert await it.house.xenstore.read("/xenmgr/diag-dir") is None


async def test_a_status_report_is_made_and_leaves_no_text_behind(it: Desk, tmp_path: Path) -> None:
    body = (True, False, "a < b", "d", "s", "t")
    assert await it.call("/", DIAG, "create_status_report", "bbssss", *body) == "/tmp/report.tgz"
    asked = "status-tool --screenshots --no-vm-diagnostics --quiet --print-tarball"
    assert (tmp_path / "log").read_text().splitlines()[-1] == asked
    assert not it.places.at("/tmp/user-report.xml").exists()


async def test_scripts_come_out_in_order_and_are_waited_for(it: Desk) -> None:
    first = asyncio.create_task(it.call("/", TESTING, "script_dequeue"))
    for script in ("one", "two"):
        await it.call("/", TESTING, "script_queue", "s", script)
    assert [await first, await it.call("/", TESTING, "script_dequeue")] == ["one", "two"]


async def test_what_is_gone_for_good_says_so(it: Desk) -> None:
    assert "TaaS" in await it.fails(it.call("/", DIAG, "taas_agree_terms", "sss", "u", "p", "1"))
    assert "licence" in await it.fails(host(it, "set_license", "sss", "e", "d", "local"))
    assert await it.root("list_extension_packs") == []
