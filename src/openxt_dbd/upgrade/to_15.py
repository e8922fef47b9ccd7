# SPDX-License-Identifier: GPL-2.0-or-later
"""14 → 15: `/crypto-username` is not used any more."""

from collections.abc import Iterator

from openxt_dbd.path import ROOT
from openxt_dbd.tree import Change, Node
from openxt_dbd.upgrade.vms import dropping


def changes(_root: Node) -> Iterator[Change]:
    yield dropping(ROOT, "crypto-username")
