# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of what writing a property fails with, beside values that it cannot have: state, policy, the host."""

from collections.abc import Mapping

from member_entry_methods import entry_gone
from member_givens import edits_forbidden
from member_methods import Fault, Stage, fault, lost

from openxt_api.vm_disk import VMDISK
from openxt_api.vm_nic import VMNIC
from openxt_api.xenmgr import XENMGR_CONFIG_UI
from openxt_api.xenmgr_vm import XENMGR_VM
from openxt_core.spec import Interface


async def runs_with_card(s: Stage) -> None:
    await s.start()
    await s.set_keys(s.vm, {"gpu": "hdx"})


async def starts_on_boot(s: Stage) -> None:
    """With PV drivers; nobody says that there is a card to be had."""
    await s.set_keys(s.vm, {"pv-addons-installed": "true", "start_on_boot": "true"})


async def has_card(s: Stage) -> None:
    await s.set_keys(s.vm, {"gpu": "hdx"})


# The value that is written comes first among a fault's arguments.
PROPERTY_FAULTS: Mapping[tuple[Interface, str], tuple[Fault, ...]] = {
    (XENMGR_VM, "gpu"): (
        fault("200:", "hdx", given=starts_on_boot),
        fault("209:", "", given=runs_with_card),
        fault("210:", "hdx"),
    ),
    (XENMGR_VM, "start-on-boot"): (fault("200:", True, given=has_card),),
    (XENMGR_VM, "description"): (fault("202:", "x", given=edits_forbidden),),
    (XENMGR_VM, "cd"): (fault("202:", "x", given=edits_forbidden),),
    (XENMGR_CONFIG_UI, "language"): (fault("236:", "tlh"),),
    (VMDISK, "mode"): (lost("206:", "r", given=entry_gone),),
    (VMNIC, "mac"): (lost("222:", "auto", given=entry_gone),),
    (VMNIC, "network"): (lost("222:", "/wired/1/bridged", given=entry_gone),),
}
