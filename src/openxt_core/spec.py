# SPDX-License-Identifier: GPL-2.0-or-later
"""What an interface file turns into: frozen tables that dispatch, introspection and tools read.

Also the three seams that generated code needs and others fill: `Service` (a server side object),
`Caller` (makes method calls) and `Emitter` (sends signals).  No I/O.
"""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from keyword import iskeyword
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

from openxt_core.errors import PropertyReadOnly, UnknownProperty

T = TypeVar("T")
MaybeAwaitable: TypeAlias = T | Awaitable[T]
"""A handler may be a plain function (answered at once) or a coroutine."""

Value = Any
"""A D-Bus value as the codec gives it: int, float, bool, str, bytes, list, dict, Variant.

`ay` is `bytes`; a struct is a list; `v` is `openxt_core.signature.Variant`.
"""


def attribute(name: str) -> str:
    """The Python name of a member: a keyword gets a trailing underscore; the wire name stays."""
    return f"{name}_" if iskeyword(name) else name


@dataclass(frozen=True)
class Arg:
    name: str  # may be empty: the original left some unnamed
    type: str


@dataclass(frozen=True)
class Method:
    name: str
    ins: tuple[Arg, ...] = ()
    outs: tuple[Arg, ...] = ()
    doc: str = ""

    @cached_property
    def in_signature(self) -> str:
        return "".join(arg.type for arg in self.ins)

    @cached_property
    def out_signature(self) -> str:
        return "".join(arg.type for arg in self.outs)


@dataclass(frozen=True)
class Signal:
    name: str
    args: tuple[Arg, ...] = ()
    doc: str = ""

    @cached_property
    def signature(self) -> str:
        return "".join(arg.type for arg in self.args)


@dataclass(frozen=True)
class Property:
    name: str  # keeps its dashes
    type: str
    access: str  # "read", "write" or "readwrite"
    doc: str = ""

    @property
    def readable(self) -> bool:
        return self.access != "write"

    @property
    def writable(self) -> bool:
        return self.access != "read"


@dataclass(frozen=True)
class Interface:
    name: str
    methods: tuple[Method, ...] = ()
    properties: tuple[Property, ...] = ()
    signals: tuple[Signal, ...] = ()
    doc: str = ""

    @cached_property
    def method(self) -> Mapping[str, Method]:
        return {m.name: m for m in self.methods}

    @cached_property
    def property(self) -> Mapping[str, Property]:
        return {p.name: p for p in self.properties}

    @cached_property
    def signal(self) -> Mapping[str, Signal]:
        return {s.name: s for s in self.signals}


@dataclass(frozen=True)
class EnumValue:
    suffix: str
    value: str | int
    doc: str = ""


@dataclass(frozen=True)
class Enum:
    name: str
    type: str
    values: tuple[EnumValue, ...] = ()
    doc: str = ""


@dataclass(frozen=True)
class IdlFile:
    """One interface file.  `node` is documentation only: the server chooses the paths."""

    name: str  # base name without extension
    node: str = ""
    interfaces: tuple[Interface, ...] = ()
    enums: tuple[Enum, ...] = ()
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One incoming method call, as a face sees it.

    `key` holds what the wild elements of the route matched: for `/vm/{vm}/disk/{disk}` two texts.
    """

    sender: str
    path: str
    interface: str
    member: str
    key: tuple[str, ...] = ()


@dataclass
class Service:
    """Server side of one interface at one path; generated bases add a method per D-Bus method.

    Property access is by name: rows answer, not a getter and a setter each.
    """

    SPEC: ClassVar[Interface]
    call: Call = field(default_factory=lambda: Call("", "/", "", ""))

    def get_property(self, name: str) -> MaybeAwaitable[Value]:
        """The bare value (not a variant) of a readable property."""
        raise UnknownProperty(f"{self.SPEC.name}.{name} is not readable, or does not exist")

    def set_property(self, name: str, value: Value) -> MaybeAwaitable[None]:
        """Set a writable property; the value has the declared type already."""
        raise PropertyReadOnly(f"{self.SPEC.name}.{name} is not writable, or does not exist")

    def get_all(self) -> MaybeAwaitable[dict[str, Value]] | None:
        """All readable properties at once, where that is cheaper than one by one; else None."""
        return None

    def get_all_marshalled(self) -> MaybeAwaitable[Any] | None:
        """GetAll's answer as `openxt_bus.properties.of_entries` makes it, where it is at hand; else None."""
        return None


class Caller(Protocol):
    """Who can make a method call on the bus."""

    async def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Value] = (),
        *,
        timeout_s: float = 25.0,
    ) -> Sequence[Value]:
        """The out arguments.  Raises RemoteError for an error reply, Unavailable when none came."""
        ...


class Emitter(Protocol):
    """Who can send a signal."""

    def emit(
        self, path: str, interface: str, member: str, signature: str = "", body: Sequence[Value] = ()
    ) -> None: ...
