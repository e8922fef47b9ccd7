# SPDX-License-Identifier: GPL-2.0-or-later
"""Get, Set and GetAll of a VM's two property interfaces: one set of rows, with and without the guard."""

from inspect import isawaitable

from openxt_core.spec import Interface, Value
from openxt_xenmgr.objects.work import Work
from openxt_xenmgr.properties.table import Live, Stored, needed_row, value_in
from openxt_xenmgr.properties.vm_live import ROWS, VmSubject, live_values
from openxt_xenmgr.registry import Vm
from openxt_xenmgr.vm.policy import need_edit


async def get_property(work: Work, vm: Vm, interface: Interface, name: str) -> Value:
    row = needed_row(ROWS, interface, name, writing=False)
    store = work.world.store
    if isinstance(row, Stored) and row.local():
        return await store.value(vm, row)
    config = await store.config(vm)
    if not isinstance(row, Live):
        return value_in(row, config.tree)
    value = row.read(VmSubject(work.world, vm, config))
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
        now = await get_property(work, vm, interface, name)
        work.world.announcer.vm_properties(vm.uuid, {name: now})


async def get_all(work: Work, vm: Vm) -> dict[str, Value]:
    """Every property from one dump, besides those few that have to ask somebody.

    The two that only the unrestricted interface has are among them; the bus sends what is declared.
    """
    config = await work.world.store.config(vm)
    return {**config.values, **await live_values(VmSubject(work.world, vm, config))}
