# SPDX-License-Identifier: GPL-2.0-or-later
"""What the bus runs for nearly each message is there twice, in Python and in C: tests run on both."""

import importlib
from collections import ChainMap
from types import SimpleNamespace

KEEPERS = ("python", "c")

_MODULES = {
    "python": ("openxt_bus.plans", "openxt_bus.receiver", "openxt_bus.favourites"),
    "c": ("_openxt_quick",),
}


def keeper(name: str) -> SimpleNamespace:
    """All that `openxt_bus.quick` has, of that keeper."""
    modules = map(importlib.import_module, _MODULES[name])
    return SimpleNamespace(**ChainMap(*map(vars, modules)))
