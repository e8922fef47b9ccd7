# SPDX-License-Identifier: GPL-2.0-or-later
"""15 → 16: a VM that had `rpc-agent` set is a Linux VM."""

from collections.abc import Iterator

from openxt_dbd.tree import Change, Node
from openxt_dbd.upgrade.vms import dropping, setting, text, vms


def changes(root: Node) -> Iterator[Change]:
    for vm in vms(root):
        if text(root, vm, "rpc-agent") == "true":
            yield setting(vm, "os", "linux")
            yield dropping(vm, "rpc-agent")
