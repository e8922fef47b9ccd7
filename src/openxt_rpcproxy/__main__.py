# SPDX-License-Identifier: GPL-2.0-or-later
"""`rpc-proxy`: guests → bus, message by message, by rule."""

import asyncio
import functools
import logging
import os
import resource
import sys

from openxt_api.rpc_proxy import RPC_PROXY
from openxt_api.rpc_proxy_identity import RPC_PROXY_IDENTITY
from openxt_api.rpc_proxy_rules import RPC_PROXY_RULES
from openxt_bus.connection import Bus
from openxt_bus.daemon import Lifetime, run
from openxt_bus.export import Face, ObjectTree
from openxt_bus.transport.base import Listener
from openxt_core.ids import RPC_PROXY_NAME
from openxt_core.places import Places
from openxt_rpcproxy.audit import AuditLog
from openxt_rpcproxy.bus_names import BusNames
from openxt_rpcproxy.dialect import RawDialect
from openxt_rpcproxy.objects import IdentityObject, RpcProxyObject
from openxt_rpcproxy.passage import Rewriting
from openxt_rpcproxy.rules.sources import RuleSources
from openxt_rpcproxy.server import Manner, Server
from openxt_rpcproxy.settings import Settings, parse
from openxt_rpcproxy.vms import Vms

log = logging.getLogger(__name__)

LAST = 19
"""The lowest niceness: with it guests are served in bunches, so that few calls of dom0 meet one of theirs."""


def _serve(bus: Bus, settings: Settings, server: Server, sources: RuleSources) -> None:
    tree = ObjectTree()
    faces = [Face(RPC_PROXY_IDENTITY, lambda call: IdentityObject(call, server))]
    if settings.server:
        faces.append(Face(RPC_PROXY, lambda call: RpcProxyObject(call, server, sources)))
        from openxt_rpcproxy.rules_object import RulesObject  # other instances answer no questions

        faces.append(Face(RPC_PROXY_RULES, lambda call: RulesObject(call, server, sources)))
    tree.route("/", *faces)
    bus.serve(tree)


async def _manner(bus: Bus, settings: Settings) -> Manner:
    names = None
    if settings.translate_anonymous:
        names = BusNames(bus)
        await names.watch()
    rewriting = Rewriting(settings.request_name, settings.owner_name, names.well_known if names else None)
    if settings.is_raw:
        return Manner(rewriting, lambda _passage: (RawDialect(), RawDialect()))
    from openxt_rpcproxy.browser import Dialects  # most instances need no JSON and no WebSockets

    return Manner(rewriting, Dialects(bus, settings).of)


async def _live(settings: Settings, places: Places, lifetime: Lifetime) -> None:
    bus = await lifetime.connect()
    vms: Vms
    sources = RuleSources(settings.rules, lambda uuid: vms.rules(uuid))
    vms = Vms(bus, sources)
    await vms.watch()
    server = Server(settings, places, sources, vms, await _manner(bus, settings))
    _serve(bus, settings, server, sources)
    # whoever asks who a guest's connection is finds us by our process id
    await lifetime.own(bus, f"{RPC_PROXY_NAME}.p{os.getpid()}")
    if settings.server:
        await lifetime.own(bus, RPC_PROXY_NAME)
    if settings.audit is not None:
        server.audit = AuditLog(settings.audit)
        lifetime.on_hangup(server.audit.reopen)
    lifetime.on_hangup(sources.reload)
    listener = await server.listen()
    log.info("listening on %s", settings.listen)
    if settings.pidfile:
        settings.pidfile.write_text(f"{os.getpid()}\n")
    lifetime.ready()
    try:
        await _until_over(lifetime, listener)
    finally:
        await listener.close()
        if server.audit is not None:
            server.audit.close()
        if settings.pidfile:
            settings.pidfile.unlink(missing_ok=True)


async def _until_over(lifetime: Lifetime, listener: Listener) -> None:
    """Until we are stopped; the process of a serial line ends with its one conversation."""
    stopped = asyncio.ensure_future(lifetime.until_stopped())
    served = asyncio.ensure_future(listener.wait_served())
    try:
        await asyncio.wait((stopped, served), return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            stopped.result()
    finally:
        stopped.cancel()
        served.cancel()
        await asyncio.gather(stopped, served, return_exceptions=True)


def _allow_many_files() -> None:
    """Each conversation has two sockets."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _give_way() -> None:
    """What guests want comes after dom0's own work, unless whoever started us has decided otherwise.

    Where dom0 has a processor to spare that changes nothing.  Where it has not, guests that ask for as much
    as they can would take nearly all of it: docs/architecture.md has the figures.
    """
    if os.getpriority(os.PRIO_PROCESS, 0) == 0:
        os.setpriority(os.PRIO_PROCESS, 0, LAST)


def main() -> int:
    places = Places.of(os.environ)
    settings = parse(sys.argv[1:], places)
    _allow_many_files()
    if settings.is_for_guests:
        _give_way()
    return run("rpc-proxy", functools.partial(_live, settings, places))


if __name__ == "__main__":
    sys.exit(main())
