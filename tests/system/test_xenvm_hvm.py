# SPDX-License-Identifier: GPL-2.0-or-later
"""HVM domains on the simulated host, with its stand-in for QEMU as a real program."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from xenvm_house import START, UUID, House, builds_held, open_house

from openxt_core.errors import RemoteError
from openxt_core.ids import Domid
from openxt_xen.hypervisor import HvmParam
from openxt_xenvm.dm.monitor_socket import open_monitor, save_devices
from openxt_xenvm.dm.qmp import QmpError
from openxt_xenvm.dom0 import processes
from openxt_xenvm.saved.header import BLOCK, as_block, from_block

HVM = (
    "virt-type = hvm",
    "kernel =",
    "qemu-dm-path = /usr/sbin/svirt-interpose",
    "display = none",
    "on_restart = preserve",
)


@pytest.fixture
async def house(bus_address: str) -> AsyncIterator[House]:
    with tempfile.TemporaryDirectory(prefix="xenvm") as folder:
        async with open_house(Path(folder), bus_address) as opened:
            yield opened
            processes.end(str(socket(opened)), 5)


def socket(house: House) -> Path:
    return house.root / f"var/run/xenvm/qemu-{UUID}"


def models(house: House) -> list[int]:
    return processes.find(str(socket(house)))


def words(house: House) -> list[str]:
    """The command line of the only device model."""
    (pid,) = models(house)
    return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")


def option(house: House, name: str) -> str:
    found = words(house)
    return found[found.index(name) + 1]


def console(house: House) -> str:
    log = house.root / "var/log/xen/console/guest-guest.log"
    return log.read_text() if log.exists() else ""


async def started(house: House, *lines: str, **environ: str) -> Domid:
    await house.monitor(house.config(*HVM, *lines), **environ)
    await house.call("start")
    await house.hear_states(*START)
    (domid,) = house.domids()
    return domid


async def test_a_device_model_lives_as_long_as_its_domain(house: House) -> None:
    before = await house.nodes()
    domid = await started(house)
    assert option(house, "-xen-domid") == str(domid)
    assert await house.store.read(f"/local/domain/0/device-model/{domid}/state") == "running"
    assert await house.store.read(f"/local/domain/{domid}/serial/0/tty") == "/dev/pts/0"
    await house.guest_is_up(domid)
    await house.call("halt")
    await house.hear_states("shutdowning", "shutdown")
    assert models(house) == []
    assert not socket(house).exists()
    assert await house.nodes() == before


async def unaware(house: House, words: str, **environ: str) -> Domid:
    """A guest that knows nothing of Xen, as `words` says, with a monitor that looks often."""
    await house.monitor(house.config(*HVM, "acpi = true"), XENVM_ACPI_POLL_S="0.02", **environ)
    await house.call("start", paused="true")
    (domid,) = house.domids()
    house.xen.tell(domid, f"sim.drivers=no {words}")
    await house.call("unpause")
    await house.hear_states(*START)
    return domid


async def has_booted(house: House, domid: Domid) -> None:
    await house.until(lambda: house.xen.power_button(domid).is_heard)


@pytest.mark.parametrize(("task", "end"), [("halt", ["shutdown"]), ("reboot", ["rebooting", "rebooted"])])
async def test_a_guest_without_drivers_for_xen_ends_when_its_power_button_is_pressed(
    house: House, task: str, end: list[str]
) -> None:
    domid = await unaware(house, "sim.button=obey")
    await has_booted(house, domid)
    await house.call(task)
    await house.hear_states("shutdowning", *end)
    assert console(house).count("GUEST power button") == 1
    assert "reason 0 (poweroff)" in house.xen.read_console_ring()  # by itself: all that a button can say
    assert house.domids() == models(house) == []


@pytest.mark.parametrize(
    ("words", "has_button"),
    [("sim.boot=hang", False), ("sim.button=off", False), ("sim.button=ignore", True)],
)
@pytest.mark.parametrize(
    ("task", "reason"), [("halt", "reason 0 (poweroff)"), ("reboot", "reason 1 (reboot)")]
)
async def test_a_guest_that_hears_nothing_is_stopped(
    house: House, words: str, has_button: bool, task: str, reason: str
) -> None:
    domid = await unaware(house, words, XENVM_ACKNOWLEDGE_S="0.2")
    if has_button:
        await has_booted(house, domid)
    await house.call(task)
    assert reason in house.xen.read_console_ring()
    assert house.domids() == models(house) == []


async def test_a_guest_that_slept_when_it_was_to_end_is_stopped(house: House) -> None:
    domid = await unaware(house, "sim.button=obey")
    await has_booted(house, domid)
    house.xen.set_hvm_param(domid, HvmParam.ACPI_S_STATE, 3)
    await house.call("halt")
    assert "GUEST power button" not in console(house)
    assert house.domids() == []


async def test_a_guest_that_took_the_press_has_its_time_like_any_other(house: House) -> None:
    domid = await unaware(house, "sim.button=hang", XENVM_SHUTDOWN_S="0.1")
    await has_booted(house, domid)
    with pytest.raises(RemoteError, match="Vm_didnt_shutdown"):
        await house.call("halt")
    assert house.domids() == [domid]
    await house.call("destroy")


async def test_a_guest_with_drivers_for_xen_is_asked_by_them_alone(house: House) -> None:
    domid = await started(house)
    await house.guest_is_up(domid)
    assert house.xen.power_button(domid).is_heard
    await house.call("halt")
    assert "GUEST shutdown poweroff" in console(house)
    assert "GUEST power button" not in console(house)


def is_awaited(lock: Path) -> bool:
    """Whether somebody waits for it, as the kernel sees it."""
    waiting = [line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
    return any(words[6].endswith(f":{lock.stat().st_ino}") for words in waiting)


async def test_queries_are_answered_while_another_domain_is_built(house: House) -> None:
    await house.monitor(house.config(*HVM))
    with builds_held(house):
        starting = asyncio.create_task(house.call("start"))
        await house.until(lambda: is_awaited(house.root / "var/lock/xen-buildvm-lock"))
        assert await house.call("get_acpi_state") == "0"
        assert not starting.done()
    await starting


def falls_asleep(house: House, domid: Domid) -> None:
    """By itself; a stock QEMU notes it so, and nowhere else."""
    house.xen.set_hvm_param(domid, HvmParam.ACPI_S_STATE, 3)


async def test_a_guest_that_sleeps_by_itself_is_told_of_each_time(house: House) -> None:
    domid = await started(house, XENVM_ACPI_POLL_S="0.02")
    for _ in range(2):
        falls_asleep(house, domid)
        await house.hear("power-state:3")
        await house.call("trigger", params="s3resume")
        await house.hear("power-state:0")
    assert house.silence() == []


async def test_a_sleep_that_a_device_model_notes_is_told_once(house: House) -> None:
    """The note of the sleep before is none."""
    domid = await started(house, XENVM_ACPI_POLL_S="0.02")
    for _ in range(2):
        await house.store.write(f"/local/domain/{domid}/power-state", "3")
        falls_asleep(house, domid)
        await house.hear("power-state:3")
        await house.call("trigger", params="s3resume")
        await house.hear("power-state:0")
    assert house.silence() == []


async def test_the_next_monitor_tells_of_waking_and_of_new_sleep(house: House) -> None:
    """The sleep itself was told by the one before."""
    domid = await started(house, XENVM_ACPI_POLL_S="0.02")
    falls_asleep(house, domid)
    await house.hear("power-state:3")
    await house.kill(house.monitors[-1])
    house.silence()
    await house.monitor(house.config(*HVM), XENVM_ACPI_POLL_S="0.02")
    await house.call("pause")  # in its turn: by now it knows what it found
    await house.call("unpause")
    await house.hear_states("running", "paused", "running")
    house.xen.set_hvm_param(domid, HvmParam.ACPI_S_STATE, 0)
    await house.hear("power-state:0")
    falls_asleep(house, domid)
    await house.hear("power-state:3")


def on_bridge(house: House, bridge: str) -> list[str]:
    return sorted(interface.name for interface in house.bridge(bridge).iterdir())


async def test_an_emulated_card_moves_to_another_network_too(house: House) -> None:
    house.bridge("br0")
    house.bridge("br1")
    domid = await started(house, "vif = bridge=br0,model=e1000")
    both = [f"tap{domid}.0", f"vif{domid}.0"]
    assert on_bridge(house, "br0") == both
    await house.call("nic_network_switch", id="0", network="br1")
    assert (on_bridge(house, "br0"), on_bridge(house, "br1")) == ([], both)


async def test_an_emulated_card_is_on_no_network_whose_bridge_only_a_daemon_knows(house: House) -> None:
    house.bridge("br0")
    domid = await started(house, "vif = bridge=br0,model=e1000")
    tap = f"tap{domid}.0"
    await house.call("nic_network_switch", id="0", network="/wired/0/bridged")
    assert tap not in on_bridge(house, "br0")
    await house.call("nic_network_switch", id="0", network="br0")
    assert tap in on_bridge(house, "br0")


async def test_an_emulated_card_of_a_daemons_network_is_on_no_bridge(house: House) -> None:
    house.bridge("br0")
    domid = await started(house, "vif = network=/wired/0/bridged,model=e1000")
    assert f"tap{domid}.0" not in on_bridge(house, "br0")


async def test_a_card_that_cannot_move_leaves_its_emulated_one_where_it_was(house: House) -> None:
    house.bridge("br0")
    domid = await started(house, "vif = bridge=br0,model=e1000")
    house.bridge("br1")
    (house.keeper.folder / "refused").write_text(f"vif{domid}.0 br1")
    with pytest.raises(RemoteError, match=f"cannot put vif{domid}.0 on br1"):
        await house.call("nic_network_switch", id="0", network="br1")
    assert on_bridge(house, "br0") == [f"tap{domid}.0", f"vif{domid}.0"]
    assert await house.store.read(f"/local/domain/0/backend/vif/{domid}/0/bridge") == "br0"
    assert "br1" not in str(await house.call("nic_list"))


async def test_firmware_finds_its_nodes(house: House) -> None:
    domid = await started(house, "acpi = true", "time-offset = 3600", "bios-string = oem-1=hello")
    home = f"/local/domain/{domid}"
    found = {
        "hvmloader/bios": "seabios",
        "hvmloader/allow-memory-relocate": "0",
        "platform/acpi": "1",
        "platform/device-model": "qemu_xen",
        "bios-strings/oem-1": "hello",
        "memory/tolum": "4026531840",
    }
    assert {key: await house.store.read(f"{home}/{key}") for key in found} == found
    assert await house.store.read(f"/vm/{UUID}/rtc/timeoffset") == "3600"


async def test_tables_of_the_host_reach_the_guest_when_they_are_asked_for(house: House) -> None:
    tables = house.keeper.folder / "tables"
    tables.mkdir(parents=True)
    (tables / "SLIC").write_bytes(b"SLIC" + bytes(36))
    (tables / "DMI").write_bytes(b"\x00\x04\0\0vendor\0\0" + b"\x08\x04\0\0\0\0" + b"\x7f\x04\0\0\0\0")
    domid = await started(house, "acpi-pt = true", "smbios-pt = true")
    home = f"/local/domain/{domid}/hvmloader"
    assert await house.store.read(f"{home}/acpi/length") == hex(40)
    assert await house.store.read(f"{home}/smbios/length") == hex(4 + 4 + 8)
    assert int(await house.store.read(f"{home}/acpi/address") or "", 16) > 0


async def test_switches_become_parameters_of_the_domain(house: House) -> None:
    domid = await started(house, "viridian = true", "hpet = 1", "timer-mode = 2", "vpt-align = 1")
    wanted = {
        HvmParam.VIRIDIAN: 0x65,
        HvmParam.HPET_ENABLED: 1,
        HvmParam.TIMER_MODE: 2,
        HvmParam.VPT_ALIGN: 1,
    }
    assert {param: house.xen.get_hvm_param(domid, param) for param in wanted} == wanted


async def test_a_guest_may_begin_with_less_memory_than_its_most(house: House) -> None:
    domid = await started(house, "memory = 32", "memory-max = 64")
    info = house.xen.info(domid)
    assert info is not None
    assert 32 * 1024 <= info.memory_kib < 34 * 1024 < 64 * 1024 < info.max_memory_kib
    assert await house.store.read(f"/local/domain/{domid}/memory/static-max") == str(64 * 1024)
    assert await house.store.read(f"/local/domain/{domid}/memory/target") == str(32 * 1024)


async def test_a_screen_has_its_port_told(house: House) -> None:
    domid = await started(house, "display = vnc:port=3")
    assert await house.store.read(f"/local/domain/{domid}/console/vnc-port") == "5903"
    assert await house.call("get_vnc") == "5903"
    assert await house.store.read(f"/local/domain/{domid}/memory/videoram") == str(8 * 1024)


async def test_an_emulated_card_is_on_its_bridge(house: House) -> None:
    bridge = house.bridge("br0")
    domid = await started(house, "vif = bridge=br0,model=e1000")
    assert {entry.name for entry in bridge.iterdir()} == {f"vif{domid}.0", f"tap{domid}.0"}


@pytest.mark.parametrize(
    ("name", "limit_s", "text"),
    [
        ("sim.model=absent", 30, 'Ioemu_failed.*QEMU ended: as the test asked"'),
        ("sim.model=silent", 1, "Ioemu_failed.*QEMU does not serve after 1 s"),
    ],
)
async def test_a_device_model_that_fails_leaves_nothing(
    house: House, name: str, limit_s: int, text: str
) -> None:
    before = await house.nodes()
    await house.monitor(house.config(*HVM, f"name = {name}", f"qemu-dm-timeout = {limit_s}"))
    with pytest.raises(RemoteError, match=text):
        await house.call("start")
    await house.hear_states("creating-domain", "creating-devices", "shutdown")
    assert house.domids() == models(house) == []
    assert await house.nodes() == before
    assert not socket(house).exists()


async def test_a_domain_whose_monitor_was_killed_keeps_its_device_model(house: House) -> None:
    config = house.config(*HVM)
    monitor = await house.monitor(config)
    await house.call("start")
    await house.hear_states(*START)
    (model,) = models(house)
    await house.kill(monitor)
    assert models(house) == [model]
    await house.monitor(config)
    await house.hear_states("running")
    await house.call("destroy")
    assert models(house) == house.domids() == []


async def test_of_a_start_that_was_killed_half_way_no_device_model_is_left(house: House) -> None:
    before = await house.nodes()
    config = house.config(*HVM, "name = sim.model=silent")
    monitor = await house.monitor(config)
    starting = asyncio.create_task(house.call("start"))
    await house.until(lambda: len(models(house)) == 1)
    await house.kill(monitor)
    await asyncio.gather(starting, return_exceptions=True)
    house.silence()
    await house.monitor(house.config(*HVM))
    await house.hear_states("shutdown")
    assert models(house) == house.domids() == []
    assert await house.nodes() == before


async def test_the_monitor_of_a_device_model_saves_its_state(house: House) -> None:
    await started(house)
    file = house.root / "devices"
    await save_devices(socket(house), file, 5)
    assert file.stat().st_size > 0
    async with open_monitor(socket(house), 5) as qmp:
        assert await qmp.do("query-status") == {"status": "paused"}
        with pytest.raises(QmpError, match="refuses no-such-command: The command no-such-command has not"):
            await qmp.do("no-such-command")


async def test_everything_that_hinders_a_start_is_told_at_once(house: House) -> None:
    script = house.root / "script"
    script.write_text("#!/bin/sh\n")
    lines = (
        f"kernel = {script}",
        "memory = 8",
        "display = vnc",
        "boot = xyz",
        "sound = theremin",
        "timer-mode = 9",
        "smbios-oem-types-pt = 7",
        f"disk = {script}:file:hda:r:disk:",
        "vif = bridge=none,model=ne3000",
    )
    await house.monitor(house.config(*HVM, *lines))
    with pytest.raises(RemoteError) as caught:
        await house.call("start")
    told = (
        "is not a kernel",
        "video memory",
        "boot=",
        "theremin",
        "timer-mode=9",
        "oem",
        "hda",
        "ne3000",
        "bridge none",
    )
    assert [word for word in told if word not in str(caught.value)] == []


async def target_kib(house: House) -> int:
    (domid,) = house.domids()
    return int(await house.store.read(f"/local/domain/{domid}/memory/target") or "")


async def saved(house: House, name: str = "saved") -> Path:
    (domid,) = house.domids()
    await house.guest_is_up(domid)
    await house.call("suspend", file=str(house.root / name))
    return house.root / name


async def test_a_guest_with_a_screen_has_as_much_memory_after_each_restore(house: House) -> None:
    await started(house, "display = vnc", "videoram = 16", "memory = 96", "memory-max = 128")
    before = await target_kib(house)
    assert before == (96 - 16) * 1024  # the screen's memory is not the balloon's
    for _ in range(2):
        await house.call("restore", file=str(await saved(house)))
        assert await target_kib(house) == before


async def test_a_new_memory_target_has_the_screen_in_it_like_the_first(house: House) -> None:
    await started(house, "display = vnc", "videoram = 16", "memory = 96", "memory-max = 128")
    with pytest.raises(RemoteError, match="16 MiB is not between 17 and 128"):
        await house.call("set_mem_target", mb="16")
    await house.call("set_mem_target", mb="128")
    assert await target_kib(house) == (128 - 16) * 1024
    await house.call("restore", file=str(await saved(house)))
    assert await target_kib(house) == (128 - 16) * 1024


async def test_a_file_of_an_earlier_release_has_its_target_without_the_screen_and_can_be_restored(
    house: House,
) -> None:
    await started(house, "display = vnc", "videoram = 16", "memory = 96")
    file = await saved(house)
    content = file.read_bytes()
    header = from_block(content[:BLOCK])
    old = replace(header, machine=replace(header.machine, memory_kib=(96 - 16) * 1024))
    file.write_bytes(as_block(old) + content[BLOCK:])
    await house.call("restore", file=str(file))
    assert await house.call("get_status") == "running"
    assert await target_kib(house) == (96 - 2 * 16) * 1024


@pytest.mark.parametrize("live", ["false", "true"])
async def test_an_hvm_guest_is_suspended_with_its_device_model_and_restored(house: House, live: str) -> None:
    before, file = await house.nodes(), house.root / "saved"
    domid = await started(house)
    await house.guest_is_up(domid)
    await house.call("suspend", file=str(file), live=live)
    await house.hear_states("suspending", "suspended")
    assert models(house) == house.domids() == []
    assert await house.nodes() == before
    await house.call("restore", file=str(file))
    await house.hear_states("restoring", *START)
    state = house.root / f"var/run/xenvm/qemu-state-{UUID}"
    assert option(house, "-incoming") == f"exec:cat {state}"
    assert not state.exists()
    assert not file.exists()
    await house.call("destroy")
    assert await house.nodes() == before


async def test_a_checkpointed_hvm_guest_runs_on_with_its_device_model(house: House) -> None:
    domid = await started(house)
    await house.guest_is_up(domid)
    await house.call("checkpoint", file=str(house.root / "saved"))
    await house.hear_states("suspending", "running")
    async with open_monitor(socket(house), 5) as qmp:
        assert await qmp.do("query-status") == {"status": "running"}
    assert not list((house.root / "var/run/xenvm").glob("qemu-state-*"))


async def discs(house: House) -> object:
    async with open_monitor(socket(house), 5) as qmp:
        return await qmp.do("query-block")


async def test_a_disc_changes_in_the_emulated_drive_too(house: House) -> None:
    first, second = house.file("first.iso"), house.file("second.iso")
    await started(house, f"disk = {first}:file:hdc:r:cdrom:")
    await house.call("cd_insert_file", virtpath="hdc", physpath=str(second))
    assert await discs(house) == [{"device": "ide2", "inserted": {"file": str(second)}}]
    await house.call("cd_eject", virtpath="hdc")
    assert await discs(house) == [{"device": "ide2"}]
