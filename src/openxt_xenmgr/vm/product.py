# SPDX-License-Identifier: GPL-2.0-or-later
"""Product properties: what an OVF appliance asks its owner to fill in.  Pure.

The type words are CIM's, as OVF uses them.  Source: DMTF DSP0243 and OpenXT xenmgr-core, 2015.
"""

import re

from openxt_core.errors import BadRequest
from openxt_xenmgr.vm.tree import Tree, encode, flag, subtree, text

INTEGER_RANGES = {
    f"{sign}int{bits}": (0, 2**bits - 1) if sign == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for sign in "us"
    for bits in (8, 16, 32, 64)
}
REALS = frozenset({"real32", "real64"})
_REAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\Z")
_INTEGER = re.compile(r"[+-]?\d{1,20}\Z")


def check_value(type_word: str, value: str) -> None:
    """Raises BadRequest unless `value` is one of `type_word`.  Unknown types take any text."""
    if type_word in INTEGER_RANGES:
        low, high = INTEGER_RANGES[type_word]
        ok = bool(_INTEGER.match(value)) and low <= int(value) <= high
    elif type_word in REALS:
        ok = bool(_REAL.match(value))
    elif type_word == "Boolean":
        ok = value in ("true", "false")
    else:
        ok = True
    if not ok:
        raise BadRequest(f"{value[:60]!r} is not a value of type {type_word}")


def listing(tree: Tree) -> list[dict[str, str]]:
    """One record for each property that has a key."""
    records = subtree(tree, "productproperty")
    return [_record(id, subtree(records, id)) for id in records if text(records, f"{id}/key")]


def _record(id: str, entry: Tree) -> dict[str, str]:
    return {
        "id": id,
        "type": text(entry, "type", "String"),
        "key": text(entry, "key"),
        "class": text(entry, "class"),
        "instance": text(entry, "instance"),
        "label": "",
        "description": text(entry, "description"),
        "user-configurable": encode(flag(entry, "userconfigurable")),
        "password": encode(flag(entry, "password")),
    }
