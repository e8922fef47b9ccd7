# SPDX-License-Identifier: GPL-2.0-or-later
"""`openxt-uid`: serves the pages of the browser UI: on v4v port 80 to the UI's VM, or on TCP."""

import asyncio
import functools
import logging
import os
import sys
from pathlib import Path

from openxt_bus.daemon import Lifetime, run
from openxt_bus.transport.base import Stream
from openxt_bus.transport.unix import UnixTransport
from openxt_core.errors import BadRequest, Unavailable
from openxt_core.ids import DOM0
from openxt_core.places import Places
from openxt_uid.server import Server
from openxt_uid.settings import Settings, config_file, parse

log = logging.getLogger(__name__)

READ_SIZE = 16 * 1024


async def _live(settings: Settings, places: Places, lifetime: Lifetime) -> None:
    if not settings.files.is_dir():
        raise BadRequest(f"{settings.files}: no such folder; --files-dir names that of the pages")
    server = Server(settings)
    listening = _listen_tcp(settings, server) if settings.address else _listen_v4v(settings, places, server)
    async with await listening:
        log.info("serving %s on %s port %d", settings.files, settings.address or "v4v", settings.port)
        lifetime.ready()
        await lifetime.until_stopped()


async def _listen_tcp(settings: Settings, server: Server) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _converse(server, reader, writer, str(writer.get_extra_info("peername")))

    try:
        return await asyncio.start_server(serve, settings.address, settings.port)
    except OSError as error:
        raise Unavailable(f"cannot listen on {settings.address}:{settings.port}: {error.strerror}") from error


class _V4v:
    """The v4v listener as a context."""

    def __init__(self, settings: Settings, places: Places, server: Server) -> None:
        self._settings, self._places, self._server = settings, places, server

    async def __aenter__(self) -> None:
        transport = UnixTransport(self._places.v4v, DOM0)
        self._listener = await transport.listen(self._settings.port, self._serve)

    async def __aexit__(self, *_: object) -> None:
        await self._listener.close()

    async def _serve(self, stream: Stream) -> None:
        if await self._is_welcome(stream):
            who = f"domain {stream.peer.domid}"
            await _converse(self._server, stream.reader, stream.writer, who)

    async def _is_welcome(self, stream: Stream) -> bool:
        """Whether the domain is one of those the settings name; one that cannot be named is not."""
        from openxt_xen.domains import uuid_of
        from openxt_xen.xenstore.client import XenStore

        if not self._settings.only_uuids:
            return True
        store = await XenStore.connect()
        try:
            uuid = await uuid_of(store, stream.peer.domid)
        finally:
            store.close()
        if uuid not in self._settings.only_uuids:
            log.warning("domain %d (%s) is not served: only-uuids", stream.peer.domid, uuid)
            return False
        return True


async def _listen_v4v(settings: Settings, places: Places, server: Server) -> _V4v:
    if not os.environ.get("OPENXT_HYPERVISOR", "").startswith("simulated:"):
        raise Unavailable("the pages are not served over vchans: give --address to serve them on TCP")
    return _V4v(settings, places, server)


async def _converse(
    server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, who: str
) -> None:
    async def write(data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    try:
        await server.serve(lambda: reader.read(READ_SIZE), write, who)
    finally:
        writer.close()


def main() -> int:
    places = Places.of(os.environ)
    argv = sys.argv[1:]
    try:
        settings = parse(argv, _read(config_file(argv) or places.at("/etc/uid.conf")))
    except BadRequest as error:
        print(f"openxt-uid: {error}", file=sys.stderr)
        return 1
    return run("openxt-uid", functools.partial(_live, settings, places))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise BadRequest(f"{path}: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(main())
