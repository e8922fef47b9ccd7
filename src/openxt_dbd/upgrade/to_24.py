# SPDX-License-Identifier: GPL-2.0-or-later
"""23 → 24: which display drivers are supported."""

from collections.abc import Iterator

from openxt_dbd.path import ROOT
from openxt_dbd.tree import Change, Node
from openxt_dbd.upgrade.vms import setting

DRIVERS = "vga,openxt,intel,RDP,netmeeting,Mirage,microsoft"


def changes(_root: Node) -> Iterator[Change]:
    yield setting(ROOT, "display-driver-whitelist", DRIVERS)
