# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of the methods of `/host`.  Numbers of errors: **Source:** OpenXT xenmgr, 2015."""

import errno
import time
from typing import Any

from member_givens import programs_fail, runs, with_addons
from member_machine import DRIVE, GPU, PCI
from member_methods import GONE, SOME_UUID, Deed, Stage, fault, faults, noted, works
from peers import INPUT, peer

from openxt_api import input_daemon
from openxt_api.xenmgr import XENMGR
from openxt_api.xenmgr_host import XENMGR_HOST, XENMGR_INSTALLER, XENMGR_POWERSETTINGS


@works(XENMGR_POWERSETTINGS, "get_ac_lid_close_action", "set_ac_lid_close_action")
async def _ac_lid(s: Stage) -> None:
    await _lid(s, "ac")


@works(XENMGR_POWERSETTINGS, "get_battery_lid_close_action", "set_battery_lid_close_action")
async def _battery_lid(s: Stage) -> None:
    await _lid(s, "battery")


async def _lid(s: Stage, kind: str) -> None:
    async def ask(verb: str, *texts: str) -> Any:
        member = f"{verb}_{kind}_lid_close_action"
        return await s.it.call("/host", XENMGR_POWERSETTINGS.name, member, "s" * len(texts), *texts)

    await s.it.db("rm", f"/power-management/{kind}-lid-close-action")
    assert await ask("get") == "nothing"
    for action in ("sleep", "hibernate", "shutdown", "forced-shutdown", "reboot", "nothing"):
        await ask("set", action)
        assert await ask("get") == action
        assert await s.it.db("read", f"/power-management/{kind}-lid-close-action") == action


faults(
    XENMGR_POWERSETTINGS,
    get_ac_lid_close_action=(),
    get_battery_lid_close_action=(),
    set_ac_lid_close_action=(fault("action cannot be 'nap'", "nap"),),
    set_battery_lid_close_action=(fault("action cannot be ''", ""),),
)

LISTED: dict[str, Any] = {
    "list_isos": ["debian.iso"],
    "list_disk_devices": [{"udi": "/sys/block/sda", "block-device": "/dev/sda"}],
    "list_playback_devices": [
        {"id": "00-00", "name": "Analog", "card": "0"},
        {"id": "01-03", "name": "HDMI 0", "card": "1"},
    ],
    "list_capture_devices": [{"id": "00-00", "name": "Analog", "card": "0"}],
    "list_sound_cards": [{"id": "0", "name": "HDA-Intel - HDA Intel PCH"}],
    "list_cd_devices": [
        {"id": DRIVE, "name": "HL-DT-ST DVDRAM", "vm": "", "vm-sticky": "0", "usb-id": ""},
    ],
}


@works(XENMGR_HOST, *LISTED)
async def _listed(s: Stage) -> None:
    assert await s.call() == LISTED[s.method.name]


@works(XENMGR_HOST, "list_pci_devices")
async def _pci(s: Stage) -> None:
    found = await s.call()
    assert [one["addr"] for one in found] == sorted(PCI)
    assert {key for one in found for key in one} == {"addr", "name", "class", "vendor-id", "device-id"}


@works(XENMGR_HOST, "list_gpu_devices", "configure_gpu_placement", "get_gpu_placement")
async def _gpus(s: Stage) -> None:
    async def ask(member: str, signature: str = "", *body: Any) -> Any:
        return await s.it.call("/host", XENMGR_HOST.name, member, signature, *body)

    async with peer(s.it.house.layout.bus_address, INPUT, {"/": (input_daemon.INPUT,)}) as there:
        await s.it.until_there(INPUT)
        assert [await ask("get_gpu_placement", "s", one) for one in ("hdx", GPU)] == [0, 1]
        await ask("configure_gpu_placement", "si", "hdx", 3)
        assert [(one["addr"], one["placement"]) for one in await ask("list_gpu_devices")] == [
            ("hdx", "3"),
            (GPU, "1"),
        ]
        assert await s.it.db("read", "/xenmgr/gpu-placement/hdx") == "3"
        assert ("update_seamless_mouse_settings", s.uuid) in there.calls


@works(XENMGR_HOST, "list_sound_card_controls", "get_sound_card_control", "set_sound_card_control")
async def _controls(s: Stage) -> None:
    async def ask(member: str, *texts: str) -> Any:
        return await s.it.call("/host", XENMGR_HOST.name, member, "s" * len(texts), *texts)

    master = {"name": "Master", "direction": "playback", "type": "volume", "value": "46% on"}
    assert await ask("list_sound_card_controls", "0") == [master]
    assert await ask("get_sound_card_control", "0", "Master") == "46% on"
    await ask("set_sound_card_control", "0", "Master", "50% off")
    assert s.asked()[-1] == "amixer -c 0 sset Master 50% off"


@works(XENMGR_HOST, "assign_cd_device", "get_cd_device_assignment")
async def _assign(s: Stage) -> None:
    async def holder() -> list[Any]:
        return list(
            await s.it.house.bus.call(
                XENMGR.name, "/host", XENMGR_HOST.name, "get_cd_device_assignment", "s", (DRIVE,)
            )
        )

    async def assign(sticky: bool, uuid: str) -> None:
        await s.it.call("/host", XENMGR_HOST.name, "assign_cd_device", "sbs", DRIVE, sticky, uuid)

    assert await holder() == [False, ""]
    await assign(True, s.uuid)
    assert await holder() == [True, s.uuid]
    assert await s.it.db("read", "/xenmgr/cdassign/1_0_2_0") == s.uuid
    await assign(True, "")
    assert await holder() == [False, ""]


@works(XENMGR_HOST, "eject_cd_device")
async def _eject(s: Stage) -> None:
    await s.call(DRIVE)
    assert s.asked() == ["eject /dev/sr0"]


@works(XENMGR_HOST, "list_ui_plugins")
async def _plugins(s: Stage) -> None:
    assert await s.call("menu") == ["one.js"]
    assert await s.call("nonesuch") == []


@works(XENMGR_HOST, "is_service_running")
async def _service(s: Stage) -> None:
    assert await s.call(XENMGR.name) is True
    assert await s.call("com.example.nonesuch") is False


@works(XENMGR_HOST, "get_seconds_from_epoch")
async def _epoch(s: Stage) -> None:
    before = int(time.time())
    assert before <= await s.call() <= int(time.time())


ENDS = {
    "shutdown": ("/sbin/poweroff", "shutdowning"),
    "reboot": ("/sbin/reboot", "rebooting"),
    "sleep": ("/usr/share/xenclient/enter-s3.sh", "idle"),
    "hibernate": ("/sbin/poweroff", "hibernating"),
}


@works(XENMGR_HOST, *ENDS)
async def _power(s: Stage) -> None:
    """The host of the test stays up; xenmgr begins anew afterwards."""
    path, state = ENDS[s.method.name]
    told = s.it.stand_ins / "ended"
    program = s.file(path)
    program.write_text(f"#!/bin/sh\necho ran >> {told}\n")
    await s.call()
    assert told.read_text() == "ran\n"
    assert await s.it.get("/host", "state", XENMGR_HOST.name) == state
    told.unlink()
    await s.it.restart()


def without(path: str) -> Any:
    async def given(s: Stage) -> None:
        s.file(path).rename(s.file(path + ".away"))

    return given


async def nobody_answers(s: Stage) -> None:
    """The VM runs, and there is no CD backend."""
    await s.start()


def that(behaviour: str, **keys: str) -> Deed:
    """A VM runs that has PV drivers and behaves like that when it is asked for something."""

    async def given(s: Stage) -> None:
        await s.it.set(s.vm, "cmd-line", "s", f"sim.shutdown={behaviour}")
        await s.set_keys(s.vm, keys)
        await s.it.db("write", "/xenmgr/vm-stop-deadline", "10")
        await with_addons(s)

    return given


async def sleeps_for_ever(s: Stage) -> None:
    """Xen refuses to wake it."""
    await that("obey", **{"s4-mode": "restart"})(s)
    await s.it.vm(s.vm, "sleep")
    xen = s.it.xen()
    xen.fail_next("set_hvm_param", errno.EPERM)
    xen.close()


async def holds_up_the_host(s: Stage) -> None:
    s.ends.append(s.it.restart)  # which is as after a boot
    await that("ignore")(s)


faults(
    XENMGR_HOST,
    list_isos=(),
    list_pci_devices=(),
    list_gpu_devices=(),
    list_disk_devices=(),
    list_playback_devices=(),
    list_capture_devices=(),
    list_sound_cards=(),
    list_sound_card_controls=(fault("not a card", "--help"),),
    get_sound_card_control=(fault("not a card", "", "Master"), fault("not a card", "0", "-x")),
    set_sound_card_control=(fault("not a card", "0", "Master", "a\nb"),),
    list_cd_devices=(),
    assign_cd_device=(
        fault("203:", "0:0:0:0", False, ""),
        fault("not a CD drive", "../sr0", False, ""),
        fault("there is no VM", DRIVE, False, SOME_UUID),
        fault("not a uuid", DRIVE, False, "x"),
        fault("nobody answered req-assign", DRIVE, False, lambda s: s.uuid, given=nobody_answers),
    ),
    get_cd_device_assignment=(fault("203:", "0:0:0:0"), fault("not a CD drive", "x")),
    eject_cd_device=(
        fault("203:", "0:0:0:0"),
        fault("not a CD drive", "x"),
        fault("223:IO error", DRIVE, given=programs_fail),
    ),
    list_ui_plugins=(fault("outside the folder of plugins", "../.."),),
    is_service_running=(),
    configure_gpu_placement=(fault("234:", "0000:09:00.0", 1),),
    get_gpu_placement=(fault("234:", "0000:09:00.0"),),
    get_seconds_from_epoch=(),
    shutdown=(
        fault("there is no program", given=without("/sbin/poweroff")),
        noted("229:", given=holds_up_the_host),
    ),
    reboot=(fault("there is no program", given=without("/sbin/reboot")),),
    sleep=(
        fault("there is no program", given=without("/usr/share/xenclient/enter-s3.sh")),
        fault("227:", given=that("ignore")),
        fault("227:", given=runs, also="213:"),
    ),
    hibernate=(
        fault("there is no program", given=without("/sbin/poweroff")),
        fault("201:", given=that("ignore"), also="228:"),
        fault("201:", given=sleeps_for_ever, also="224:"),
    ),
    set_license=(),
)
GONE |= {(XENMGR_HOST.name, "set_license"): ("2030-01-01", "uuid", "hash")}


@works(XENMGR_INSTALLER, "get_eula")
async def _eula(s: Stage) -> None:
    assert await s.call() == "a licence"


STEPS = {
    "dom0-password-set": "dom0_password",
    "kb-layout-set": "kb_layout",
    "eula-accepted": "eula",
    "language-set": "language",
}


@works(XENMGR_INSTALLER, "get_installstate", "progress_installstate")
async def _installation(s: Stage) -> None:
    async def state() -> set[str]:
        found = await s.it.call("/host", XENMGR_INSTALLER.name, "get_installstate")
        assert len(found) == len(STEPS)
        return set(found.values())

    for name in STEPS.values():
        s.file(f"/config/deferred_{name}").touch()
    assert await state() == {"True"}
    for step, name in STEPS.items():
        await s.it.call("/host", XENMGR_INSTALLER.name, "progress_installstate", "s", step)
        assert not s.file(f"/config/deferred_{name}").exists()
    assert await state() == {"False"}


faults(
    XENMGR_INSTALLER,
    get_eula=(),
    get_installstate=(),
    progress_installstate=(fault("action cannot be 'done'", "done"),),
)
