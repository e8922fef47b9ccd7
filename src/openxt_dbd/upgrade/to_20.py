# SPDX-License-Identifier: GPL-2.0-or-later
"""19 → 20: VMs of the user get the security label of their kind."""

from collections.abc import Iterator

from openxt_dbd.tree import Change, Node
from openxt_dbd.upgrade.vms import setting, user_vms

LABEL = "system_u:system_r:hvm_guest_t"


def changes(root: Node) -> Iterator[Change]:
    return (setting(vm, "config/flask-label", LABEL) for vm in user_vms(root))
