# SPDX-License-Identifier: GPL-2.0-or-later
"""Suspend to a file, restore, checkpoint and sleep, on the simulated host."""

import asyncio
import re
from pathlib import Path

import pytest
from xenvm_house import OTHER, START, UUID, House

from openxt_core.errors import RemoteError
from openxt_core.ids import Domid
from openxt_xen.hypervisor import HvmParam
from openxt_xenvm.saved.header import BLOCK

TICKS = "sim.ticks_s=0.02"
RESTORE = ["restoring", *START]


async def running(house: House, *lines: str, cmdline: str = TICKS, **environ: str) -> Domid:
    """A guest that counts."""
    await house.monitor(house.config(*lines, cmdline=cmdline), **environ)
    await house.call("start")
    (domid,) = house.domids()
    await house.guest_is_up(domid)
    house.silence()
    return domid


def saved(house: House, name: str = "saved") -> Path:
    return house.root / name


def console(house: House) -> str:
    log = house.root / "var/log/xen/console/guest-guest.log"
    return log.read_text() if log.exists() else ""


def ticks(house: House) -> list[int]:
    return [int(number) for number in re.findall(r"GUEST TICK (\d+)", console(house))]


async def counted(house: House, beyond: int = 0) -> int:
    await house.until(lambda: ticks(house) and ticks(house)[-1] > beyond)
    return ticks(house)[-1]


@pytest.mark.parametrize("kind", ["pv", "pvh"])
@pytest.mark.parametrize("live", ["false", "true"])
async def test_a_suspended_guest_goes_on_counting_when_it_is_restored(
    house: House, kind: str, live: str
) -> None:
    before = await house.nodes()
    first = await running(house, f"virt-type={kind}", f"disk = {house.file('d')}:file:xvda:w:disk:")
    await counted(house)
    await house.call("suspend", file=str(saved(house)), live=live)
    await house.hear("suspending", "suspended")
    assert house.domids() == []
    assert house.loops() == {}
    assert await house.nodes() == before
    last = ticks(house)[-1]
    await house.call("restore", file=str(saved(house)))
    await house.hear(*RESTORE)
    (second,) = house.domids()
    assert second != first
    await counted(house, beyond=last)
    assert ticks(house) == list(range(1, ticks(house)[-1] + 1))
    assert not saved(house).exists()
    await house.guest_is_up(second)
    await house.call("halt")
    await house.hear("shutdowning", "shutdown")
    assert await house.nodes() == before


async def test_a_checkpointed_guest_runs_on_and_can_be_restored_later(house: House) -> None:
    domid = await running(house)
    await counted(house)
    await house.call("checkpoint", file=str(saved(house)))
    await house.hear("suspending", "running")
    assert house.domids() == [domid]
    at = ticks(house)[-1]
    await counted(house, beyond=at + 3)
    await house.call("halt")
    await house.hear("shutdowning", "shutdown")
    await house.call("restore", file=str(saved(house)), delete="false")
    await house.hear(*RESTORE)
    assert saved(house).exists()
    await house.until(lambda: ticks(house)[-1] <= at + 3)


async def test_a_restored_guest_may_stay_paused(house: House) -> None:
    await running(house)
    await house.call("suspend", file=str(saved(house)))
    await house.call("restore", file=str(saved(house)), paused="true")
    await house.hear("suspending", "suspended", *RESTORE[:-1])
    assert await house.call("get_status") == "created"
    await house.call("unpause")
    await house.hear("running")


@pytest.mark.parametrize(("word", "stays"), [("restore", True), ("restore-del", False)])
async def test_a_monitor_may_begin_with_a_restore(house: House, word: str, stays: bool) -> None:
    await running(house)
    await house.call("suspend", file=str(saved(house)))
    await house.call("quit")
    await house.gone(house.monitors[0])
    house.silence()
    await house.monitor(house.config(f"startup = {word} {saved(house)}", cmdline=TICKS))
    await house.hear("suspended", *RESTORE)
    await house.until(lambda: saved(house).exists() is stays)


async def test_what_the_guest_was_made_of_comes_from_the_file_and_the_config_is_kept_for_later(
    house: House,
) -> None:
    await running(house)
    await house.call("suspend", file=str(saved(house)))
    await house.call("set", field="memory", value=str(96 * 1024))
    await house.call("restore", file=str(saved(house)))
    (domid,) = house.domids()
    assert await house.store.read(f"/local/domain/{domid}/memory/static-max") == str(64 * 1024)
    assert await house.call("get", field="memory") == str(96 * 1024)


async def test_a_guest_that_does_not_hear_is_not_suspended_and_nothing_is_left(house: House) -> None:
    domid = await running(house, cmdline="sim.shutdown=ignore", XENVM_ACKNOWLEDGE_S="0.2")
    with pytest.raises(RemoteError, match="Vm_not_listening_shutdown_request"):
        await house.call("suspend", file=str(saved(house)))
    await house.hear("suspending", "running")
    assert house.domids() == [domid]
    assert list(house.root.glob("saved*")) == []
    assert await house.store.read(f"/local/domain/{domid}/control/shutdown") == ""


async def test_a_guest_that_suspends_too_late_is_woken_up_again(house: House) -> None:
    cmdline = f"sim.shutdown_s=0.6 {TICKS}"
    await running(house, cmdline=cmdline, XENVM_SUSPEND_S="0.1")
    with pytest.raises(RemoteError):
        await house.call("suspend", file=str(saved(house)))
    await house.hear("suspending", "running")
    await house.until(lambda: "GUEST RESUMED" in console(house))
    await counted(house, beyond=await counted(house))
    assert await house.call("get_status") == "running"


async def test_a_guest_that_crashes_instead_of_suspending_is_followed_up(house: House) -> None:
    await running(house, cmdline="sim.shutdown=crash")
    with pytest.raises(RemoteError):
        await house.call("suspend", file=str(saved(house)))
    await house.hear("suspending", "running", "error:crashed", "shutdown")
    assert list(house.root.glob("saved*")) == []


@pytest.mark.parametrize("task", ["suspend", "checkpoint"])
async def test_a_folder_that_is_not_there_is_told_and_the_guest_runs_on(house: House, task: str) -> None:
    await running(house)
    with pytest.raises(RemoteError, match=r"Cannot_save.*No such file or directory"):
        await house.call(task, file=str(house.root / "no/such/file"))
    await house.hear("suspending", "running")
    await counted(house, beyond=await counted(house))


async def test_a_failed_save_leaves_an_older_file_as_it_was(house: House) -> None:
    await running(house)
    saved(house).write_bytes(b"older")
    house.xen.fail_next("save", 5)
    with pytest.raises(RemoteError, match="EIO"):
        await house.call("suspend", file=str(saved(house)))
    await house.hear("suspending", "running")
    assert saved(house).read_bytes() == b"older"
    assert list(house.root.glob("saved*")) == [saved(house)]


def damage(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


DAMAGES = {
    "it does not hold a suspended VM": lambda file: damage(file, 0),
    "it has format": lambda file: damage(file, 16),
    "its first block is damaged": lambda file: damage(file, 60),
    "it is damaged": lambda file: damage(file, -3),
    "it is too short": lambda file: file.write_bytes(b""),
    "bytes follow its first block": lambda file: file.write_bytes(file.read_bytes()[: BLOCK + 9]),
    "No such file": Path.unlink,
}


@pytest.mark.parametrize("says", DAMAGES)
async def test_a_file_that_is_not_as_it_was_is_refused_before_anything_happens(
    house: House, says: str
) -> None:
    await running(house)
    await house.call("suspend", file=str(saved(house)))
    await house.hear("suspending", "suspended")
    DAMAGES[says](saved(house))
    with pytest.raises(RemoteError, match=rf"Restore_signature_mismatch.*{says}"):
        await house.call("restore", file=str(saved(house)))
    assert house.silence() == []
    assert await house.call("get_status") == "suspended"


async def test_another_vms_file_is_refused(house: House) -> None:
    await running(house)
    await house.call("suspend", file=str(saved(house)))
    other = house.launch("--config", str(house.config(uuid=OTHER)))
    await house.until(lambda: house.bus.name_owner(f"org.xen.vm.uuid_{OTHER.replace('-', '_')}"))
    with pytest.raises(RemoteError, match=f"it holds VM {UUID}"):
        await house.call("restore", OTHER, file=str(saved(house)))
    other.terminate()


@pytest.mark.parametrize("call", ["create_domain", "set_max_memory", "restore", "unpause"])
async def test_a_failed_restore_leaves_the_file_and_nothing_else(house: House, call: str) -> None:
    before = await house.nodes()
    await running(house)
    await house.call("suspend", file=str(saved(house)))
    house.silence()
    house.xen.fail_next(call, 1)
    if call == "unpause":  # the domain is whole: it stays, paused
        await house.call("restore", file=str(saved(house)), delete="false")
        assert await house.call("get_status") == "created"
        return
    with pytest.raises(RemoteError, match="EPERM"):
        await house.call("restore", file=str(saved(house)))
    await house.hear("restoring", "creating-domain", "shutdown")
    assert house.domids() == []
    assert await house.nodes() == before
    assert saved(house).exists()
    await house.call("restore", file=str(saved(house)))
    await house.hear(*RESTORE)


async def test_destroy_overtakes_a_suspend_that_the_guest_ignores(house: House) -> None:
    before = await house.nodes()
    domid = await running(house, cmdline="sim.shutdown=ignore", XENVM_ACKNOWLEDGE_S="600")
    suspending = asyncio.create_task(house.call("suspend", file=str(saved(house))))
    request = f"/local/domain/{domid}/control/shutdown"
    await house.store.wait_until(request, lambda value: value == "suspend", 10)
    await house.call("destroy")
    with pytest.raises(RemoteError, match="overtaken"):
        await suspending
    await house.hear("suspending", "running", "shutdown")
    assert list(house.root.glob("saved*")) == []
    assert await house.nodes() == before


async def test_a_guest_sleeps_and_its_waking_is_told(house: House) -> None:
    domid = await running(house, XENVM_ACPI_POLL_S="0.02")
    await house.call("s3suspend", timeout="10")
    assert await house.call("get_acpi_state") == "3"
    await house.hear("power-state:3")
    await house.call("trigger", params="s3resume")
    await house.hear("power-state:0")
    assert house.xen.get_hvm_param(domid, HvmParam.ACPI_S_STATE) == 0


async def test_a_guest_hibernates(house: House) -> None:
    await running(house)
    await house.call("s4suspend", timeout="10")
    await house.hear("power-state:4", "shutdown")
    assert house.domids() == []


@pytest.mark.parametrize(("action", "status"), [("destroy", "shutdown"), ("preserve", "running")])
async def test_a_guest_that_crashes_instead_has_not_hibernated(
    house: House, action: str, status: str
) -> None:
    await running(house, f"on_crash = {action}", cmdline="sim.shutdown=crash")
    with pytest.raises(RemoteError, match="failed to put domain into s4: it crashed"):
        await house.call("s4suspend", timeout="10")
    assert await house.call("get_status") == status
    await house.call("destroy")  # in its turn: nothing of the crash is still to be told
    await house.hear("error:crashed", *["shutdown"] * (2 if action == "destroy" else 1))
    assert house.silence() == []


@pytest.mark.parametrize("task", ["s3suspend", "s4suspend"])
@pytest.mark.parametrize("lines", [("virt-type=pv",), ()])
async def test_a_guest_that_cannot_sleep_is_told_so(house: House, task: str, lines: tuple[str, ...]) -> None:
    await running(house, *lines, cmdline="sim.shutdown=hang", XENVM_ACKNOWLEDGE_S="0.2")
    if task == "s3suspend" and not lines:
        return  # this one sleeps whatever it does when it is to end
    with pytest.raises(RemoteError, match=f"failed to put domain into {task[:2]}"):
        await house.call(task, timeout="1")
    assert await house.call("get_status") == "running"
