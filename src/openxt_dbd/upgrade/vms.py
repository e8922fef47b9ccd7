# SPDX-License-Identifier: GPL-2.0-or-later
"""What the steps of an upgrade look at: the VMs of a tree, and their values as texts.  Pure."""

from collections.abc import Iterator, Mapping
from typing import Final

from openxt_dbd import tree
from openxt_dbd.path import Path, parse
from openxt_dbd.tree import ABSENT, Change, Node, Nodes

USER_TYPES: Final = ("pvm", "svm")


def vms(root: Node) -> Iterator[Path]:
    """The places of all VMs that are objects; of anything else an upgrade makes nothing."""
    for name, node in tree.pairs(tree.find(root, ("vm",))):
        if isinstance(node, Nodes):
            yield ("vm", name)


def user_vms(root: Node) -> Iterator[Path]:
    return (vm for vm in vms(root) if text(root, vm, "type") in USER_TYPES)


def text(root: Node, place: Path, key: str) -> str:
    return tree.read(root, place + parse(key))


def setting(place: Path, key: str, value: Node) -> Change:
    return Change(place + parse(key), value)


def dropping(place: Path, key: str) -> Change:
    return Change(place + parse(key), ABSENT)


def records(root: Node, vm: Path, key: str) -> Iterator[Path]:
    """The places of a VM's disks or nics."""
    place = vm + parse(key)
    return ((*place, name) for name, node in tree.pairs(tree.find(root, place)) if isinstance(node, Nodes))


def renaming(root: Node, record: Path, old: str, new: str, values: Mapping[str, str]) -> Iterator[Change]:
    """A key gets another name; a value that has a new word gets that.  Nothing if there is no such key."""
    if tree.exists(root, (*record, old)):
        value = text(root, record, old)
        yield dropping(record, old)
        yield setting(record, new, values.get(value, value))
