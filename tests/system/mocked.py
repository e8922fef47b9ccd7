# SPDX-License-Identifier: GPL-2.0-or-later
"""Daemons that are not ours, by python-dbusmock: a process of its own that speaks our interface files.

For tests of how we get along with them: what they say is put on the wire by a library that is not ours, and
they can hang and be killed.  Where one is only a prop, `peers` has it in the test's own process.
It runs in the system's Python, which alone has it.  What it was asked it tells itself.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from houses import House

from openxt_core.signature import Variant
from openxt_core.spec import Interface

MOCK = "org.freedesktop.DBus.Mock"
TEMPLATE = str(Path(__file__).parent / "daemons/by_table.py")
PATIENCE_S = 20.0

Asked = tuple[Any, ...]
"""A method and its arguments."""
Part = tuple[str, str, Mapping[str, str]]
"""An object: its path, an interface, properties that are texts."""


@dataclass
class Mocked:
    house: House
    name: str
    process: asyncio.subprocess.Process

    async def _mock(self, member: str, signature: str = "", *body: Any) -> Any:
        return await self.house.bus.call(self.name, "/", MOCK, member, signature, body)

    async def asked(self) -> list[Asked]:
        """Every call of the root object so far, in order."""
        (calls,) = await self._mock("GetCalls")
        return [(name, *(value.value for value in values)) for _, name, values in calls]

    async def emit(self, signal: str, signature: str = "", *body: str) -> None:
        values = [Variant("s", value) for value in body]
        await self._mock("EmitSignal", "sssav", self.name, signal, signature, values)

    async def kill(self) -> None:
        """It is gone when this returns; the bus says so a moment later."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


@contextlib.asynccontextmanager
async def mocked(
    house: House, spec: Interface, objects: Sequence[Part] = (), *, name: str = "", **answers: str
) -> AsyncIterator[Mocked]:
    """A daemon whose bus name is that of its interface, unless it has another; it ends with the `with` block.

    `answers`: by method a Python expression of what it answers, in which `args` are the arguments; other
    methods of the interface answer nothing.
    """
    parameters = json.dumps({"methods": _methods(spec, answers), "objects": objects})
    process = await asyncio.create_subprocess_exec(
        *("/usr/bin/python3", "-m", "dbusmock", "--system", "--template", TEMPLATE, "-p", parameters),
        env={**house.supervisor.environ, "MOCKED": name or spec.name},
        stdout=asyncio.subprocess.DEVNULL,
    )
    there = asyncio.Event()
    watch = await house.bus.watch_name(name or spec.name, lambda _, new: new and there.set())
    daemon = Mocked(house, name or spec.name, process)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await there.wait()
        await watch.close()
        yield daemon
    finally:
        await daemon.kill()


def _methods(spec: Interface, answers: Mapping[str, str]) -> list[tuple[str, ...]]:
    return [
        (
            spec.name,
            method.name,
            *("".join(arg.type for arg in args) for args in (method.ins, method.outs)),
            f"ret = {answers[method.name]}" if method.name in answers else "",
        )
        for method in spec.methods
    ]
