# SPDX-License-Identifier: GPL-2.0-or-later
"""What several rows need to have been done before: how a VM, the host or policy is."""

from typing import Any

from member_methods import Stage

from openxt_api.xenmgr_vm import XENMGR_VM_PCI


async def edits_forbidden(s: Stage) -> None:
    await s.it.db("write", f"/vm/{s.uuid}/policies/modify-vm-settings", "false")


async def on_vm(s: Stage, member: str, *texts: str) -> Any:
    """A method of the VM beside the one that is tried."""
    return await s.it.vm(s.vm, member, *texts)


async def with_addons(s: Stage) -> None:
    await s.it.set(s.vm, "pv-addons", "b", True)
    await s.start()
    await s.it.listens(s.vm)


async def creation_forbidden(s: Stage) -> None:
    await s.it.db("write", "/vm-create-disallowed", "true")


async def programs_fail(s: Stage) -> None:
    s.break_programs()


async def runs(s: Stage) -> None:
    await s.start()


async def absent_device(s: Stage) -> None:
    await s.it.call(s.vm, XENMGR_VM_PCI.name, "add_pt_rule_bdf", "s", "0000:00:1f.7")


def with_property(name: str, value: str) -> Any:
    async def given(s: Stage) -> None:
        await s.it.set(s.vm, name, "s", value)

    return given
