# SPDX-License-Identifier: GPL-2.0-or-later
"""The order of what a start and an end of a VM show on the bus and in XenStore, recorded by a bus monitor.

**Source:** OpenXT xenmgr, 2015: its start sequence at a glance, and the order of its reactors.  Our own
additions between the steps (who asks for what is stored) are left out by naming what is looked at.
"""

from collections.abc import AsyncIterator, Sequence

import pytest
from bus_monitor import Message, monitored
from peers import INPUT, peer
from xenmgr_house import VM, XENMGR, Desk, desk

from openxt_api import ctxusb_daemon, input_daemon, network, network_daemon
from openxt_core.ids import xenvm_name
from openxt_core.spec import Interface

NETWORK = "com.citrix.xenclient.networkdaemon"
USB = "com.citrix.xenclient.usbdaemon"
NOTIFY = "xenvm.signal.notify"
PROPERTIES = "org.freedesktop.DBus.Properties"
STARTED = ["creating-domain", "creating-devices", "created", "running"]


@pytest.fixture
async def it() -> AsyncIterator[Desk]:
    async with desk() as opened:
        yield opened


def interfaces(module: object) -> tuple[Interface, ...]:
    return tuple(value for value in vars(module).values() if isinstance(value, Interface))


def shown(message: Message, vm: str) -> str | None:
    """A step in a few words; None for what is not looked at."""
    if message.kind == "signal":
        if message.interface == NOTIFY:
            return f"xenvm: {message.texts[2]}"
        if (message.interface, message.member) == (XENMGR, "vm_state_changed") and message.texts[1] == vm:
            return f"told: {' '.join(message.texts[2:])}"
        return None
    if message.destination.startswith("org.xen.vm."):
        return f"to xenvm: {message.member} {' '.join(message.texts)}".strip()
    if message.destination in (NETWORK, USB, INPUT) and message.interface != PROPERTIES:
        return (
            f"to {message.destination.rpartition('.')[2]}: {message.member} {' '.join(message.texts)}".strip()
        )
    return f"call: {message.member}" if message.interface == VM else None


def in_order(steps: Sequence[str], *expected: str) -> None:
    """Each of these is there, behind the one before."""
    at = 0
    for wanted in expected:
        rest = list(steps[at:])
        assert wanted in rest, (
            f"{wanted!r} does not come after {steps[at - 1] if at else 'the beginning'!r}: {rest}"
        )
        at += rest.index(wanted) + 1


async def steps_of(it: Desk, vm: str, *members: str) -> list[str]:
    """What is seen while these methods of the VM are called, one after another."""
    uuid, address = it.uuid(vm), it.house.layout.bus_address
    rules = (
        f"type='signal',interface='{NOTIFY}'",
        f"type='signal',interface='{XENMGR}',member='vm_state_changed'",
        f"type='method_call',destination='{xenvm_name(uuid)}'",
        f"type='method_call',interface='{VM}'",
        *(f"type='method_call',destination='{name}'" for name in (NETWORK, USB, INPUT)),
    )
    async with monitored(it.house.bus, address, *rules) as monitor:
        for member in members:
            await it.vm(vm, member)
        seen = await monitor.so_far()
    return [step for one in seen if (step := shown(one, vm)) is not None]


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
