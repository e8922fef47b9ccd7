# SPDX-License-Identifier: GPL-2.0-or-later
"""26 → 27: USB rules: no keyboard goes to a VM by itself, anything else may."""

from collections.abc import Iterator

from openxt_dbd.path import ROOT
from openxt_dbd.tree import Change, Node, Nodes
from openxt_dbd.upgrade.vms import setting

KEYBOARDS = Nodes(
    [
        ("command", "deny"),
        ("description", "Keyboards stay with the host"),
        ("device", Nodes({"keyboard": "1"})),
    ]
)
OTHERS = Nodes({"command": "allow", "description": "Everything else"})


def changes(_root: Node) -> Iterator[Change]:
    yield setting(ROOT, "usb-rules/9900", KEYBOARDS)
    yield setting(ROOT, "usb-rules/9999", OTHERS)
