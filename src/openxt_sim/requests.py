# SPDX-License-Identifier: GPL-2.0-or-later
"""XenStore requests: packet in, replies and events into the peer's outbox.  No I/O.

Reads the payloads as C xenstored 4.17 does, with its order of checks: unknown operation (ENOSYS), not
allowed to a guest (EACCES), unknown transaction (ENOENT), then the operation's own.
"""

from collections.abc import Callable
from dataclasses import dataclass

from openxt_core.errors import InvalidArgs
from openxt_core.ids import Domid
from openxt_sim.peers import Peer
from openxt_sim.store import Store
from openxt_sim.tree import Failure, Transaction
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.wire import (
    PAYLOAD_MAX,
    Op,
    Packet,
    format_permissions,
    parse_permission,
    split_terminated,
)

_OK = b"OK\0"
_DOMID_SELF = 0x7FF0
_CONTROL_WORDS = frozenset({"check", "log", "logfile", "memreport", "print", "quota", "quota-soft", "help"})


@dataclass(frozen=True, slots=True)
class Request:
    store: Store
    peer: Peer
    packet: Packet
    tx: Transaction | None

    @property
    def words(self) -> list[bytes]:
        return split_terminated(self.packet.payload)

    @property
    def one(self) -> str:
        """The payload as exactly one string.  Raises EINVAL."""
        if len(self.words) != 1 or not self.packet.payload.endswith(b"\0"):
            raise Failure("EINVAL")
        return _text(self.words[0])

    def first(self, count: int) -> list[str]:
        """The first strings; more are ignored.  Raises EINVAL when there are fewer."""
        if len(self.words) < count:
            raise Failure("EINVAL")
        return [_text(word) for word in self.words[:count]]


def _text(word: bytes) -> str:
    """Latin 1 keeps every byte apart; none above 127 can be in a valid path."""
    return word.decode("latin-1")


def _number(text: str) -> int:
    """Leading digits, like atoi: 0 when there are none."""
    digits = text.strip()
    end = 1 if digits[:1] in ("-", "+") else 0
    while digits[end : end + 1].isascii() and digits[end : end + 1].isdigit():
        end += 1
    return int(digits[:end]) if digits[:end].strip("+-") else 0


def _directory(request: Request) -> bytes:
    return _listing(request, request.one)


def _listing(request: Request, path: str) -> bytes:
    node = request.store.read(request.peer, path, request.tx)
    return "".join(name + "\0" for name in node.children).encode("latin-1")


def _directory_part(request: Request) -> bytes:
    """Generation, NUL, whole names from an offset; one empty name more after the last."""
    if len(request.words) != 2:
        raise Failure("EINVAL")
    path, offset_text = request.first(2)
    node = request.store.read(request.peer, path, request.tx)
    listing, offset = _listing(request, path), max(0, _number(offset_text))
    head = str(node.generation).encode() + b"\0"
    if offset >= len(listing):
        return head + b"\0"
    room = PAYLOAD_MAX - len(head) - 1
    part = listing[offset : offset + room]
    part = part[: part.rfind(b"\0") + 1]
    return head + part + (b"\0" if offset + len(part) == len(listing) else b"")


def _read(request: Request) -> bytes:
    return request.store.read(request.peer, request.one, request.tx).value


def _get_permissions(request: Request) -> bytes:
    return format_permissions(request.store.read(request.peer, request.one, request.tx).permissions)


def _write(request: Request) -> bytes:
    path, found, value = request.packet.payload.partition(b"\0")
    if not found:
        raise Failure("EINVAL")
    request.store.write(request.peer, _text(path), value, request.tx)
    return _OK


def _mkdir(request: Request) -> bytes:
    request.store.mkdir(request.peer, request.one, request.tx)
    return _OK


def _rm(request: Request) -> bytes:
    request.store.rm(request.peer, request.one, request.tx)
    return _OK


def _set_permissions(request: Request) -> bytes:
    path, *texts = request.first(2)[:1] + [_text(word) for word in request.words[1:]]
    try:
        permissions = tuple(parse_permission(text) for text in texts)
    except InvalidArgs:
        raise Failure("EINVAL") from None
    request.store.set_permissions(request.peer, path, permissions, request.tx)
    return _OK


def _transaction_start(request: Request) -> bytes:
    if request.tx is not None:
        raise Failure("EBUSY")
    return str(request.store.start_transaction(request.peer)).encode() + b"\0"


def _transaction_end(request: Request) -> bytes:
    if request.one not in ("T", "F"):
        raise Failure("EINVAL")
    if request.tx is None:
        raise Failure("ENOENT")
    request.store.end_transaction(request.peer, request.packet.tx_id, commit=request.one == "T")
    return _OK


def _unwatch(request: Request) -> bytes:
    path, token = request.first(2)
    request.store.unwatch(request.peer, path, token.encode("latin-1"))
    return _OK


def _reset_watches(request: Request) -> bytes:
    request.store.forget(request.peer)
    return _OK


def _introduce(request: Request) -> bytes:
    domid, _, port = request.first(3)
    request.store.introduce(Domid(_number(domid)), _number(port))
    return _OK


def _guest_domid(request: Request) -> Domid:
    domid = Domid(_number(request.one))
    if domid == 0:
        raise Failure("EINVAL")
    request.store.check_introduced(domid)
    return domid


def _release(request: Request) -> bytes:
    request.store.release(_guest_domid(request))
    return _OK


def _resume(request: Request) -> bytes:
    request.store.resume(_guest_domid(request))
    return _OK


def _set_target(request: Request) -> bytes:
    domid, target = (Domid(_number(word)) for word in request.first(2))
    request.store.check_introduced(domid)
    request.store.check_introduced(target)
    request.store.set_target(domid, target)
    return _OK


def _get_domain_path(request: Request) -> bytes:
    return paths.domain(Domid(_number(request.one))).encode() + b"\0"


def _is_domain_introduced(request: Request) -> bytes:
    domid = Domid(_number(request.one))
    return b"T\0" if domid == _DOMID_SELF or request.store.is_introduced(domid) else b"F\0"


def _control(request: Request) -> bytes:
    """The words are known, but nothing here has a log or a memory report to control."""
    if request.first(1)[0] not in _CONTROL_WORDS:
        raise Failure("EINVAL")
    return _OK


@dataclass(frozen=True, slots=True)
class Operation:
    run: Callable[[Request], bytes]
    guests: bool = True  # may an unprivileged domain ask it?
    in_transaction: bool = True  # False: the transaction id is not looked at


OPERATIONS: dict[int, Operation] = {
    Op.CONTROL:              Operation(_control, guests=False),
    Op.DIRECTORY:            Operation(_directory),
    Op.READ:                 Operation(_read),
    Op.GET_PERMS:            Operation(_get_permissions),
    Op.UNWATCH:              Operation(_unwatch, in_transaction=False),
    Op.TRANSACTION_START:    Operation(_transaction_start),
    Op.TRANSACTION_END:      Operation(_transaction_end),
    Op.INTRODUCE:            Operation(_introduce, guests=False),
    Op.RELEASE:              Operation(_release, guests=False),
    Op.GET_DOMAIN_PATH:      Operation(_get_domain_path),
    Op.WRITE:                Operation(_write),
    Op.MKDIR:                Operation(_mkdir),
    Op.RM:                   Operation(_rm),
    Op.SET_PERMS:            Operation(_set_permissions),
    Op.IS_DOMAIN_INTRODUCED: Operation(_is_domain_introduced, guests=False),
    Op.RESUME:               Operation(_resume, guests=False),
    Op.SET_TARGET:           Operation(_set_target, guests=False),
    Op.RESET_WATCHES:        Operation(_reset_watches),
    Op.DIRECTORY_PART:       Operation(_directory_part),
}  # fmt: skip


def handle(store: Store, peer: Peer, packet: Packet) -> None:
    """Answer one request of `peer`.  Never raises for anything a client may send."""
    try:
        if packet.op == Op.WATCH:
            _watch(store, peer, packet)
        else:
            peer.outbox.append(_answer(store, peer, packet))
    except Failure as failure:
        peer.outbox.append(packet.error(failure.args[0]))


def _answer(store: Store, peer: Peer, packet: Packet) -> Packet:
    operation = OPERATIONS.get(packet.op)
    if operation is None:
        raise Failure("ENOSYS")
    if peer.domid and not operation.guests:
        raise Failure("EACCES")
    tx = store.transaction(peer, packet.tx_id) if operation.in_transaction else None
    payload = operation.run(Request(store, peer, packet, tx))
    if len(payload) > PAYLOAD_MAX:
        raise Failure("E2BIG")
    return packet.reply(payload)


def _watch(store: Store, peer: Peer, packet: Packet) -> None:
    """The only request that is answered before its event."""
    path, token = Request(store, peer, packet, None).first(2)
    watch = store.watch(peer, path, token.encode("latin-1"))
    peer.outbox.append(packet.reply(_OK))
    peer.send_event(watch, watch.path)
