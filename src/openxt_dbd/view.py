# SPDX-License-Identifier: GPL-2.0-or-later
"""What a caller sees of the tree: dom0 all of it, another domain only `/dom-store/<its uuid>`.  Pure.

The caller's paths are put below its place, where names such as `..` mean nothing: there is no way out.
"""

from typing import TYPE_CHECKING

from openxt_core.errors import AccessDenied
from openxt_core.ids import DOM0
from openxt_dbd.path import ROOT, Path

if TYPE_CHECKING:
    from openxt_bus.identity import Caller


def place_of(caller: "Caller") -> Path:
    """Where the caller's root is.  Raises AccessDenied for a domain that nobody can name."""
    if caller.domid == DOM0:
        return ROOT
    if not caller.uuid:
        raise AccessDenied(f"failed to resolve domid {caller.domid} to uuid")
    return ("dom-store", caller.uuid)
