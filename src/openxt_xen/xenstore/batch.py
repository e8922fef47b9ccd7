# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes of several nodes that go out together: one write to xenstored instead of a wait for each.  Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from openxt_xen.xenstore import wire
from openxt_xen.xenstore.wire import Op, Permission


@dataclass(frozen=True, slots=True)
class Request:
    """`may_lack`: that there is no such node is no failure."""

    op: Op
    payload: bytes
    path: str
    may_lack: bool = False


@dataclass(slots=True)
class Batch:
    """In order; `XenStore.apply` carries out all of them or none.  Raises InvalidArgs for bad paths."""

    requests: list[Request] = field(default_factory=list)

    def write(self, path: str, value: str) -> None:
        """The node and its parents are made as needed."""
        self._add(Op.WRITE, path, value.encode())

    def mkdir(self, path: str) -> None:
        """An empty node and its parents, unless it exists."""
        self._add(Op.MKDIR, path)

    def rm(self, path: str) -> None:
        """A node and all below it, if it is there."""
        self._add(Op.RM, path, may_lack=True)

    def set_permissions(self, path: str, perms: Sequence[Permission], *, may_lack: bool = False) -> None:
        self._add(Op.SET_PERMS, path, wire.format_permissions(perms), may_lack=may_lack)

    def _add(self, op: Op, path: str, rest: bytes = b"", *, may_lack: bool = False) -> None:
        wire.check_path(path)
        self.requests.append(Request(op, path.encode() + b"\0" + rest, path, may_lack))
