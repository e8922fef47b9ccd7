# SPDX-License-Identifier: GPL-2.0-or-later
"""The properties of a network card: keys below `config/nic/<id>` of its VM.  Rows, nothing else."""

from openxt_xenmgr.properties import forms
from openxt_xenmgr.properties.table import Live, Row, Stored, is_empty
from openxt_xenmgr.vm.devices import NicEntry
from openxt_xenmgr.vm.model import DEFAULT_NETWORK, LEGACY_NETWORKS
from openxt_xenmgr.vm.tree import Tree

AUTO = "auto"
NETWORK = "network"


def _is_auto(value: str) -> bool:
    return value in (AUTO, "")


def _is_false(value: bool) -> bool:
    return not value


def _network(_tree: Tree, value: str) -> str:
    return LEGACY_NETWORKS.get(value, value) or DEFAULT_NETWORK


def _mac(_tree: Tree, value: str) -> str:
    return value or AUTO


NETWORK_ROW = Stored(
    NETWORK, "network", DEFAULT_NETWORK, shown=_network, form=forms.NETWORK
)  # two properties of the VM are written by it as well

ROWS: tuple[Row[NicEntry], ...] = (
    #      name               key                default
    Stored("backend-uuid",    "backend-uuid",    "",     unset=is_empty, form=forms.VM_UUID),
    Stored("backend-name",    "backend-name",    "",     unset=is_empty, form=forms.NIC_WORD),
    NETWORK_ROW,
    Stored("wireless-driver", "wireless-driver", False,  unset=_is_false),
    Stored("mac",             "mac",             AUTO,   unset=_is_auto, shown=_mac, form=forms.MAC),
    Live("mac-actual",        "s", lambda it: it.nic.actual_mac(it.vm.uuid)),
    Stored("enabled",         "enable",          True),
)  # fmt: skip
