# SPDX-License-Identifier: GPL-2.0-or-later
"""A start as one list of steps: what goes over the bus, which programs are run, what is there by then.

Stand-ins of programs call the recorder over the bus and wait for its answer.  So they stand in the bus
monitor's list at their place, and what the recorder sees meanwhile in XenStore and in files is what is there
at that step: nothing else goes on in that VM.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from bus_monitor import Message, monitored
from peers import INPUT, NETWORK, SURFMAN, USB
from xenmgr_house import VM, XENMGR, Desk

from openxt_bus.connection import Bus
from openxt_bus.export import Face, ObjectTree
from openxt_core.ids import Uuid, underscored, xenvm_name
from openxt_core.spec import Arg, Call, Interface, Method, Service

NOTIFY = "xenvm.signal.notify"
PROPERTIES = "org.freedesktop.DBus.Properties"
STEPS = Interface("com.example.Steps", methods=(Method("step", ins=(Arg("what", "s"),)),))
DAEMONS = (NETWORK, USB, INPUT, SURFMAN)

SCRIPT = """#!/bin/sh
{does}
exec dbus-send --bus="$DBUS_SYSTEM_BUS_ADDRESS" --print-reply --dest={name} / {name}.step string:"{title} $*"
"""


def shown(message: Message, names: dict[str, str]) -> str | None:
    """A step in a few words; None for what is not looked at.  `names`: what VMs are called, by path."""
    if message.kind == "signal":
        if message.interface == NOTIFY:
            path = f"/vm/{underscored(Uuid(message.texts[0]))}"
            return f"{names[path]}xenvm: {message.texts[2]}" if path in names else None
        if (message.interface, message.member) == (XENMGR, "vm_state_changed") and message.texts[1] in names:
            return f"{names[message.texts[1]]}told: {' '.join(message.texts[2:])}"
        return None
    what = f"{message.member} {' '.join(message.texts)}".strip()
    if message.interface == STEPS.name:
        return message.texts[0]
    if message.destination.startswith("org.xen.vm."):
        path = message.destination.replace("org.xen.vm.uuid_", "/vm/")
        return f"to {names.get(path, '')}xenvm: {what}"
    if message.destination in DAEMONS:
        if message.interface == PROPERTIES:
            what = f"{message.path} {' '.join(message.texts[1:])}"
        return f"to {message.destination.rpartition('.')[2]}: {what}"
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


@dataclass
class Recorder:
    """Of one VM; `names` are other VMs whose steps are looked at, by path."""

    it: Desk
    vm: str
    bus: Bus
    names: dict[str, str] = field(default_factory=dict)
    there: dict[str, frozenset[str]] = field(default_factory=dict)  # by step: what was there

    async def step(self, what: str) -> None:
        """Note a step of the test's own at its place."""
        await self.it.house.bus.call(STEPS.name, "/", STEPS.name, "step", "s", (what,))

    async def look(self) -> frozenset[str]:
        uuid, read = self.it.uuid(self.vm), self.it.house.xenstore.read
        domid = await read(f"/xenmgr/vms/{uuid}/domid")
        domain = f"/local/domain/{domid}"
        nodes = {
            "exported": f"/xenmgr/vms/{uuid}/name",
            "stubdomid": f"/xenmgr/vms/{uuid}/stubdomid",
            "CD nodes": f"{domain}/bsgdev-req",
            "may speak": f"{domain}/v4v-firewall-ready",
            "sentinel": f"{domain}/{SENTINEL}",
        }
        found = {word for word, node in nodes.items() if await read(node) is not None}
        if domid is not None and await read("/local/domain/0/backend-domid") == domid:
            found.add("backend-domid")
        files = {
            "config": self.it.places.xenvm_config(uuid),
            "disc": self.it.places.at(f"/var/lib/ovf/{uuid}-env.iso"),
        }
        return frozenset(found | {word for word, file in files.items() if file.exists()})

    async def steps_of(self, *members: str) -> list[str]:
        """What is seen while these methods of the VM are called, one after another."""
        names = {self.vm: "", **self.names}
        rules = (
            f"type='signal',interface='{NOTIFY}'",
            f"type='signal',interface='{XENMGR}',member='vm_state_changed'",
            f"type='method_call',interface='{VM}'",
            *(f"type='method_call',destination='{xenvm_name(self.it.uuid(path))}'" for path in names),
            *(f"type='method_call',destination='{name}'" for name in (*DAEMONS, STEPS.name)),
        )
        async with monitored(self.it.house.bus, self.it.house.layout.bus_address, *rules) as monitor:
            for member in members:
                await self.it.vm(self.vm, member)
            seen = await monitor.so_far()
        return [step for one in seen if (step := shown(one, names)) is not None]


SENTINEL = "data/booted"


@contextlib.asynccontextmanager
async def recording(
    it: Desk, vm: str, names: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[Recorder]:
    """`names`: what other VMs that are looked at are called, by path."""
    bus = await Bus.connect(it.house.layout.bus_address)
    recorder = Recorder(it, vm, bus, {path: f"{name} " for path, name in names.items()})

    class Steps(Service):
        SPEC = STEPS

        async def step(self, what: str) -> None:
            recorder.there[what] = await recorder.look()

    def make(call: Call) -> Service:
        return Steps(call)

    tree = ObjectTree()
    tree.route("/", Face(STEPS, make))
    bus.serve(tree)
    try:
        assert await bus.request_name(STEPS.name)
        yield recorder
    finally:
        bus.close()


def telling(path: Path, title: str, does: str = ":") -> Path:
    """A program that does something and tells the recorder."""
    path.write_text(SCRIPT.format(does=does, name=STEPS.name, title=title))
    path.chmod(0o755)
    return path
