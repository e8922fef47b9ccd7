# SPDX-License-Identifier: GPL-2.0-or-later
"""Get, Set and GetAll of a VM's two property interfaces: one set of rows, with and without the guard.

What depends on the stored configuration alone is marshalled once for each configuration; what the moment
tells is asked for each time, and if it tells the same as last time, the whole answer is sent again.
"""

from inspect import isawaitable
from typing import Any

from openxt_bus.message import Marshalled
from openxt_bus.properties import entries, of_entries
from openxt_core.spec import Interface, MaybeAwaitable, Value
from openxt_xenmgr.objects.work import Work
from openxt_xenmgr.properties.table import Live, Row, Stored, needed_row
from openxt_xenmgr.properties.vm_live import (
    LIVE,
    OF_CONFIG,
    OF_THE_MOMENT,
    ROWS,
    VmSubject,
    values_at_hand,
    waited_for,
)
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.vm.policy import need_edit
from openxt_xenmgr.vm.store import Dump


def get_property(work: Work, vm: Vm, interface: Interface, name: str) -> MaybeAwaitable[Value]:
    row = needed_row(ROWS, interface, name, writing=False)
    held = work.world.store.held(vm)
    return _get_later(work, vm, row) if held is None else _value(work, vm, row, held.config)


def _value(work: Work, vm: Vm, row: Row[VmSubject], config: VmConfig) -> MaybeAwaitable[Value]:
    if isinstance(row, Live):
        return row.read(VmSubject(work.world, vm, config))
    return config.values[row.name]


async def _get_later(work: Work, vm: Vm, row: Row[VmSubject]) -> Value:
    store = work.world.store
    if isinstance(row, Stored) and row.local():
        return await store.value(vm, row)
    value = _value(work, vm, row, await store.config(vm))
    return await value if isawaitable(value) else value


async def set_property(
    work: Work, vm: Vm, interface: Interface, name: str, value: Value, *, guarded: bool
) -> None:
    """Raises CannotEditByPolicy (202) when `guarded` and policy says so."""
    row = needed_row(ROWS, interface, name, writing=True)
    config = await work.world.store.config(vm)
    if guarded and row.guarded:
        need_edit(vm.uuid, config.tree)
    if not isinstance(row, Live):
        await work.editor.set(vm, row, value)
    elif row.write is not None:
        done = row.write(VmSubject(work.world, vm, config), value)
        if isawaitable(done):
            await done
        now = get_property(work, vm, interface, name)
        now = await now if isawaitable(now) else now
        work.world.announcer.vm_properties(vm.uuid, {name: now})


async def get_all(work: Work, vm: Vm) -> dict[str, Value]:
    """Every property from one dump, besides those few that have to ask somebody.

    The two that only the unrestricted interface has are among them; the bus sends what is declared.
    """
    config = await work.world.store.config(vm)
    it = VmSubject(work.world, vm, config)
    return {**config.values, **await waited_for(it, values_at_hand(it, LIVE))}


def get_all_marshalled(work: Work, vm: Vm, interface: Interface) -> MaybeAwaitable[Marshalled]:
    """`get_all` as it travels."""
    dump = work.world.store.held(vm)
    if dump is None:
        return _marshalled_later(work, vm, interface)
    it = VmSubject(work.world, vm, dump.config)
    values = values_at_hand(it, OF_THE_MOMENT)
    if any(map(_has_to_come, values.values())):
        return _marshalled_when_there(it, dump, interface, values)
    return _marshalled(it, dump, interface, values)


_AT_HAND = frozenset({str, bool, int, list})


def _has_to_come(value: Any) -> bool:
    return type(value) not in _AT_HAND


async def _marshalled_later(work: Work, vm: Vm, interface: Interface) -> Marshalled:
    dump = await work.world.store.dump(vm)
    it = VmSubject(work.world, vm, dump.config)
    return await _marshalled_when_there(it, dump, interface, values_at_hand(it, OF_THE_MOMENT))


async def _marshalled_when_there(
    it: VmSubject, dump: Dump, interface: Interface, values: dict[str, MaybeAwaitable[Value]]
) -> Marshalled:
    return _marshalled(it, dump, interface, await waited_for(it, values))


def _marshalled(it: VmSubject, dump: Dump, interface: Interface, values: dict[str, Value]) -> Marshalled:
    said = dump.replies.get(interface.name)
    if said is not None and said[0] == values:
        return said[1]
    if interface.name not in dump.entries:
        lasting = {**dump.config.values, **values_at_hand(it, OF_CONFIG)}
        dump.entries[interface.name] = entries(interface, lasting)
    reply = of_entries(dump.entries[interface.name], entries(interface, values))
    dump.replies[interface.name] = values, reply
    return reply
