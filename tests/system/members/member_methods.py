# SPDX-License-Identifier: GPL-2.0-or-later
"""How rows of methods are written: what success looks like, and each error with what brings it about."""

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from peers import Peer, peer
from xenmgr_house import Desk

from openxt_core.spec import Interface, Method

SOME_UUID = "12345678-1234-1234-1234-123456789abc"


@dataclass
class Stage:
    """The host, one VM of it, and the method that is tried."""

    it: Desk
    vm: str  # path of a VM that can be started
    interface: Interface
    method: Method
    path: str  # where the interface is
    other: str = ""  # path of another VM, where a row has made one
    ends: "list[Callable[[], Awaitable[Any]]]" = field(default_factory=list)  # what is due afterwards

    @property
    def uuid(self) -> str:
        return self.it.uuid(self.vm)

    async def call(self, *body: Any, on: str = "") -> Any:
        """The method itself: its one out argument, a list of several, or None."""
        reply = await self.it.house.bus.call(
            "com.citrix.xenclient.xenmgr",
            on or self.path,
            self.interface.name,
            self.method.name,
            self.method.in_signature,
            body,
            timeout_s=60,
        )
        return reply[0] if len(self.method.outs) == 1 else list(reply) or None

    async def start(self) -> int:
        """Run the VM; its domain."""
        await self.it.vm(self.vm, "start")
        return int(await self.it.get(self.vm, "domid"))

    def asked(self) -> list[str]:
        """What the stand-ins of programs were asked."""
        log = self.it.stand_ins / "log"
        return log.read_text().splitlines() if log.exists() else []

    def break_programs(self) -> None:
        (self.it.stand_ins / "broken").touch()

    def file(self, path: str) -> Path:
        return self.it.places.at(path)

    @property
    def other_uuid(self) -> str:
        return self.it.uuid(self.other)

    async def make_other(self) -> None:
        self.other = await self.it.create()

    async def set_keys(self, path: str, keys: Mapping[str, str]) -> None:
        """Keys of a VM in the database, written by hand."""
        for key, value in keys.items():
            await self.it.db("write", f"/vm/{self.it.uuid(path)}/{key}", value)

    async def stand_in(self, name: str, *interfaces: Interface, **answers: Any) -> Peer:
        """Another daemon, until the row is done."""
        stack = AsyncExitStack()
        self.ends.append(stack.aclose)
        there = peer(self.it.house.layout.bus_address, name, {"/": interfaces}, **answers)
        made = await stack.enter_async_context(there)
        await self.it.until_there(name)
        return made


Deed: TypeAlias = Callable[[Stage], Awaitable[Any]]
Key: TypeAlias = tuple[str, str]
"""Interface and method."""


@dataclass(frozen=True)
class Fault:
    """A call with these arguments fails, and the error holds `expected`; `given` is done before.

    An argument that can be called gives the real one for the stage.  `also` is in the error as well: what is
    said of one VM of several.  A logged one fails for nobody: what `expected` says is in xenmgr's log alone.
    """

    expected: str
    arguments: tuple[Any, ...] = ()
    given: Deed | None = None
    also: str = ""
    is_logged: bool = False
    may_be_noticed: bool = False  # xenmgr may have taken the object away already, for it follows the database

    @property
    def numbers(self) -> set[int]:
        """Of the errors that clients know."""
        return {int(word) for word in re.findall(r"\b\d{3}(?=:)", f"{self.expected} {self.also}")}

    @property
    def begins_with_number(self) -> bool:
        return self.expected[:3].isdigit()

    def body(self, stage: Stage) -> tuple[Any, ...]:
        return tuple(one(stage) if callable(one) else one for one in self.arguments)


SUCCESS: dict[Key, Deed] = {}
FAULTS: dict[Key, tuple[Fault, ...]] = {}
GONE: dict[Key, tuple[Any, ...]] = {}
"""Methods that cannot succeed on any host of ours, with arguments; each must be refused by name."""


def works(interface: Interface, *methods: str) -> Callable[[Deed], Deed]:
    """Marks what success of these methods looks like."""

    def noted(deed: Deed) -> Deed:
        for method in methods:
            assert (interface.name, method) not in SUCCESS
            SUCCESS[interface.name, method] = deed
        return deed

    return noted


def faults(interface: Interface, **rows: "tuple[Fault, ...]") -> None:
    """Every error of these methods, beside those that all have: wrong arguments, and no such object."""
    for method, found in rows.items():
        FAULTS[interface.name, method] = found


def fault(expected: str, *arguments: Any, given: Deed | None = None, also: str = "") -> Fault:
    return Fault(expected, arguments, given, also)


def lost(expected: str, *arguments: Any, given: Deed) -> Fault:
    """Somebody else took from the database what the object stands for."""
    return Fault(expected, arguments, given, may_be_noticed=True)


def noted(expected: str, *, given: Deed) -> Fault:
    return Fault(expected, given=given, is_logged=True)
