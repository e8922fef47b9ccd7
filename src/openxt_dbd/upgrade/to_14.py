# SPDX-License-Identifier: GPL-2.0-or-later
"""13 → 14: a nic names a network instead of a bridge, a disk its managed type.  Source: OpenXT, 2015."""

from collections.abc import Iterator

from openxt_dbd.tree import Change, Node
from openxt_dbd.upgrade.vms import records, renaming, setting, text, vms

NETWORKS = {
    "brbridged": "/wired/0/bridged",
    "brshared": "/wired/0/shared",
    "brwireless": "/wifi/0/shared",
    "brinternal": "/internal/0",
    "/internal": "/internal/0",
    "/icavm": "/any/0",
}
WIRELESS = "brwireless"


def changes(root: Node) -> Iterator[Change]:
    for vm in vms(root):
        for nic in records(root, vm, "config/nic"):
            yield from renaming(root, nic, "bridge", "network", NETWORKS)
            if text(root, nic, "bridge") == WIRELESS:
                yield setting(nic, "wireless-driver", "true")
        for disk in records(root, vm, "config/disk"):
            yield from renaming(root, disk, "disktype", "managed-disktype", {})
