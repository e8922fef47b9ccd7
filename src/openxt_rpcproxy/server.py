# SPDX-License-Identifier: GPL-2.0-or-later
"""Accept clients, find out which domain each one is, and hold a conversation with each."""

import asyncio
import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass

from openxt_bus.framing import FramingError
from openxt_bus.transport.base import Listener, Stream
from openxt_core.errors import OpenxtError, Refused
from openxt_core.ids import DOM0, Domid
from openxt_core.places import Places
from openxt_rpcproxy import channels
from openxt_rpcproxy.audit import AuditLog
from openxt_rpcproxy.auth import AuthError, ClientAuth
from openxt_rpcproxy.budget import Budgets, LimitsExceeded, Share
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


@dataclass(frozen=True)
class Manner:
    """How conversations are held."""

    rewriting: Rewriting
    dialects: Callable[[Passage], tuple[Dialect, Dialect]]
    """How the client speaks, and how the bus."""


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
        self._budgets = Budgets(settings.limits)
        self.names: dict[str, Domid] = {}  # unique names of our clients' connections

    async def listen(self) -> Listener:
        return await channels.listen(self._settings.listen, self._places, self.serve)

    async def serve(self, stream: Stream) -> None:
        """One client, from its first byte to its last."""
        domid = stream.peer.domid if self._settings.incoming_domid is None else self._settings.incoming_domid
        budget = self._budgets.of(domid)
        share = None
        try:
            share = Share(budget)
            await self._converse(stream, await self.source_of(domid), share)
        except LimitsExceeded as error:
            if budget.may_complain(error.text):
                log.warning("LIMIT domain %d: %s; its conversation ended", domid, error)
        except (AuthError, FramingError, OpenxtError, TimeoutError, asyncio.IncompleteReadError) as error:
            if budget.lines.may_log():
                log.warning("conversation with domain %d ended: %s", domid, error or type(error).__name__)
        finally:
            if share is not None:
                share.end()

    async def source_of(self, domid: Domid) -> Source:
        """The domain's VM, or its target's for a stub domain.  Raises Unavailable without xenstore."""
        if not self._settings.firewall or domid <= DOM0:  # a serial line's peer is nobody
            return Source(domid)
        xenstore = await self._connected()
        target = await target_of(xenstore, domid)
        uuid = await uuid_of(xenstore, domid if target is None else target)
        return Source(domid, uuid, stubdom=target is not None)

    def gate(self, source: Source) -> Gate:
        """The policy for messages of that domain."""
        lines = self._budgets.of(source.domid).lines
        verbose, audit = self._settings.verbose, self.audit
        return Gate(source, self._sources, self._vms, verbose=verbose, lines=lines, audit=audit)

    async def _connected(self) -> XenStore:
        if self._xenstore is None:
            self._xenstore = await XenStore.connect()
            self._xenstore.closed = self._xenstore_lost
        return self._xenstore

    def _xenstore_lost(self) -> None:
        """Connect again when the next client comes."""
        self._xenstore = None

    async def _converse(self, stream: Stream, source: Source, share: Share) -> None:
        names: list[str] = []

        def named(name: str) -> None:
            names.append(name)
            self.names[name] = source.domid

        settings = self._settings
        gate = self.gate(source) if settings.firewall else None
        passage = Passage(source, gate, self._manner.rewriting, named, share)
        auth = None if settings.auto_auth else self._client_auth(source)
        conversation = Conversation(stream, self._manner.dialects(passage), source.domid)
        connect = functools.partial(channels.connect, settings.forward, self._places, self._connected)
        try:
            await conversation.run(connect, auth, passage, share, enters=not settings.json_out)
        finally:
            for name in names:
                self.names.pop(name, None)

    def _client_auth(self, source: Source) -> ClientAuth:
        uuid = (source.uuid or "") if self._settings.tell_uuid else ""
        return ClientAuth(uuid, is_dom0=source.domid == DOM0)

    def domid_of(self, name: str) -> Domid:
        """Which domain is behind a unique name of the bus.  Raises Refused when none of ours is."""
        try:
            return self.names[name]
        except KeyError:
            raise Refused(f"{name[:80]!r} is no connection of this proxy") from None
