# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM's life under its monitor, on a private bus and the simulated Xen host."""

import asyncio
import os
from pathlib import Path

import pytest
from xenvm_house import START, UUID, House

from openxt_core.errors import RemoteError

IGNORES = "sim.shutdown=ignore"
NOTELESS = Path(__file__).with_name("noteless_xenvm.py")
MORE_THAN_ANY_MEMORY = 1 << 43


@pytest.fixture(params=["pvh", "pv"])
def kind(request: pytest.FixtureRequest) -> str:
    return f"virt-type = {request.param}"


async def test_start_tells_every_state_and_the_guest_comes_up(house: House, kind: str) -> None:
    await house.monitor(house.config(kind))
    await house.call("start")
    await house.hear(*START)
    (domid,) = house.domids()
    await house.guest_is_up(domid)
    assert await house.call("get_domid") == str(domid)
    assert await house.call("get_status") == "running"
    assert await house.store.read(f"/local/domain/{domid}/name") == "guest"


async def test_a_signal_of_a_task_comes_before_its_reply(house: House) -> None:
    await house.monitor(house.config())
    await house.call("start")
    assert house.silence() == [f"vm:state:{state}" for state in START]


async def test_nothing_is_left_after_a_halt(house: House, kind: str) -> None:
    before = await house.nodes()
    await house.monitor(house.config(kind, "vkbd=true", "vfb=true", "vsnd=true", "v4v=true"))
    await house.call("start")
    await house.guest_is_up(house.domids()[0])
    house.silence()
    await house.call("halt")
    await house.hear("shutdowning", "shutdown")
    assert await house.nodes() == before
    assert house.domids() == []
    assert not house.record().exists()
    assert await house.call("get_domid") == "-1"


async def test_a_forced_halt_needs_no_guest(house: House) -> None:
    await house.monitor(house.config(cmdline=IGNORES))
    await house.call("start")
    house.silence()
    await house.call("halt", forced="true")
    await house.hear("shutdowning", "shutdown")


async def test_a_guest_that_ignores_a_halt_goes_on_running(house: House) -> None:
    await house.monitor(house.config(cmdline=IGNORES), XENVM_ACKNOWLEDGE_S="0.2")
    await house.call("start")
    (domid,) = house.domids()
    await house.guest_is_up(domid)
    house.silence()
    with pytest.raises(RemoteError, match="exception: Vm_not_listening_shutdown_request"):
        await house.call("halt")
    assert house.silence() == []
    assert await house.call("get_status") == "running"
    assert await house.store.read(f"/local/domain/{domid}/control/shutdown") == ""


async def test_a_guest_that_never_ends_is_given_up(house: House) -> None:
    await house.monitor(house.config(cmdline="sim.shutdown=hang"), XENVM_SHUTDOWN_S="0.2")
    await house.call("start")
    await house.guest_is_up(house.domids()[0])
    house.silence()
    with pytest.raises(RemoteError, match="exception: Vm_didnt_shutdown"):
        await house.call("halt")
    await house.hear("shutdowning", "running")


async def test_a_guest_that_crashes_instead_of_halting_is_destroyed(house: House) -> None:
    before = await house.nodes()
    await house.monitor(house.config(cmdline="sim.shutdown=crash"))
    await house.call("start")
    await house.guest_is_up(house.domids()[0])
    house.silence()
    with pytest.raises(RemoteError, match=r'exception: Vm_shutdown_wrong_reason\("crashed"\)'):
        await house.call("halt")
    await house.hear_states("shutdowning", "shutdown")
    assert await house.nodes() == before


async def test_destroy_is_told_even_when_there_is_nothing(house: House) -> None:
    await house.monitor(house.config())
    await house.call("destroy")
    await house.hear("shutdown")


async def test_destroy_overtakes_a_halt_that_the_guest_ignores(house: House) -> None:
    before = await house.nodes()
    await house.monitor(house.config(cmdline=IGNORES), XENVM_ACKNOWLEDGE_S="600")
    await house.call("start")
    (domid,) = house.domids()
    await house.guest_is_up(domid)
    house.silence()
    halting = asyncio.create_task(house.call("halt"))
    request = f"/local/domain/{domid}/control/shutdown"
    await house.store.wait_until(request, lambda value: value == "poweroff", 10)
    await house.call("destroy")
    with pytest.raises(RemoteError, match=r"exception: Vm_bad_state\(.*overtaken"):
        await halting
    await house.hear("shutdown")
    assert await house.nodes() == before


async def test_pause_and_unpause(house: House) -> None:
    await house.monitor(house.config())
    await house.call("start", paused="true")
    await house.hear("creating-domain", "creating-devices", "created")
    (domid,) = house.domids()
    await house.call("unpause")
    await house.hear("running")
    await house.call("pause")
    await house.hear("paused")
    info = house.xen.info(domid)
    assert info is not None
    assert info.paused
    await house.call("unpause")
    await house.hear("running")


async def test_reboot_leaves_the_start_to_others(house: House) -> None:
    await house.monitor(house.config())
    await house.call("start")
    await house.guest_is_up(house.domids()[0])
    house.silence()
    await house.call("reboot")
    await house.hear("shutdowning", "rebooting", "rebooted")
    assert house.domids() == []
    await house.call("destroy")
    await house.call("start")
    await house.hear("shutdown", *START)


async def test_reboot_with_auto_start_makes_a_new_domain(house: House) -> None:
    await house.monitor(house.config())
    await house.call("start")
    (old,) = house.domids()
    await house.guest_is_up(old)
    house.silence()
    await house.call("reboot", auto_start="true")
    await house.hear("shutdowning", "rebooting", *START)
    assert house.domids() != [old]


@pytest.mark.parametrize(
    ("lines", "deed", "trace"),
    [
        ((), "poweroff", ["shutdown"]),
        (("on_restart=preserve",), "reboot", ["rebooted"]),
        (("on_restart=destroy",), "reboot", ["rebooted", "shutdown"]),
        (("on_restart=restart",), "reboot", ["rebooted", *START]),
        (("on_crash=destroy",), "crash", ["error:crashed", "shutdown"]),
        (("on_crash=restart",), "crash", ["error:crashed", *START]),
        (("on_halt=restart",), "poweroff", START),
    ],
)
async def test_what_follows_when_the_guest_ends_by_itself(
    house: House, lines: tuple[str, ...], deed: str, trace: list[str]
) -> None:
    await house.monitor(house.config(*lines))
    await house.call("start")
    (domid,) = house.domids()
    await house.guest_is_up(domid)
    house.silence()
    if deed == "poweroff":
        await house.store.write(f"/local/domain/{domid}/control/shutdown", "poweroff")
    else:
        getattr(house.xen, deed)(domid)
    await house.hear(*trace)


async def test_a_changed_config_applies_when_the_guest_restarts(house: House) -> None:
    await house.monitor(house.config("on_restart=restart"))
    await house.call("start")
    (domid,) = house.domids()
    await house.guest_is_up(domid)
    house.silence()
    house.config("on_restart=restart", "vcpus=3")
    house.xen.reboot(domid)
    await house.hear("rebooted", *START)
    info = house.xen.info(house.domids()[0])
    assert info is not None
    assert info.vcpus == 3


async def test_a_domain_that_somebody_else_destroyed_is_cleaned_up(house: House) -> None:
    before = await house.nodes()
    await house.monitor(house.config())
    await house.call("start")
    house.silence()
    house.xen.destroy_domain(house.domids()[0])
    await house.hear("shutdown")
    await house.until(lambda: not house.record().exists())
    assert await house.nodes() == before


async def test_two_callers_at_once_make_one_domain(house: House) -> None:
    await house.monitor(house.config())
    answers = await asyncio.gather(house.call("start"), house.call("start"), return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), RemoteError]
    assert "Vm_is_already_created" in str(answers[1])
    assert len(house.domids()) == 1


async def test_watched_nodes_are_told(house: House) -> None:
    await house.monitor(house.config())
    await house.call("start")
    (domid,) = house.domids()
    house.silence()
    await house.store.write(f"/local/domain/{domid}/power-state", "3")
    await house.hear("power-state:3")
    await house.store.write(f"/vm/{UUID}/rtc/timeoffset", "-60")
    await house.hear("rtc:-60")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("virt-type = hvm", "qemu-dm-path is empty"),
        ("qemu-dm-path = /usr/sbin/svirt-interpose", "exception: qemu-dm-path"),
        (
            "disk = /d:vdi:xvda:w:disk:",
            r"exception: disk xvda of type vdi \(the storage daemon\): not built yet",
        ),
        ("disk = /no/such:file:xvda:w:disk:", "InvalidConfig.*disk xvda: cannot open /no/such"),
        ("vif =", "InvalidConfig.*nic 0: the host has no bridge"),
        ("vif = bridge=br7", "InvalidConfig.*nic 0: the host has no bridge br7"),
        ("pci = 0,bind,0000:00:1f.3", "InvalidConfig.*pci"),
        ("vcpus = 500", "exception: InvalidConfig"),
        ("kernel = /no/such/kernel", "exception: InvalidConfig"),
        ("memory = 9000000", "exception: Not_enough_free_memory"),
    ],
)
async def test_a_start_that_cannot_be_names_the_key(house: House, line: str, text: str) -> None:
    before = await house.nodes()
    await house.monitor(house.config(line))
    with pytest.raises(RemoteError, match=text):
        await house.call("start")
    assert house.silence() == []
    assert await house.nodes() == before
    assert not house.record().exists()


@pytest.mark.parametrize("task", ["halt", "reboot", "pause", "unpause"])
async def test_a_stopped_vm_refuses_what_needs_a_domain(house: House, task: str) -> None:
    await house.monitor(house.config())
    with pytest.raises(RemoteError, match="exception: Vm_bad_state"):
        await house.call(task)


async def test_quit_leaves_the_domain_and_says_so(house: House) -> None:
    monitor = await house.monitor(house.config())
    await house.call("start")
    house.silence()
    await house.call("quit")
    await house.hear("hup")
    assert await house.gone(monitor) == 0
    assert len(house.domids()) == 1
    assert house.record().exists()


async def test_a_second_monitor_of_a_vm_ends_with_1(house: House) -> None:
    config = house.config()
    await house.monitor(config)
    second = house.launch("--config", str(config))
    assert await house.gone(second) == 1


async def test_balloon_target_within_the_maximum(house: House) -> None:
    await house.monitor(house.config())
    with pytest.raises(RemoteError, match="no domain id"):
        await house.call("set_mem_target", mb="32")
    await house.call("start")
    await house.call("set_mem_target", mb="32")
    (domid,) = house.domids()
    assert await house.store.read(f"/local/domain/{domid}/memory/target") == "32768"
    with pytest.raises(RemoteError, match="65 MiB"):
        await house.call("set_mem_target", mb="65")


async def test_a_balloon_target_does_not_bring_back_what_is_removed(house: House) -> None:
    """As by a stop that is under way."""
    await house.monitor(house.config())
    await house.call("start")
    (domid,) = house.domids()
    await house.store.rm(f"/local/domain/{domid}/memory")
    with pytest.raises(RemoteError, match=f"domain {domid} is about to go"):
        await house.call("set_mem_target", mb="32")
    assert await house.store.read(f"/local/domain/{domid}/memory") is None


async def test_a_crash_leaves_a_note_with_its_reason_and_the_last_words(house: House) -> None:
    """However much was said before."""
    log = house.root / "var/log/xen/console/guest-guest.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()
    os.truncate(log, MORE_THAN_ANY_MEMORY)
    await house.monitor(house.config(cmdline='sim.ready="the last words"'))
    await house.call("start")
    (domid,) = house.domids()
    await house.guest_is_up(domid)
    house.xen.crash(domid)
    await house.hear(*START, "error:crashed", "shutdown")
    (note,) = (house.root / "var/log/xenvm").iterdir()
    text = note.read_text()
    assert f"VM {UUID} ('guest'), domain {domid}, pvh: crash\n" in text
    assert "  'the last words'\n" in text
    assert f"  (XEN) Domain {domid} shutdown: reason 3 (crash)\n" in text
    assert note.stat().st_mode & 0o777 == 0o600


async def test_a_crash_without_a_note_is_followed_up_all_the_same(house: House) -> None:
    house.launch_program([str(NOTELESS)], house.config("on_crash = restart"))
    await house.hear("ping", "dbus-rpc-up")
    await house.call("start")
    (domid,) = house.domids()
    house.xen.crash(domid)
    await house.hear(*START, "error:crashed", *START)
    assert domid not in house.domids()


async def test_a_guest_that_crashes_at_once_is_restarted_a_few_times_only(house: House) -> None:
    cmdline = "sim.boot=crash sim.boot_s=0"
    await house.monitor(house.config("on_crash = restart", cmdline=cmdline))
    await house.call("start")
    for _ in range(4):
        await house.hear(*START, "error:crashed")
    await house.hear(*START, "error:crashed", "error:it ended 5 times in a row within 10 s of its start")
    await house.hear("shutdown")
    assert house.domids() == []
    assert len(list((house.root / "var/log/xenvm").iterdir())) == 5
