# SPDX-License-Identifier: GPL-2.0-or-later
"""Faces of the v4v firewall: what is open, whether it is enforced, what a VM's start would open."""

from collections.abc import Iterable, Sequence
from typing import Any

from openxt_api.xenmgr_v4v import XenmgrV4v, XenmgrVmV4v
from openxt_core.spec import Call
from openxt_xenmgr.objects.vm import found_vm
from openxt_xenmgr.objects.work import Work
from openxt_xenmgr.vm.firewall import Line


def _rows(lines: Iterable[Line]) -> list[Sequence[Any]]:
    return [(line.rule, line.owner, " ".join(line.command)) for line in lines]


class FirewallObject(XenmgrV4v):
    """com.citrix.xenclient.xenmgr.v4v."""

    def __init__(self, call: Call, work: Work) -> None:
        super().__init__(call)
        self._firewall = work.firewall

    async def status(self) -> dict[str, str]:
        return await self._firewall.status()

    def list_openings(self) -> list[Sequence[Any]]:
        return _rows(self._firewall.effective())

    async def settle(self) -> None:
        await self._firewall.settle()


class VmFirewallObject(XenmgrVmV4v):
    """com.citrix.xenclient.xenmgr.vm.v4v."""

    def __init__(self, call: Call, work: Work) -> None:
        super().__init__(call)
        self._firewall = work.firewall
        self._vm = found_vm(work, call)

    async def dry_run(self) -> list[Sequence[Any]]:
        return _rows(await self._firewall.dry_run(self._vm))
