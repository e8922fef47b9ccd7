# SPDX-License-Identifier: GPL-2.0-or-later
"""Which VMs a VM needs before it can start: the backends of its nics, and theirs.  Pure."""

from collections.abc import Mapping, Sequence

from openxt_core.errors import BadRequest
from openxt_core.ids import DOM0_UUID, Uuid

Edges = Mapping[Uuid, Sequence[Uuid]]


def dependencies_of(uuid: Uuid, edges: Edges) -> list[Uuid]:
    """All that `uuid` needs, deepest first, each once.  Raises BadRequest naming a cycle.

    dom0 always runs and is left out.
    """
    found: list[Uuid] = []
    _visit(uuid, edges, (), found)
    return [other for other in found if other != uuid]


def _visit(uuid: Uuid, edges: Edges, path: tuple[Uuid, ...], found: list[Uuid]) -> None:
    if uuid in path:
        cycle = " -> ".join((*path[path.index(uuid) :], uuid))
        raise BadRequest(f"the VMs need each other in a circle, check for cycles: {cycle}")
    if uuid in found or uuid == DOM0_UUID:
        return
    for other in edges.get(uuid, ()):
        _visit(other, edges, (*path, uuid), found)
    found.append(uuid)
