# SPDX-License-Identifier: GPL-2.0-or-later
"""24 → 25: Windows VMs get the sound card that works for all of them (what 22 → 23 set is replaced by it)."""

from collections.abc import Iterator

from openxt_dbd.tree import Change, Node
from openxt_dbd.upgrade.vms import setting, text, vms

WINDOWS = ("windows", "windows8")


def changes(root: Node) -> Iterator[Change]:
    return (setting(vm, "config/sound", "ac97") for vm in vms(root) if text(root, vm, "os") in WINDOWS)
