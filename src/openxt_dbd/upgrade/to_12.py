# SPDX-License-Identifier: GPL-2.0-or-later
"""11 → 12: the v4v firewall comes; VMs of the user that have no rules get those of today's template."""

from collections.abc import Iterator

from openxt_dbd import tree
from openxt_dbd.tree import Change, Node, Nodes
from openxt_dbd.upgrade.vms import setting, user_vms

RULES = (
    "myself -> 0:80",
    "myself -> 0:5556",
    *(f"my-stubdom -> 0:{port}" for port in (5555, 4001, 4002, 5000, 5001, 5559)),
)


def changes(root: Node) -> Iterator[Change]:
    for vm in user_vms(root):
        if not tree.names(root, (*vm, "v4v-firewall-rules")):
            rules = {str(number): rule for number, rule in enumerate(RULES)}
            yield setting(vm, "v4v-firewall-rules", Nodes(rules))
