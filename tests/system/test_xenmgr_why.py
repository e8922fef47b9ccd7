# SPDX-License-Identifier: GPL-2.0-or-later
"""What a VM needs, and why it cannot start: asked over the bus, and what a start makes of it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from xenmgr_house import Desk, desk

from openxt_api.xenmgr_vm_why import XENMGR_VM_WHY


@pytest.fixture
async def it() -> AsyncIterator[Desk]:
    async with desk() as opened:
        yield opened


async def why(it: Desk, path: str, member: str, *texts: str) -> Any:
    return await it.call(path, XENMGR_VM_WHY.name, member, "s" * len(texts), *texts)


async def needing(it: Desk, path: str, *others: str) -> None:
    for other in others:
        await why(it, path, "add_needed", it.uuid(other))


async def test_what_it_needs_starts_first_and_stops_last(it: Desk) -> None:
    desktop, router, base = [await it.create() for _ in range(3)]
    await needing(it, desktop, router)
    await needing(it, router, base)
    assert await it.get(desktop, "dependencies") == [base, router]
    assert await why(it, desktop, "list_needed") == [it.uuid(router)]
    await it.vm(desktop, "start")
    told = [body[1] for name, body in it.signals if name == "vm_state_changed" and body[2] == "running"]
    assert told == [base, router, desktop]
    assert await why(it, base, "stop_order") == [desktop, router, base]
    await it.vm(desktop, "destroy")
    assert await why(it, base, "stop_order") == [router, base]


async def test_a_name_is_kept_once_and_taken_back(it: Desk) -> None:
    path, other = await it.create(), await it.create()
    await needing(it, path, other, other)
    assert await it.db("list", f"/vm/{it.uuid(path)}/dependencies") == ["0"]
    await why(it, path, "remove_needed", it.uuid(other))
    assert await it.get(path, "dependencies") == []


async def test_a_circle_is_refused_with_the_names_and_a_stored_one_is_told(it: Desk) -> None:
    one, two = await it.create(), await it.create()
    await it.set(two, "name", "s", "router")
    await needing(it, one, two)
    assert "router" in await it.fails(why(it, two, "add_needed", it.uuid(one)))
    assert "circle" in await it.fails(why(it, one, "add_needed", it.uuid(one)))
    assert "there is no VM" in await it.fails(why(it, one, "add_needed", "0" * 8 + it.uuid(one)[8:]))
    await it.db("write", f"/vm/{it.uuid(two)}/dependencies/0", it.uuid(one))
    (circle,) = await why(it, one, "why_not_start")
    assert "router" in circle
    assert "guest" in circle
    assert await it.fails(it.vm(one, "start")) == circle
    assert (await it.state(one), await it.state(two)) == ("stopped", "stopped")


async def test_one_report_says_everything_and_a_start_says_the_same(it: Desk) -> None:
    path, other = await it.create(memory="0", notify=""), await it.create(memory="0")
    await needing(it, path, other)
    report = await why(it, path, "why_not_start")
    assert [line for line in report if "config/notify" in line or "config/memory" in line] == report
    assert f"it needs VM guest ({it.uuid(other)})" in report[-1]
    text = await it.fails(it.vm(path, "start"))
    assert all(line in text for line in report[:-1])
    assert await it.state(other) == "stopped"


async def test_a_vm_that_can_start_has_no_reason_not_to(it: Desk) -> None:
    path, backend = await it.create(nic={"0": {"backend-name": "net"}}), await it.create()
    assert (await why(it, path, "why_not_start"))[0].startswith("232:")
    await it.set(backend, "name", "s", "net")
    assert await why(it, path, "why_not_start") == []
    await it.set(path, "track-dependencies", "b", False)
    assert (await why(it, path, "why_not_start"))[0].startswith("232:")
    await it.vm(backend, "start")
    assert await why(it, backend, "why_not_start") == [f"VM {it.uuid(backend)} runs already"]


async def test_it_tells_what_changed_since_the_last_start(it: Desk) -> None:
    path = await it.create()
    assert "never started" in await it.fails(why(it, path, "changed_since_start"))
    await it.vm(path, "start")
    assert await why(it, path, "changed_since_start") == []
    await it.set(path, "memory", "i", 80)
    await it.set(path, "description", "s", "mine")
    await it.restart()
    changes = sorted(map(tuple, await why(it, path, "changed_since_start")))
    assert changes == [
        ("config/memory", '"64"', '"80"'),
        ("description", '"Linux (Debian, Ubuntu)"', '"mine"'),
    ]


async def test_who_needs_a_vm_that_cannot_start_hears_which_it_is(it: Desk) -> None:
    """Its monitor finds a disk missing: that this is not the caller's own disk must be said."""
    path = await it.create(nic={"0": {"backend-name": "net"}})
    absent = str(it.places.storage / "absent.img")
    backend = await it.create(disk={"1": {"path": absent, "type": "file", "device": "xvda"}})
    await it.set(backend, "name", "s", "net")
    text = await it.fails(it.vm(path, "start"))
    assert text.startswith(f"199:it needs VM net ({it.uuid(backend)}), which cannot start: ")
    assert absent in text
    assert (await it.state(path), await it.state(backend)) == ("stopped", "stopped")


@pytest.mark.parametrize("kind", ["pv", "pvh"])
async def test_a_guest_without_a_kernel_is_told_that_none_is_set(it: Desk, kind: str) -> None:
    path = await it.create(**{"virt-type": kind, "kernel": ""})
    (reason,) = await why(it, path, "why_not_start")
    assert "no kernel is set" in reason
    assert await it.fails(it.vm(path, "start")) == reason
    kernel = it.places.at(f"/tmp/kernel-{it.uuid(path)}")
    kernel.write_text("put there by somebody else")
    assert await why(it, path, "why_not_start") == []
