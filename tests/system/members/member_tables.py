# SPDX-License-Identifier: GPL-2.0-or-later
"""The interfaces of xenmgr, from its interface files."""

import importlib
import pkgutil

import openxt_api
from openxt_core.spec import IdlFile, Interface

_NAMES = sorted(
    module.name
    for module in pkgutil.iter_modules(openxt_api.__path__)
    if module.name.startswith(("xenmgr", "vm_"))
)
_FILES = [
    value
    for name in _NAMES
    for value in vars(importlib.import_module(f"openxt_api.{name}")).values()
    if isinstance(value, IdlFile)
]

INTERFACES: tuple[Interface, ...] = tuple(face for file in _FILES for face in file.interfaces)
