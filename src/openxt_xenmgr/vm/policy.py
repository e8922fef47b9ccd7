# SPDX-License-Identifier: GPL-2.0-or-later
"""May this VM be edited; the policy words of com.citrix.xenclient.policy.  Pure."""

from openxt_core.errors import CannotEditByPolicy
from openxt_core.ids import Uuid
from openxt_xenmgr.properties.table import Change
from openxt_xenmgr.vm.tree import Tree, encode, flag

# Word that forbids, key of the policy.  The order is that of `retrieve`.  Source: OpenXT xenmgr, 2015.
WORDS = (
    ("block-cd-access", "policies/cd-access"),
    ("block-cd-rec", "policies/cd-rec"),
    ("block-audio-access", "policies/audio-access"),
    ("block-audio-rec", "policies/audio-rec"),
    ("block-wired-networking", "policies/wired-networking"),
    ("block-wireless-networking", "policies/wireless-networking"),
    ("block-modify-vm-settings", "policies/modify-vm-settings"),
)

MODIFY_KEY = "policies/modify-vm-settings"


def may_edit(tree: Tree) -> bool:
    return flag(tree, MODIFY_KEY, True)


def need_edit(uuid: Uuid, tree: Tree) -> None:
    """Raises CannotEditByPolicy (202) when policy forbids changing the VM's settings."""
    if not may_edit(tree):
        raise CannotEditByPolicy(f"policy forbids changing the settings of VM {uuid}")


def retrieve(tree: Tree) -> str:
    """The words of the policies that forbid something."""
    return ";".join(word for word, key in WORDS if not flag(tree, key, True))


def enforce(words: str) -> tuple[Change, ...]:
    """All policies, with those named in `words` forbidding.  Unknown words are ignored."""
    blocked = {word.strip() for word in words.split(";")}
    return tuple(Change(key, encode(word not in blocked)) for word, key in WORDS)
