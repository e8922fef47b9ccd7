# SPDX-License-Identifier: GPL-2.0-or-later
"""Which transport keeps v4v on this host: vchans on real Xen, UNIX sockets on a simulated one."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from openxt_bus.transport.base import Listener, OnStream, Peer, Stream, Transport
from openxt_bus.transport.sockets import SocketListener
from openxt_bus.transport.unix import UnixTransport
from openxt_core.ids import DOM0, Domid
from openxt_core.places import Places, v4v_keeper

if TYPE_CHECKING:
    from openxt_xen.vchan.ring import Ring


def v4v_transport(environ: Mapping[str, str], places: Places) -> Transport:
    """The one that `v4v_keeper` names.  Raises BadRequest, and Unavailable where vchans cannot work."""
    return UnixTransport(places.v4v, DOM0) if v4v_keeper(environ) == "unix" else VchanTransport()


class Rings(Protocol):
    """Where vchans come from; both calls may block, and raise Unavailable."""

    def accept(self, domid: Domid, path: str) -> "Ring":
        """Join what a domain offers."""
        ...

    def offer(self, domid: Domid, path: str, size: int) -> "Ring":
        """Share rings with a domain."""
        ...


class VchanTransport:
    """Fulfils `Transport` over libxenvchan.  docs/vchan.md tells how two domains meet."""

    def __init__(self, rings: Rings | None = None) -> None:
        """`rings` are the hypervisor's by default.  Raises Unavailable where those cannot work."""
        from openxt_xen.vchan.ring import XenRing, check_host  # other transports need none of this

        if rings is None:
            check_host()
        self._rings = rings or XenRing

    async def listen(self, port: int, on_stream: OnStream) -> Listener:
        from openxt_xen.vchan.server import VchanServer

        listener = SocketListener(on_stream, _named_by_xen)
        listener.server = await VchanServer.start(port, listener.accept, self._rings.accept)
        return listener

    async def connect(self, domid: Domid, port: int) -> Stream:
        from openxt_xen.vchan.connect import connect

        reader, writer = await connect(domid, port, self._rings.offer)
        return Stream(reader, writer, Peer(domid, port))


async def _named_by_xen(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Peer:
    return Peer(writer.get_extra_info("domid"))
