# SPDX-License-Identifier: GPL-2.0-or-later
"""What xenstored does with requests: nodes, transactions, watches, domains, quotas.  No I/O.

Answers, errors and their order are those of C xenstored 4.17, default options.  A `Peer` is one
connection; events are put into its `outbox`, between the replies that `requests` puts there.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from openxt_core.ids import DOM0, Domid
from openxt_sim.peers import Peer, Watch, Watchers
from openxt_sim.tree import Failure, Node, Rights, Transaction, Tree, parent_of, without
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.wire import RELATIVE_PATH_MAX, Permission, is_node_path

SPECIAL = (paths.INTRODUCE_DOMAIN, paths.RELEASE_DOMAIN)


@dataclass(frozen=True, slots=True)
class Quotas:
    """Limits of an unprivileged domain.  Source: defaults of C xenstored 4.17."""

    nodes: int = 1000
    node_bytes: int = 2048
    watches: int = 128
    transactions: int = 10
    permissions: int = 5


class Domains(Protocol):
    """What xenstored asks the hypervisor."""

    def exists(self, domid: Domid) -> bool: ...

    def bind_store(self, domid: Domid, port: int) -> bool:
        """Map the ring of a built domain and bind its port; False when that cannot be."""
        ...


class Store:
    def __init__(self, domains: Domains, quotas: Quotas | None = None) -> None:
        self.quotas = quotas or Quotas()
        self.peers: list[Peer] = []
        self._watchers = Watchers()
        self.introduced: Callable[[Domid], None] = lambda _: None  # told after each INTRODUCE
        self.released: Callable[[Domid], None] = lambda _: None  # told before the events of a release
        self._domains = domains
        self._introduced: dict[Domid, bool] = {DOM0: False}  # → shutdown was announced
        self._targets: dict[Domid, Domid] = {}
        self._special: dict[str, Node] = {name: Node((Permission(DOM0, "n"),), 0) for name in SPECIAL}
        self.tree = Tree()

    # Peers

    def connect(self, domid: Domid | None = None) -> Peer:
        """A new connection; `domid` for one of an introduced guest."""
        peer = Peer(domid)
        self.peers.append(peer)
        return peer

    def forget(self, peer: Peer) -> None:
        """It has no watches and no transactions any more."""
        for watch in peer.watches:
            self._watchers.remove(peer, watch)
        peer.watches.clear()
        peer.transactions.clear()

    def disconnect(self, peer: Peer) -> None:
        self.forget(peer)
        peer.is_open = False
        if peer in self.peers:
            self.peers.remove(peer)

    def rights(self, peer: Peer) -> Rights:
        if not peer.domid:
            return Rights(DOM0, privileged=True)
        return Rights(peer.domid, privileged=False, target=self._targets.get(peer.domid))

    # Nodes

    def read(self, peer: Peer, path: str, tx: Transaction | None) -> Node:
        return self.tree.find(peer.absolute(path), tx, self.rights(peer), "r")

    def write(self, peer: Peer, path: str, value: bytes, tx: Transaction | None) -> None:
        path, rights = peer.absolute(path), self.rights(peer)
        node = self._find_or_none(path, tx, rights)
        if node is None:
            self._create(path, value, tx, rights)
        else:
            self._put(path, replace(node, value=value), tx, rights)
        self._changed(path, tx)

    def mkdir(self, peer: Peer, path: str, tx: Transaction | None) -> None:
        path, rights = peer.absolute(path), self.rights(peer)
        if self._find_or_none(path, tx, rights) is None:
            self._create(path, b"", tx, rights)
            self._changed(path, tx)

    def rm(self, peer: Peer, path: str, tx: Transaction | None) -> None:
        path, rights = peer.absolute(path), self.rights(peer)
        if self._find_or_none(path, tx, rights) is None:
            if self.tree.look(parent_of(path), tx, rights) is None:
                raise Failure("ENOENT")
            return
        if path == "/":
            raise Failure("EINVAL")
        self._remove(path, tx)

    def set_permissions(
        self, peer: Peer, path: str, permissions: tuple[Permission, ...], tx: Transaction | None
    ) -> None:
        rights = self.rights(peer)
        if not rights.privileged and len(permissions) > self.quotas.permissions:
            raise Failure("ENOSPC")
        absent = frozenset(p.domid for p in permissions if not self._domains.exists(p.domid))
        if permissions[0].domid in absent:
            raise Failure("ENOENT")
        if path.startswith("@"):
            self._set_special_permissions(path, Node(permissions, 0, dead=absent), rights)
            return
        path = peer.absolute(path)
        node = self.tree.find(path, tx, rights, "wo")
        if not rights.privileged and permissions[0].domid != node.permissions[0].domid:
            raise Failure("EPERM")
        self._put(path, replace(node, permissions=permissions, dead=absent), tx, rights)
        self._changed(path, tx, node)

    def _set_special_permissions(self, name: str, node: Node, rights: Rights) -> None:
        if name not in self._special:
            raise Failure("EINVAL")
        if "wo" not in self.tree.may(rights, self._special[name]):
            raise Failure("EACCES")
        self._special[name] = node

    def _find_or_none(self, path: str, tx: Transaction | None, rights: Rights) -> Node | None:
        """None when it is missing and the caller may know that."""
        try:
            return self.tree.find(path, tx, rights, "w")
        except Failure as failure:
            if failure.args[0] != "ENOENT":
                raise
            return None

    def _put(self, path: str, node: Node, tx: Transaction | None, rights: Rights) -> None:
        if not rights.privileged and node.size >= self.quotas.node_bytes:
            raise Failure("ENOSPC")
        self.tree.put(path, node, tx)

    def _create(self, path: str, value: bytes, tx: Transaction | None, rights: Rights) -> None:
        """With all missing ancestors.  Permissions are the parent's, but a guest owns what it makes."""
        missing = self.tree.missing(path, tx)
        if not rights.privileged and self.tree.owned[rights.domid] + len(missing) > self.quotas.nodes:
            raise Failure("ENOSPC")
        made = self.tree.with_new(missing, value, tx, None if rights.privileged else rights.domid)
        if not rights.privileged and any(node.size >= self.quotas.node_bytes for node in made.values()):
            raise Failure("ENOSPC")
        for made_path, node in made.items():
            self.tree.put(made_path, node, tx)

    def _remove(self, path: str, tx: Transaction | None) -> None:
        for below, node in list(self.tree.walk(path, tx)):
            self._changed(below, tx, node, exact=below != path)
            self.tree.put(below, None, tx)
        self.tree.unlink(path, tx)

    # Transactions

    def transaction(self, peer: Peer, tx_id: int) -> Transaction | None:
        """The peer's transaction; None for 0.  Raises ENOENT."""
        if tx_id == 0:
            return None
        if tx_id not in peer.transactions:
            raise Failure("ENOENT")
        return peer.transactions[tx_id]

    def start_transaction(self, peer: Peer) -> int:
        if peer.domid and len(peer.transactions) > self.quotas.transactions:
            raise Failure("ENOSPC")
        tx_id = next(peer.tx_ids)
        peer.transactions[tx_id] = Transaction()
        return tx_id

    def end_transaction(self, peer: Peer, tx_id: int, *, commit: bool) -> None:
        """Commit or forget.  EAGAIN when something that was seen has changed outside."""
        tx = peer.transactions.pop(tx_id)
        if not commit:
            return
        if tx.failed:
            raise Failure("ENOMEM")
        growth = self.tree.growth(tx, peer.domid) if peer.domid else 0
        if peer.domid and growth > 0 and self.tree.owned[peer.domid] + growth >= self.quotas.nodes:
            raise Failure("ENOSPC")
        if self.tree.conflicts(tx):
            raise Failure("EAGAIN")
        self.tree.apply(tx)
        for path, accessed in tx.accessed.items():
            if accessed.announced is not None:
                self._fire(path, exact=accessed.announced, before=accessed.seen)

    # Watches

    def watch(self, peer: Peer, path: str, token: bytes) -> Watch:
        """Raises EINVAL, EEXIST, E2BIG.  The caller fires it once, after its reply."""
        relative_to = "" if path.startswith(("/", "@")) else peer.home + "/"
        watch = Watch(peer.absolute(path), token, relative_to)
        is_special = path.startswith("@") and len(path) <= RELATIVE_PATH_MAX
        if not is_special and not is_node_path(watch.path):
            raise Failure("EINVAL")
        if any((known.path, known.token) == (watch.path, token) for known in peer.watches):
            raise Failure("EEXIST")
        if peer.domid and len(peer.watches) > self.quotas.watches:
            raise Failure("E2BIG")
        peer.watches.append(watch)
        self._watchers.add(peer, watch)
        return watch

    def unwatch(self, peer: Peer, path: str, token: bytes) -> None:
        for watch in peer.watches:
            if (watch.path, watch.token) == (peer.absolute(path), token):
                peer.watches.remove(watch)
                self._watchers.remove(peer, watch)
                return
        raise Failure("ENOENT")

    def _changed(
        self, path: str, tx: Transaction | None, before: Node | None = None, *, exact: bool = False
    ) -> None:
        """Fire now, or remember it for the commit (where a non-exact event replaces an exact one)."""
        if tx is None:
            self._fire(path, exact=exact, before=before)
        else:
            self.tree.look(path, tx)
            accessed = tx.accessed[path]
            accessed.announced = exact if accessed.announced is None else accessed.announced and exact

    def _fire(self, path: str, *, exact: bool, before: Node | None = None) -> None:
        """To all who may read the node or its parent, or could read it `before`: who loses sight is told."""
        node = self.tree.look(path, None)
        above = self.tree.look(parent_of(path), None) if node else None
        views = [view for view in (before, node, above, self._special.get(path)) if view is not None]
        for peer in self._watchers.of(path, exact=exact):
            rights = self.rights(peer)
            if any("r" in self.tree.may(rights, view) for view in views):
                for watch in peer.watches:
                    if watch.covers(path, exact=exact):
                        peer.send_event(watch, path)

    # Domains

    def is_introduced(self, domid: Domid) -> bool:
        return domid in self._introduced

    def introduce(self, domid: Domid, port: int) -> None:
        """Raises EINVAL when the domain is not there, not built, or has no such port for us."""
        if port <= 0 or not self._domains.bind_store(domid, port):
            raise Failure("EINVAL")
        self._forget_peers(domid)
        if domid not in self._introduced:
            self._introduced[domid] = False
            self._fire(paths.INTRODUCE_DOMAIN, exact=True)
        self.introduced(domid)

    def release(self, domid: Domid) -> None:
        """Forget a domain: its connections, the nodes that it owns, its rights.  Fires @releaseDomain."""
        del self._introduced[domid]
        self.released(domid)
        for peer in [peer for peer in self.peers if peer.domid == domid]:
            self.disconnect(peer)
        self._forget(domid)
        self._fire(paths.RELEASE_DOMAIN, exact=True)

    def shut_down(self, domid: Domid) -> None:
        """A domain has stopped; it is announced once."""
        if self._introduced.get(domid) is False:
            self._introduced[domid] = True
            self._fire(paths.RELEASE_DOMAIN, exact=True)

    def gone(self, domid: Domid) -> None:
        """A domain was destroyed."""
        if domid in self._introduced:
            self.release(domid)
        else:
            self._forget(domid)

    def _forget(self, domid: Domid) -> None:
        self._targets = {stub: of for stub, of in self._targets.items() if domid not in (stub, of)}
        self._remove_orphans(domid)
        self.tree.bury(domid, [tx for peer in self.peers for tx in peer.transactions.values()])
        self._special = {name: without(node, domid) for name, node in self._special.items()}

    def resume(self, domid: Domid) -> None:
        self._introduced[domid] = False

    def set_target(self, domid: Domid, target: Domid) -> None:
        self._targets[domid] = target

    def check_introduced(self, domid: Domid) -> None:
        if domid not in self._introduced:
            raise Failure("ENOENT")

    def _forget_peers(self, domid: Domid) -> None:
        for peer in self.peers:
            if peer.domid == domid:
                self.forget(peer)

    def _remove_orphans(self, domid: Domid) -> None:
        for path in self.tree.of_owner(domid):
            if self.tree.look(path, None) is not None:
                self._remove(path, None)
