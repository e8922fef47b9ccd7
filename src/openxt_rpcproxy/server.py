# SPDX-License-Identifier: GPL-2.0-or-later
"""Accept clients, find out which domain each one is, and hold a conversation with each."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from openxt_bus.framing import FramingError
from openxt_bus.transport.base import Listener, Stream
from openxt_bus.transport.plain import listen_tcp, listen_unix
from openxt_bus.transport.unix import UnixTransport
from openxt_core.errors import OpenxtError, Refused
from openxt_core.ids import DOM0, Domid
from openxt_core.places import Places
from openxt_rpcproxy.audit import AuditLog
from openxt_rpcproxy.auth import AuthError, ClientAuth
from openxt_rpcproxy.conversation import Conversation
from openxt_rpcproxy.dialect import Dialect
from openxt_rpcproxy.gate import Gate
from openxt_rpcproxy.passage import Passage, Rewriting
from openxt_rpcproxy.rules.model import Source
from openxt_rpcproxy.rules.sources import RuleSources
from openxt_rpcproxy.settings import Settings
from openxt_rpcproxy.vms import Vms
from openxt_xen.domains import target_of, uuid_of
from openxt_xen.xenstore.client import XenStore

log = logging.getLogger(__name__)

MAX_CONVERSATIONS_PER_DOMAIN = 32


@dataclass(frozen=True)
class Manner:
    """How conversations are held."""

    rewriting: Rewriting
    dialect: Callable[[Stream, Passage], Dialect]


class Server:
    def __init__(
        self, settings: Settings, places: Places, sources: RuleSources, vms: Vms, manner: Manner
    ) -> None:
        self._manner = manner
        self._settings = settings
        self._places = places
        self._sources = sources
        self._vms = vms
        self.audit: AuditLog | None = None
        self._xenstore: XenStore | None = None
        self._open: dict[Domid, int] = {}
        self.names: dict[str, Domid] = {}  # unique names of our clients' connections

    async def listen(self) -> Listener:
        channel = self._settings.listen
        word = channel.words[0]
        if channel.scheme == "unix":
            return await listen_unix(Path(word), self.serve)
        if channel.scheme == "tcp":
            return await listen_tcp(int(word), self.serve)
        return await UnixTransport(self._places.v4v, DOM0).listen(int(word), self.serve)

    async def serve(self, stream: Stream) -> None:
        """One client, from its first byte to its last."""
        domid = stream.peer.domid if self._settings.incoming_domid is None else self._settings.incoming_domid
        with self._counted(domid):
            try:
                source = await self.source_of(domid)
                await self._converse(stream, source)
            except (AuthError, FramingError, OpenxtError, TimeoutError, asyncio.IncompleteReadError) as error:
                log.warning("conversation with domain %d ended: %s", domid, error or type(error).__name__)

    @contextlib.contextmanager
    def _counted(self, domid: Domid) -> Iterator[None]:
        """A domain has so many conversations at once and no more."""
        if self._open.get(domid, 0) >= MAX_CONVERSATIONS_PER_DOMAIN and domid != DOM0:
            log.warning("domain %d has %d conversations open; refused", domid, self._open[domid])
            raise ConnectionAbortedError(f"too many conversations of domain {domid}")
        self._open[domid] = self._open.get(domid, 0) + 1
        try:
            yield
        finally:
            self._open[domid] -= 1
            if not self._open[domid]:
                del self._open[domid]

    async def source_of(self, domid: Domid) -> Source:
        """The domain's VM, or its target's for a stub domain.  Raises Unavailable without xenstore."""
        if not self._settings.firewall or domid == DOM0:
            return Source(domid)
        xenstore = await self._connected()
        target = await target_of(xenstore, domid)
        uuid = await uuid_of(xenstore, domid if target is None else target)
        return Source(domid, uuid, stubdom=target is not None)

    def gate(self, source: Source) -> Gate:
        """The policy for messages of that domain."""
        return Gate(source, self._sources, self._vms, verbose=self._settings.verbose, audit=self.audit)

    async def _connected(self) -> XenStore:
        if self._xenstore is None:
            self._xenstore = await XenStore.connect()
            self._xenstore.closed = self._xenstore_lost
        return self._xenstore

    def _xenstore_lost(self) -> None:
        """Connect again when the next client comes."""
        self._xenstore = None

    async def _converse(self, stream: Stream, source: Source) -> None:
        names: list[str] = []

        def named(name: str) -> None:
            names.append(name)
            self.names[name] = source.domid

        gate = self.gate(source) if self._settings.firewall else None
        passage = Passage(source, gate, self._manner.rewriting, named)
        auth = None if self._settings.auto_auth else self._client_auth(source)
        conversation = Conversation(stream, self._manner.dialect(stream, passage), passage, source.domid)
        try:
            await conversation.run(Path(self._settings.forward.words[0]), auth)
        finally:
            for name in names:
                del self.names[name]

    def _client_auth(self, source: Source) -> ClientAuth:
        return ClientAuth((source.uuid or "") if self._settings.tell_uuid else "")

    def domid_of(self, name: str) -> Domid:
        """Which domain is behind a unique name of the bus.  Raises Refused when none of ours is."""
        try:
            return self.names[name]
        except KeyError:
            raise Refused(f"{name[:80]!r} is no connection of this proxy") from None
