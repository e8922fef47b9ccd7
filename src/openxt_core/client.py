# SPDX-License-Identifier: GPL-2.0-or-later
"""Bases of the generated client and signal classes.  Pure but for what the caller does.

They know the calling convention (no out argument → None, one → the value, several → a tuple)
and the standard interface for properties; the generated classes add names and types.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from openxt_core.errors import InvalidArgs, Unavailable
from openxt_core.signature import Variant, check_body
from openxt_core.spec import Caller, Emitter, Interface, Value

PROPERTIES = "org.freedesktop.DBus.Properties"


class Client:
    """One interface of an object of another program.

    `interface` overrides the name on the wire, for programs that name it per instance; `timeout_s`
    holds for each call.  Every call raises RemoteError for an error reply, Unavailable without one.
    """

    SPEC: ClassVar[Interface]

    def __init__(
        self,
        caller: Caller,
        destination: str,
        path: str = "/",
        *,
        interface: str = "",
        timeout_s: float = 25.0,
    ) -> None:
        self._caller = caller
        self._destination = destination
        self._path = path
        self._interface = interface or self.SPEC.name
        self._timeout_s = timeout_s

    async def _invoke(self, member: str, *args: Value) -> Any:
        method = self.SPEC.method[member]
        reply = await self._ask(self._interface, member, method.in_signature, args)
        try:
            check_body(reply, method.out_signature)
        except InvalidArgs as error:
            raise self._odd_reply(member) from error
        if len(method.outs) == 1:
            return reply[0]
        return tuple(reply) or None

    async def get_property(self, name: str) -> Value:
        """The bare value of one property."""
        reply = await self._ask(PROPERTIES, "Get", "ss", (self._interface, name))
        if len(reply) != 1 or not self._is_value_of(name, reply[0]):
            raise self._odd_reply(f"Get of {name}")
        return reply[0].value

    async def set_property(self, name: str, value: Value) -> None:
        """Set one property, sent with its declared type."""
        typed = Variant(self.SPEC.property[name].type, value)
        await self._ask(PROPERTIES, "Set", "ssv", (self._interface, name, typed))

    async def get_all(self) -> dict[str, Value]:
        """The bare values of all readable properties."""
        reply = await self._ask(PROPERTIES, "GetAll", "s", (self._interface,))
        if len(reply) != 1 or not isinstance(reply[0], dict):
            raise self._odd_reply("GetAll")
        for name, variant in reply[0].items():
            if not self._is_value_of(name, variant):
                raise self._odd_reply(f"GetAll, {name}")
        return {name: variant.value for name, variant in reply[0].items()}

    async def _ask(
        self, interface: str, member: str, signature: str, body: Sequence[Value]
    ) -> Sequence[Value]:
        return await self._caller.call(
            self._destination, self._path, interface, member, signature, body, timeout_s=self._timeout_s
        )

    def _is_value_of(self, name: str, value: Value) -> bool:
        """Whether it is a variant of the property's type; one we do not know may have any."""
        known = self.SPEC.property.get(name)
        return isinstance(value, Variant) and (known is None or value.signature == known.type)

    def _odd_reply(self, what: str) -> Unavailable:
        return Unavailable(f"{self._destination} answered {self._interface} {what} in another form")


class Signals:
    """Sends the signals of one interface from one path."""

    SPEC: ClassVar[Interface]

    def __init__(self, emitter: Emitter, path: str = "/") -> None:
        self._emitter = emitter
        self._path = path

    def _emit(self, member: str, *args: Value) -> None:
        signature = self.SPEC.signal[member].signature
        self._emitter.emit(self._path, self.SPEC.name, member, signature, args)
