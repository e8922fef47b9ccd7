# SPDX-License-Identifier: GPL-2.0-or-later
"""The XenStore tree: nodes, who may touch them, and transactions.  Pure.

A node is never changed in place: each change puts a new one with a new generation.  A transaction keeps
its own copies of what it read or wrote, and commits only if all of that is still of the same generation
outside; this is the rule of C xenstored 4.17, under which two transactions that create children of one
node conflict.  Watches and domains are the business of `store`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from openxt_core.ids import DOM0, Domid
from openxt_xen.xenstore.wire import Permission, is_node_path

TRANSACTION_NODES_MAX = 1024  # of an unprivileged domain


class Failure(Exception):
    """A request is refused; `args[0]` is the error's name on the wire."""


@dataclass(frozen=True, slots=True)
class Node:
    permissions: tuple[Permission, ...]
    generation: int
    value: bytes = b""
    children: tuple[str, ...] = ()  # in the order of their creation
    dead: frozenset[Domid] = frozenset()  # in `permissions` but gone: a successor's number is not them

    @property
    def size(self) -> int:
        """Bytes that C xenstored stores for it: a header, 8 a permission, the value, the children's names."""
        return 24 + 8 * len(self.permissions) + len(self.value) + sum(len(c) + 1 for c in self.children)


@dataclass(frozen=True, slots=True)
class Rights:
    """Whom a request speaks for.  `target` is the domain that a stub domain serves."""

    domid: Domid
    privileged: bool
    target: Domid | None = None

    @property
    def domids(self) -> tuple[Domid, ...]:
        return (self.domid,) if self.target is None else (self.domid, self.target)


@dataclass(slots=True)
class Accessed:
    """What a transaction knows of one node."""

    node: Node | None
    seen: Node | None  # as it was outside at the first access
    modified: bool = False
    announced: bool | None = None  # None: no event; else whether only for watches of exactly this path


@dataclass(slots=True)
class Transaction:
    accessed: dict[str, Accessed] = field(default_factory=dict)
    failed: bool = False


def parent_of(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def ancestors_of(path: str) -> Iterator[str]:
    """From the parent up to the root."""
    while path != "/":
        path = parent_of(path)
        yield path


def join(path: str, name: str) -> str:
    return f"/{name}" if path == "/" else f"{path}/{name}"


class Tree:
    """Nodes by path.  Every method takes the transaction it belongs to, or None."""

    def __init__(self) -> None:
        self._generation = 0
        self._nodes: dict[str, Node] = {}
        self.owned: Counter[Domid] = Counter()  # nodes outside of transactions
        self._naming: defaultdict[Domid, dict[str, None]] = defaultdict(dict)  # nodes whose permissions do
        for path, children in (("/", ("tool",)), ("/tool", ("xenstored",)), ("/tool/xenstored", ())):
            self.put(path, Node((Permission(DOM0, "n"),), 0, b"", children), None)

    def next_generation(self) -> int:
        self._generation += 1
        return self._generation

    # Looking

    def look(self, path: str, tx: Transaction | None, rights: Rights | None = None) -> Node | None:
        """The node as this transaction sees it, without any check of permissions."""
        if tx is None:
            return self._nodes.get(path)
        if (known := tx.accessed.get(path)) is not None:
            return known.node
        if rights and not rights.privileged and len(tx.accessed) >= TRANSACTION_NODES_MAX:
            tx.failed = True
            raise Failure("ENOSPC")
        node = self._nodes.get(path)
        tx.accessed[path] = Accessed(node, seen=node)
        return node

    def may(self, rights: Rights, node: Node) -> str:
        """The subset of `rwo` (read, write, own) that `rights` have on a node."""
        owner, *others = node.permissions
        if rights.privileged or owner.domid in rights.domids:
            return "rwo"
        for permission in others:
            if permission.domid in rights.domids and permission.domid not in node.dead:
                return _letters(permission)
        return _letters(owner)

    def find(self, path: str, tx: Transaction | None, rights: Rights, wanted: str) -> Node:
        """The node, if `rights` have all of `wanted`.  Raises EINVAL, EACCES, ENOENT.

        Whether a missing node is told apart from a forbidden one is up to its nearest existing ancestor.
        """
        if not is_node_path(path):
            raise Failure("EINVAL")
        node = self.look(path, tx, rights)
        if node is not None and all(letter in self.may(rights, node) for letter in wanted):
            return node
        ancestor = self._nearest_ancestor(path, tx, rights)
        may_know = node is None and any(letter in self.may(rights, ancestor) for letter in wanted)
        raise Failure("ENOENT" if may_know else "EACCES")

    def _nearest_ancestor(self, path: str, tx: Transaction | None, rights: Rights) -> Node:
        while True:
            path = parent_of(path)
            if (node := self.look(path, tx, rights)) is not None:
                return node
            assert path != "/", "the root always exists"

    def walk(self, path: str, tx: Transaction | None) -> Iterator[tuple[str, Node]]:
        """A node and all below it, children before their parent."""
        node = self.look(path, tx)
        if node is not None:
            for name in node.children:
                yield from self.walk(join(path, name), tx)
            yield path, node

    def of_owner(self, domid: Domid) -> list[str]:
        """Paths of the nodes that a domain owns, parents before their children."""
        named = self._naming[domid]
        return sorted(path for path in named if self._nodes[path].permissions[0].domid == domid)

    # Changing

    def put(self, path: str, node: Node | None, tx: Transaction | None) -> None:
        if node is not None:
            node = replace(node, generation=self.next_generation())
        if tx is not None:
            self.look(path, tx)
            tx.accessed[path].node, tx.accessed[path].modified = node, True
            return
        if (old := self._nodes.pop(path, None)) is not None:
            self.owned[old.permissions[0].domid] -= 1
            for permission in old.permissions:
                self._naming[permission.domid].pop(path, None)
        if node is not None:
            self._nodes[path] = node
            self.owned[node.permissions[0].domid] += 1
            for permission in node.permissions:
                self._naming[permission.domid][path] = None

    def missing(self, path: str, tx: Transaction | None) -> list[str]:
        """`path` and those of its ancestors that do not exist, topmost first."""
        paths = []
        while self.look(path, tx) is None:
            paths.append(path)
            path = parent_of(path)
        return paths[::-1]

    def with_new(
        self, missing: Sequence[str], value: bytes, tx: Transaction | None, owner: Domid | None
    ) -> dict[str, Node]:
        """What making the nodes of `missing` changes: the new nodes, and the one above them.

        Permissions come from that one, but for the owner when one is given.
        """
        nodes = {parent_of(missing[0]): self._known(parent_of(missing[0]), tx)}
        for path in missing:
            parent = nodes[parent_of(path)]
            nodes[parent_of(path)] = replace(parent, children=(*parent.children, path.rpartition("/")[2]))
            first, *others = parent.permissions
            first = first if owner is None else replace(first, domid=owner)
            nodes[path] = Node((first, *others), 0, dead=parent.dead)
        nodes[missing[-1]] = replace(nodes[missing[-1]], value=value)
        return nodes

    def _known(self, path: str, tx: Transaction | None) -> Node:
        node = self.look(path, tx)
        assert node is not None
        return node

    def unlink(self, path: str, tx: Transaction | None) -> None:
        """Take a node out of its parent's list."""
        above = parent_of(path)
        parent = self._known(above, tx)
        name = path.rpartition("/")[2]
        self.put(above, replace(parent, children=tuple(c for c in parent.children if c != name)), tx)

    def bury(self, domid: Domid, transactions: Iterable[Transaction]) -> None:
        """From now on no node's permissions mean this domain.  That is no change to a transaction."""
        for path in self._naming[domid]:
            self._nodes[path] = without(self._nodes[path], domid)
        for tx in transactions:
            for accessed in tx.accessed.values():
                accessed.node = accessed.node and without(accessed.node, domid)

    # Ending a transaction

    def conflicts(self, tx: Transaction) -> bool:
        """True when something that the transaction saw has changed since."""
        return any(
            _generation(accessed.seen) != _generation(self._nodes.get(path))
            for path, accessed in tx.accessed.items()
        )

    def growth(self, tx: Transaction, domid: Domid) -> int:
        """How many more nodes `domid` would own after a commit."""
        changes = [accessed for accessed in tx.accessed.values() if accessed.modified]
        return sum(_owned_by(accessed.node, domid) - _owned_by(accessed.seen, domid) for accessed in changes)

    def apply(self, tx: Transaction) -> None:
        for path, accessed in tx.accessed.items():
            if accessed.modified:
                self.put(path, accessed.node, None)


def _letters(permission: Permission) -> str:
    return ("r" if permission.reads else "") + ("w" if permission.writes else "")


def _generation(node: Node | None) -> int | None:
    return node.generation if node else None


def without(node: Node, domid: Domid) -> Node:
    """The same node, with a dead domain's permissions of no effect."""
    if any(permission.domid == domid for permission in node.permissions[1:]):
        return replace(node, dead=node.dead | {domid})
    return node


def _owned_by(node: Node | None, domid: Domid) -> bool:
    return node is not None and node.permissions[0].domid == domid
