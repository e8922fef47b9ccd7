# SPDX-License-Identifier: GPL-2.0-or-later
"""Which VMs start by themselves when the host boots, and in which order.  Pure.

Source: OpenXT xenmgr, 2015.
"""

from collections.abc import Iterable

from openxt_core.ids import Uuid
from openxt_xenmgr.properties.vm import HDX
from openxt_xenmgr.vm.model import VmConfig


def boot_order(configs: Iterable[VmConfig], *, was_hibernated: bool, running: frozenset[Uuid]) -> list[Uuid]:
    """The VMs to start, first to last; those that are not ready are left out.

    After a hibernation of the host these are the service VMs, and the user VMs that hibernated with it.
    """
    wanted = [config for config in configs if _is_wanted(config, was_hibernated, running)]
    return [config.uuid for config in sorted(wanted, key=_rank)]


def _is_wanted(config: VmConfig, was_hibernated: bool, running: frozenset[Uuid]) -> bool:
    if not config["ready"]:
        return False
    if was_hibernated and config.is_user_vm:
        return bool(config["hibernated"]) and config.uuid not in running
    return bool(config["start-on-boot"])


def _rank(config: VmConfig) -> tuple[int, bool, bool, int]:
    """High priority first; among equals service VMs, then GPU VMs, then by slot."""
    return (
        -int(config["start-on-boot-priority"]),
        config.is_user_vm,
        config["gpu"] != HDX,
        int(config["slot"]),
    )
