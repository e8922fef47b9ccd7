# SPDX-License-Identifier: GPL-2.0-or-later
"""25 → 26: the kernel command line of network VMs."""

from collections.abc import Iterator

from openxt_dbd.tree import Change, Node
from openxt_dbd.upgrade.vms import setting, text, vms

COMMAND_LINE = "root=/dev/xvda1 iommu=soft xencons=hvc0"


def changes(root: Node) -> Iterator[Change]:
    for vm in vms(root):
        if text(root, vm, "type") == "ndvm":
            yield setting(vm, "config/cmdline", COMMAND_LINE)
