# SPDX-License-Identifier: GPL-2.0-or-later
"""Every signal of xenmgr: what causes it, and what it says.

The cases come from the interface files; one without a row fails.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from member_machine import DRIVE, tidy
from member_tables import INTERFACES
from peers import INPUT, peer
from xenmgr_house import XENMGR, Desk

from openxt_api import input_daemon
from openxt_api.xenmgr import XENMGR_CONFIG, XENMGR_CONFIG_UI
from openxt_api.xenmgr_host import XENMGR_HOST
from openxt_bus.connection import Bus, Signal
from openxt_core.signature import check_body

in_module = pytest.mark.asyncio(loop_scope="module")

Cause = Callable[[Desk, str], Awaitable[list[Any]]]
"""Brings a signal about, with a VM that can be started, and gives what it must say."""


@pytest_asyncio.fixture(loop_scope="module")
async def it(furnished: Desk) -> AsyncIterator[Desk]:
    furnished.signals.clear()
    before, vms = await furnished.db("dump", "/"), await furnished.root("list_vms")
    yield furnished
    await tidy(furnished, before, set(vms))


async def _created(it: Desk, _vm: str) -> list[Any]:
    path = await it.root("create_vm")
    return [it.uuid(path), path]


async def _deleted(it: Desk, vm: str) -> list[Any]:
    await it.vm(vm, "delete")
    return [it.uuid(vm), vm]


async def _configured(it: Desk, vm: str) -> list[Any]:
    await it.set(vm, "description", "s", "another")
    return [it.uuid(vm), vm]


async def _named(it: Desk, vm: str) -> list[Any]:
    await it.set(vm, "name", "s", "another")
    return [it.uuid(vm), vm]


async def _transferred(it: Desk, vm: str) -> list[Any]:
    await it.set(vm, "download-progress", "i", 0)  # also when it stays the same
    return [it.uuid(vm), vm]


async def _started(it: Desk, vm: str) -> list[Any]:
    await it.vm(vm, "start")
    return [it.uuid(vm), vm, "running", 0]


async def _set_up(it: Desk, _vm: str) -> list[Any]:
    await it.set("/", "autostart", "b", False, XENMGR_CONFIG.name)
    return []


async def _spoken(it: Desk, _vm: str) -> list[Any]:
    await it.set("/", "language", "s", "de-de", XENMGR_CONFIG_UI.name)
    return []


async def _assigned(it: Desk, vm: str) -> list[Any]:
    uuid = it.uuid(vm)
    await it.call("/host", XENMGR_HOST.name, "assign_cd_device", "sbs", DRIVE, True, uuid)
    return [DRIVE, uuid, vm]


async def _gathering(it: Desk, vm: str) -> list[Any]:
    await it.set(vm, "pv-addons", "b", True)
    await it.vm(vm, "start")
    diag = f"{XENMGR}.diag"
    saving = asyncio.create_task(it.call("/", diag, "save", "s", "some"))
    await it.until(lambda: ("gather_request", ["some"]) in it.signals)
    await it.call("/", diag, "gather", "ss", "a", "00")
    assert [file.name for file in Path(await saving).iterdir()] == ["a"]
    return ["some"]


async def _wanting_attention(it: Desk, vm: str) -> list[Any]:
    await it.vm(vm, "start")
    socket = it.places.run / "guests" / str(await it.get(vm, "domid")) / "5555"
    guest = await Bus.connect(f"unix:path={socket}")
    await guest.call(XENMGR, "/", f"{XENMGR}.guestreq", "request_attention")
    guest.close()
    return [it.uuid(vm), vm]


async def _slept(it: Desk, _vm: str) -> list[Any]:
    await it.call("/host", XENMGR_HOST.name, "sleep")
    assert [body for name, body in it.signals if name == "state_changed"] == [["sleeping"], ["idle"]]
    return ["idle"]


async def _full(it: Desk, _vm: str) -> list[Any]:
    """A host that finds its disk full enough when it starts."""
    await it.db("write", "/xenmgr/storage-space-low-percent", "100")
    await it.restart()
    await it.until(lambda: any(name == "storage_space_low" for name, _ in it.signals))
    (body,) = [body for name, body in it.signals if name == "storage_space_low"]
    assert 0 <= body[0] <= 100
    return body


CAUSES: dict[str, Cause] = {
    "vm_config_changed": _configured,
    "vm_state_changed": _started,
    "vm_name_changed": _named,
    "config_changed": _set_up,
    "language_changed": _spoken,
    "vm_created": _created,
    "vm_deleted": _deleted,
    "vm_transfer_changed": _transferred,
    "cd_assignment_changed": _assigned,
    "gather_request": _gathering,
    "requested_attention": _wanting_attention,
    "state_changed": _slept,
    "storage_space_low": _full,
}
NEVER_SENT = {
    "network_state_changed",  # as in the original
    "license_changed",  # no licence is needed
}
SIGNALS = [(face, signal) for face in INTERFACES for signal in face.signals]
NAMES = [signal.name for _, signal in SIGNALS]


def test_every_signal_has_a_row_and_no_row_is_of_another() -> None:
    assert sorted(NAMES) == sorted({**CAUSES, **dict.fromkeys(NEVER_SENT)})
    assert len(NAMES) == 15


@pytest.mark.parametrize("name", [name for name in NAMES if name in CAUSES])
@in_module
async def test_its_cause_has_it_sent_from_its_object_with_what_happened(name: str, it: Desk) -> None:
    ((face, declared),) = [(face, signal) for face, signal in SIGNALS if signal.name == name]
    heard: list[Signal] = []
    it.hear = heard.append
    expected = await CAUSES[name](it, await it.create())
    await it.until(lambda: any(one.member == name and list(one.body) == expected for one in heard))
    (told, *_) = [one for one in heard if one.member == name]
    assert told.path == ("/host" if face.name == XENMGR_HOST.name else "/")
    assert told.interface == face.name
    check_body(told.body, declared.signature)


@in_module
async def test_a_host_that_nobody_uses_goes_to_sleep(it: Desk) -> None:
    objects = {"/": (input_daemon.INPUT,)}
    async with peer(it.house.layout.bus_address, INPUT, objects, get_idle_time=60) as there:
        await it.db("write", "/xenmgr/idle-time-threshold", "61")
        await it.restart()
        await it.until(lambda: ("get_idle_time",) in there.calls)
        assert await it.get("/host", "state", XENMGR_HOST.name) == "idle"
        await it.db("write", "/xenmgr/idle-time-threshold", "60")
        await it.restart()
        await it.until(lambda: ("state_changed", ["sleeping"]) in it.signals)
        await it.until(lambda: ("state_changed", ["idle"]) in it.signals)
