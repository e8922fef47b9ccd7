# SPDX-License-Identifier: GPL-2.0-or-later
"""Types of arguments that a client does not give: from our interface tables, else by introspection.

An interface that we describe ourselves is never introspected, so that most messages cost no round trip.
"""

import importlib
import logging
import pkgutil
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from functools import cached_property

from openxt_bus.connection import Bus
from openxt_bus.introspect import INTROSPECTABLE, OBJECT_MANAGER, PEER, PROPERTIES
from openxt_core.errors import OpenxtError, RemoteError, Unavailable
from openxt_core.spec import Interface
from openxt_rpcproxy.introspection import Signatures, method_signatures

log = logging.getLogger(__name__)

INTROSPECT_TIMEOUT_S = 5.0
MAX_OBJECTS = 64  # whose answers are kept, per conversation


class InterfaceTables:
    """Every interface of the IDL, and the standard ones.  Loaded when first asked: that takes a while."""

    def method(self, interface: str, member: str) -> str | None:
        """Types of the in arguments; None when we do not describe it."""
        spec = self.by_name.get(interface)
        found = spec.method.get(member) if spec else None
        return found.in_signature if found else None

    def answer(self, interface: str, member: str) -> str | None:
        """Types of the out arguments."""
        spec = self.by_name.get(interface)
        found = spec.method.get(member) if spec else None
        return found.out_signature if found else None

    def signal(self, interface: str, member: str) -> str | None:
        spec = self.by_name.get(interface)
        found = spec.signal.get(member) if spec else None
        return found.signature if found else None

    @cached_property
    def by_name(self) -> Mapping[str, Interface]:
        standard = (INTROSPECTABLE, OBJECT_MANAGER, PEER, PROPERTIES)
        return {one.name: one for one in (*_described(), *standard)}


def _described() -> Iterator[Interface]:
    package = importlib.import_module("openxt_api")
    for module in pkgutil.iter_modules(package.__path__):
        yield from importlib.import_module(f"openxt_api.{module.name}").FILE.interfaces


class Introspection:
    """What objects say of themselves; asked once per conversation and object."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._known: OrderedDict[tuple[str, str], Signatures] = OrderedDict()

    async def method(self, destination: str, path: str, interface: str, member: str) -> str | None:
        """Types of the in arguments; None when the object does not say."""
        where = (destination, path)
        if where not in self._known:
            self._known[where] = await self._ask(destination, path)
            if len(self._known) > MAX_OBJECTS:
                self._known.popitem(last=False)
        return self._known[where].get((interface, member))

    async def _ask(self, destination: str, path: str) -> Signatures:
        try:
            (xml,) = await self._bus.call(
                *(destination, path, INTROSPECTABLE.name, "Introspect"), timeout_s=INTROSPECT_TIMEOUT_S
            )
            return method_signatures(str(xml))
        except (RemoteError, Unavailable, OpenxtError, ValueError) as error:
            log.info("%.80r %.80r cannot be introspected: %.200s", destination, path, error)
            return {}
