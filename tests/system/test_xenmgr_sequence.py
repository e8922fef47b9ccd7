# SPDX-License-Identifier: GPL-2.0-or-later
"""The order of what a start and an end of a VM show on the bus and in XenStore, recorded by a bus monitor.

**Source:** OpenXT xenmgr, 2015: its start sequence at a glance, and the order of its reactors.  Our own
additions between the steps (who asks for what is stored) are left out by naming what is looked at.
"""

from collections.abc import AsyncIterator

import pytest
from peers import INPUT, NETWORK, USB, peer
from start_recorder import in_order, recording
from xenmgr_house import Desk, desk

from openxt_api import ctxusb_daemon, input_daemon, network, network_daemon
from openxt_core.spec import Interface

STARTED = ["creating-domain", "creating-devices", "created", "running"]


@pytest.fixture
async def it() -> AsyncIterator[Desk]:
    async with desk() as opened:
        yield opened


def interfaces(module: object) -> tuple[Interface, ...]:
    return tuple(value for value in vars(module).values() if isinstance(value, Interface))


async def steps_of(it: Desk, vm: str, *members: str) -> list[str]:
    async with recording(it, vm) as recorder:
        return await recorder.steps_of(*members)


async def test_a_start_is_seen_in_the_original_s_order(it: Desk) -> None:
    hooks = it.places.storage / "hooks"
    vm = await it.create()
    for name in ("run-pre-boot", "run-on-state-change"):
        script = it.places.storage / name
        script.write_text(f'#!/bin/sh\necho "{name} $2" >> {hooks}\n')
        script.chmod(0o755)
        await it.set(vm, name, "s", str(script))
    steps = await steps_of(it, vm, "start")
    in_order(
        steps,
        "call: start",
        "told: creating 5",  # pre-create: there is no domain yet
        "xenvm: ping",
        "xenvm: dbus-rpc-up",
        "to xenvm: get field required-to-boot-kib",
        "to xenvm: start paused true",
        "xenvm: vm:state:creating-domain",
        "xenvm: vm:state:creating-devices",
        "xenvm: vm:state:created",
        "to xenvm: unpause",
        "xenvm: vm:state:running",
        "told: running 0",
    )
    assert [step for step in steps if step.startswith("xenvm: vm:state:")] == [
        f"xenvm: vm:state:{state}" for state in STARTED
    ]
    assert [step.split()[1] for step in steps if step.startswith("told: ")] == ["creating"] * 4 + ["running"]
    await it.until(lambda: hooks.read_text().splitlines()[-1] == "run-on-state-change running")
    assert [line for line in hooks.read_text().splitlines() if "change" in line] == [
        "run-on-state-change creating",
        "run-on-state-change running",
    ]


async def test_the_second_start_has_the_monitor_read_its_configuration_again(it: Desk) -> None:
    vm = await it.create()
    steps = await steps_of(it, vm, "start", "destroy", "start")
    second = steps[steps.index("call: destroy") :]
    in_order(
        second,
        "call: destroy",
        "to xenvm: destroy",
        "xenvm: vm:state:shutdown",
        "told: stopped 5",
        "call: start",
        "told: creating 5",
        "to xenvm: read_config",
        "to xenvm: start paused true",
        "xenvm: vm:state:created",
        "to xenvm: unpause",
        "told: running 0",
    )
    assert "xenvm: ping" not in second


async def test_a_shutdown_is_seen_in_the_original_s_order(it: Desk) -> None:
    vm = await it.create()
    await it.vm(vm, "start")
    await it.listens(vm)
    in_order(
        await steps_of(it, vm, "shutdown"),
        "call: shutdown",
        "to xenvm: halt",
        "xenvm: vm:state:shutdowning",
        "told: stopping 0",
        "xenvm: vm:state:shutdown",
        "told: stopped 5",
    )
    assert await it.house.xenstore.list("/xenmgr/vms") == []


async def test_other_daemons_hear_of_a_network_vm_before_clients_are_told(it: Desk) -> None:
    """The network daemon is asked and told, the USB daemon told, and only then the state is."""
    address = it.house.layout.bus_address
    vm = await it.create()
    await it.set(vm, "provides-network-backend", "b", True)
    async with (
        peer(address, NETWORK, {"/": (*interfaces(network_daemon), *interfaces(network))}) as net,
        peer(address, USB, {"/": interfaces(ctxusb_daemon)}) as usb,
        peer(address, INPUT, {"/": (input_daemon.INPUT,)}),
    ):
        for name in (NETWORK, USB, INPUT):
            await it.until_there(name)
        steps = await steps_of(it, vm, "start", "destroy")
        domid = next(step.split()[-2] for step in steps if "ndvm_status" in step)
        in_order(
            steps,
            "xenvm: vm:state:created",
            "xenvm: vm:state:running",
            f"to networkdaemon: ndvm_status {it.uuid(vm)} {domid} 1",
            "told: running 0",
            "xenvm: vm:state:shutdown",
            f"to networkdaemon: ndvm_status {it.uuid(vm)} -1 0",
            "told: stopped 5",
        )
        await it.until(lambda: ("vm_stopped", int(domid)) in usb.calls)
        assert ("new_vm", int(domid)) in usb.calls
        assert [call[0] for call in net.calls].count("ndvm_status") == 2
    assert await it.house.xenstore.read("/local/domain/0/backend-domid") is not None


async def test_each_event_is_worked_through_before_the_next(it: Desk) -> None:
    """Node, hook and signal of one state come before those of the next, whatever comes quickly."""
    vm = await it.create()
    node = f"/vm/{it.uuid(vm)}/state"
    steps = await steps_of(it, vm, "start", "pause", "unpause", "destroy")
    told = [step.split()[1] for step in steps if step.startswith("told: ")]
    assert told == ["creating"] * 4 + ["running", "paused", "running", "stopped"]
    own = [step.rpartition(":")[2] for step in steps if step.startswith("xenvm: vm:state:")]
    assert own == [*STARTED, "paused", "running", "shutdown"]
    assert await it.house.xenstore.read(node) == "shutdown"
