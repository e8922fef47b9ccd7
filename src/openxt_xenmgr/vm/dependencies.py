# SPDX-License-Identifier: GPL-2.0-or-later
"""Which VMs a VM needs before it can start, and in which order VMs that need each other stop.  Pure."""

from collections.abc import Callable, Mapping, Sequence

from openxt_core.errors import BadRequest
from openxt_core.ids import DOM0_UUID, Uuid

Edges = Mapping[Uuid, Sequence[Uuid]]


def dependencies_of(uuid: Uuid, edges: Edges, name_of: Callable[[Uuid], str] = str) -> list[Uuid]:
    """All that `uuid` needs, deepest first, each once.  Raises BadRequest naming a cycle.

    dom0 always runs and is left out.
    """
    found: list[Uuid] = []
    _visit(uuid, edges, (), found, name_of)
    return [other for other in found if other != uuid]


def _visit(
    uuid: Uuid, edges: Edges, path: tuple[Uuid, ...], found: list[Uuid], name_of: Callable[[Uuid], str]
) -> None:
    if uuid in path:
        cycle = " -> ".join(map(name_of, (*path[path.index(uuid) :], uuid)))
        raise BadRequest(f"the VMs need each other in a circle, check for cycles: {cycle}")
    if uuid in found or uuid == DOM0_UUID:
        return
    for other in edges.get(uuid, ()):
        _visit(other, edges, (*path, uuid), found, name_of)
    found.append(uuid)


def stop_order(uuid: Uuid, edges: Edges) -> list[Uuid]:
    """`uuid` last, before it all that need it: who needs another stops first.  A cycle is no hindrance."""
    needed_by: dict[Uuid, list[Uuid]] = {}
    for one, others in edges.items():
        for other in others:
            needed_by.setdefault(other, []).append(one)
    found: list[Uuid] = []
    _visit_users(uuid, needed_by, frozenset(), found)
    return found


def _visit_users(uuid: Uuid, needed_by: Edges, path: frozenset[Uuid], found: list[Uuid]) -> None:
    if uuid in path or uuid in found:
        return
    for user in needed_by.get(uuid, ()):
        _visit_users(user, needed_by, path | {uuid}, found)
    found.append(uuid)
