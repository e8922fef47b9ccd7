# SPDX-License-Identifier: GPL-2.0-or-later
"""Who is calling: the unique name of a sender → the domain behind it.

The answer never comes from a message.  The bus is asked first; on a stock bus a sender whose process is an
rpc-proxy is a guest, and that proxy, which made the connection, says which; anybody else is dom0.
Not knowing never allows: what cannot be found out is refused, and asked again the next time.

An rpc-proxy owns `com.citrix.xenclient.rpc_proxy.p<PID>` before it forwards a guest's first message, and lets
no guest own such a name.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from openxt_bus.connection import BUS_PATH, Bus
from openxt_bus.matching import BUS_NAME, Match, Signal
from openxt_core.errors import AccessDenied, OpenxtError, RemoteError, UnknownMethod
from openxt_core.ids import DOM0, DOM0_UUID, RPC_PROXY_NAME, Domid, Uuid

log = logging.getLogger(__name__)

IDENTITY_INTERFACE = f"{RPC_PROXY_NAME}.identity"
PROXY_PREFIX = f"{RPC_PROXY_NAME}.p"
MAX_REMEMBERED = 4096
TIMEOUT_S = 10.0
MOURNING_S = 60.0
"""For so long the connections of a proxy that went away are still taken for guests."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The domain a call comes from."""

    domid: Domid
    uuid: Uuid | None

    @property
    def is_dom0(self) -> bool:
        return self.domid == DOM0


class Identity:
    """Finds callers, and remembers each until its connection is gone."""

    def __init__(self, bus: Bus, uuid_of: Callable[[Domid], Awaitable[Uuid | None]]) -> None:
        self._bus = bus
        self._uuid_of = uuid_of
        self._known: OrderedDict[str, Caller] = OrderedDict()
        self._asking: dict[str, asyncio.Task[Caller]] = {}
        self._gone_proxies: dict[int, float] = {}
        self._following: asyncio.Task[None] | None = None
        self._bus_knows_domids = True

    def cached(self, sender: str) -> Caller | None:
        """The caller if it is known already; asks nobody."""
        return self._known.get(sender)

    async def of(self, sender: str) -> Caller:
        """The caller behind a unique name.  Raises AccessDenied when it cannot be found out."""
        known = self._known.get(sender)
        if known is not None:
            return known
        asking = self._asking.get(sender)
        if asking is None:
            asking = self._asking[sender] = asyncio.create_task(self._find_out(sender))
            asking.add_done_callback(lambda done: self._asked(sender, done))
        return await asyncio.shield(asking)

    def _asked(self, sender: str, done: "asyncio.Task[Caller]") -> None:
        self._asking.pop(sender, None)
        if not done.cancelled():
            done.exception()  # whoever asked has it; nobody may be left to ask

    async def _find_out(self, sender: str) -> Caller:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._follow_connections()
                caller = await self._caller(await self._domid(sender))
        except (OpenxtError, OSError) as error:
            log.warning("refused %s, whose domain is not known: %s", sender, error)
            raise AccessDenied(f"the domain of {sender} is not known") from error
        self._remember(sender, caller)
        return caller

    def _remember(self, sender: str, caller: Caller) -> None:
        """A connection may have ended meanwhile; unique names are never used again, so it does no harm."""
        self._known[sender] = caller
        while len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)

    async def _caller(self, domid: int) -> Caller:
        if domid == DOM0:
            return Caller(DOM0, DOM0_UUID)
        if domid < 0:
            raise AccessDenied(f"domain {domid}")
        uuid = await self._uuid_of(Domid(domid))
        if uuid is None:
            raise AccessDenied(f"domain {domid} has no uuid")
        return Caller(Domid(domid), uuid)

    async def _domid(self, sender: str) -> int:
        if self._bus_knows_domids:
            try:
                return await self._ask_bus_int("GetConnectionDOMID", sender)
            except RemoteError as error:
                if error.name != UnknownMethod.dbus_name:
                    raise
                self._bus_knows_domids = False
        pid = await self._ask_bus_int("GetConnectionUnixProcessID", sender)
        return await self._domid_by_process(sender, pid)

    async def _domid_by_process(self, sender: str, pid: int) -> int:
        name = f"{PROXY_PREFIX}{pid}"
        proxy = await self._bus.name_owner(name)
        if proxy is None:
            if self._is_mourned(pid):
                raise AccessDenied(f"rpc-proxy {pid} went away")
            return DOM0
        if proxy == sender:
            return DOM0
        if await self._ask_bus_int("GetConnectionUnixProcessID", proxy) != pid:
            raise AccessDenied(f"{name} is owned by another process")
        reply = await self._bus.call(proxy, "/", IDENTITY_INTERFACE, "get_connection_domid", "s", (sender,))
        return _single_int(reply)

    async def _ask_bus_int(self, member: str, name: str) -> int:
        return _single_int(await self._bus.call(BUS_NAME, BUS_PATH, BUS_NAME, member, "s", (name,)))

    # Connections that end

    async def _follow_connections(self) -> None:
        """One rule for all connections: one each would cost a short-lived client three times as much."""
        if self._following is None or (self._following.done() and self._following.exception()):
            self._following = asyncio.create_task(self._subscribe())
        await asyncio.shield(self._following)

    async def _subscribe(self) -> None:
        match = Match(BUS_NAME, "NameOwnerChanged", sender=BUS_NAME)
        await self._bus.subscribe(match, self._owner_changed)

    def _owner_changed(self, signal: Signal) -> None:
        name, _, new_owner = signal.body
        if new_owner:
            return
        self._known.pop(name, None)
        number = name.removeprefix(PROXY_PREFIX)
        if number != name and number.isdecimal():
            self._gone_proxies[int(number)] = asyncio.get_running_loop().time()

    def _is_mourned(self, pid: int) -> bool:
        since = asyncio.get_running_loop().time() - MOURNING_S
        self._gone_proxies = {one: when for one, when in self._gone_proxies.items() if when > since}
        return pid in self._gone_proxies


def _single_int(reply: object) -> int:
    match reply:
        case [int() as number]:
            return number
    raise AccessDenied(f"not a number: {reply!r:.60}")
