# SPDX-License-Identifier: GPL-2.0-or-later
"""The proxy's two ends: where it listens, and where it connects to for each client."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from openxt_bus.transport.base import Listener, OnStream, Peer, Stream
from openxt_bus.transport.plain import listen_tcp, listen_unix
from openxt_core.errors import BadRequest, Unavailable
from openxt_core.ids import DOM0, Domid, parse_uuid
from openxt_core.places import Places
from openxt_rpcproxy.settings import Channel
from openxt_rpcproxy.v4v import v4v_transport
from openxt_xen.domains import domid_of
from openxt_xen.xenstore.client import XenStore

BUS_LIMIT = 256 * 1024
FIRST_PASSED_FD = 3
LOOPBACK = "127.0.0.1"

Xenstore = Callable[[], Awaitable[XenStore]]


async def listen(channel: Channel, places: Places, serve: OnStream) -> Listener:
    """Serve each client that comes.  Raises OSError; BadRequest for a passed socket that has no use here."""
    passed = passed_socket(os.environ)
    if passed is not None and channel.scheme not in ("unix", "tcp"):
        raise BadRequest(f"a socket was passed to us, but channel {channel} takes none")
    if channel.scheme == "unix":
        return await listen_unix(Path(channel.words[0]), serve, passed)
    if channel.scheme == "tcp":
        address, port = channel.words if len(channel.words) == 2 else (LOOPBACK, *channel.words)
        return await listen_tcp(address, int(port), serve, passed)
    if channel.scheme == "serial":
        return await _listen_serial(channel, serve)
    return await v4v_transport(os.environ, places).listen(int(channel.words[0]), serve)


async def _listen_serial(channel: Channel, serve: OnStream) -> Listener:
    from openxt_bus.transport.serial import listen_serial  # few have one

    return await listen_serial(Path(channel.words[0]), serve)


async def connect(channel: Channel, places: Places, xenstore: Xenstore) -> Stream:
    """A new stream to where clients are forwarded.  Raises OSError, Unavailable."""
    if channel.scheme == "unix":
        reader, writer = await asyncio.open_unix_connection(channel.words[0], limit=BUS_LIMIT)
        return Stream(reader, writer, Peer(DOM0))
    if channel.scheme == "serial":
        from openxt_bus.transport.serial import open_serial

        return await open_serial(Path(channel.words[0]))
    port, whom = channel.words
    domid = Domid(int(whom)) if channel.scheme == "v4v-domid" else await _domid_of(whom, xenstore)
    return await v4v_transport(os.environ, places).connect(domid, int(port))


async def _domid_of(uuid: str, xenstore: Xenstore) -> Domid:
    domid = await domid_of(await xenstore(), parse_uuid(uuid))
    if domid is None:
        raise Unavailable(f"VM {uuid} is not running")
    return domid


def passed_socket(environ: Mapping[str, str]) -> socket.socket | None:
    """The listening socket that a service manager passed to us.  Raises BadRequest for more than one.

    Source: sd_listen_fds(3).
    """
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = environ.get("LISTEN_FDS", "0")
    if count != "1":
        raise BadRequest(f"{count} sockets were passed to us; one is needed")
    os.set_inheritable(FIRST_PASSED_FD, False)
    return socket.socket(fileno=FIRST_PASSED_FD)
