# SPDX-License-Identifier: GPL-2.0-or-later
"""Slots: the number, 1 to 9, by which a user VM is switched to.  Pure."""

from collections.abc import Iterable, Mapping

from openxt_core.errors import TooManyVms
from openxt_core.ids import Uuid
from openxt_xenmgr.vm.tree import Tree, maybe_number

SLOTS = range(1, 10)


def wants_slot(template: Tree) -> bool:
    """A template that names a slot gets no other."""
    return maybe_number(template, "slot") is None


def free_slot(used: Iterable[int]) -> int:
    """The lowest free slot.  Raises TooManyVms (205)."""
    taken = frozenset(used)
    found = next((slot for slot in SLOTS if slot not in taken), None)
    if found is None:
        raise TooManyVms(f"all {len(SLOTS)} slots are in use; delete a VM first")
    return found


def swapped(slots: Mapping[Uuid, int], uuid: Uuid, wanted: int) -> dict[Uuid, int]:
    """What to write so that `uuid` has slot `wanted`: whoever held it gets the old one, if that was any."""
    old = slots.get(uuid, 0)
    changed = {uuid: wanted}
    holder = next((other for other, slot in slots.items() if slot == wanted and other != uuid), None)
    if wanted >= 0 and holder is not None and old > 0:
        changed[holder] = old
    return changed
