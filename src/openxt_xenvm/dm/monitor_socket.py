# SPDX-License-Identifier: GPL-2.0-or-later
"""A conversation with a running QEMU over its monitor's socket.  One at a time; every wait has an end.

Events are logged and passed over: what matters of them XenStore tells as well.
"""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

from openxt_xenvm.dm.qmp import Answer, Event, Greeting, Message, QmpError, Reader, Reply, command

log = logging.getLogger(__name__)

CHUNK = 65536


@dataclass
class Qmp:
    """An open monitor, ready for commands."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    timeout_s: float
    _incoming: Reader = field(default_factory=Reader)
    _waiting: list[Message] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def do(self, name: str, arguments: Mapping[str, object] | None = None) -> Answer:
        """What QEMU returns.  Raises QmpError when it refuses, ends, or does not answer in time."""
        number = next(self._numbers)
        try:
            async with asyncio.timeout(self.timeout_s):
                self.writer.write(command(number, name, arguments))
                await self.writer.drain()
                reply = await self._reply(number)
        except TimeoutError:
            raise QmpError(f"QEMU did not answer {name} within {self.timeout_s:.0f} s") from None
        except OSError as error:
            raise QmpError(f"QEMU ended while it was asked {name}: {error}") from error
        if reply.error:
            raise QmpError(f"QEMU refuses {name}: {reply.error}")
        return reply.value

    async def greeted(self) -> None:
        """Past the first words, after which it takes commands."""
        while not isinstance(await self._next(), Greeting):
            pass
        await self.do("qmp_capabilities")

    async def _reply(self, number: int) -> Reply:
        while True:
            said = await self._next()
            if isinstance(said, Reply) and said.number == number:
                return said
            if isinstance(said, Event):
                log.debug("QEMU: %s", said.name)

    async def _next(self) -> Message:
        while not self._waiting:
            data = await self.reader.read(CHUNK)
            if not data:
                raise QmpError("QEMU closed its monitor")
            self._waiting.extend(self._incoming.feed(data))
        return self._waiting.pop(0)


@asynccontextmanager
async def open_monitor(path: Path, timeout_s: float) -> AsyncIterator[Qmp]:
    """Raises QmpError when nobody listens, or who listens is no QEMU."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(path)
    except (OSError, TimeoutError) as error:
        raise QmpError(f"no QEMU at {path}: {error}") from error
    with closing(writer):
        qmp = Qmp(reader, writer, timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                await qmp.greeted()
        except TimeoutError:
            raise QmpError(f"QEMU at {path} does not greet within {timeout_s:.0f} s") from None
        yield qmp


async def save_devices(path: Path, file: Path, timeout_s: float) -> None:
    """Write the state of QEMU's devices to `file`, for another's `-incoming`.  The guest is suspended."""
    async with open_monitor(path, timeout_s) as qmp:
        await qmp.do("stop")
        await qmp.do("xen-save-devices-state", {"filename": str(file), "live": False})


async def stand_still(path: Path, timeout_s: float) -> None:
    """It writes no memory of the guest any more."""
    async with open_monitor(path, timeout_s) as qmp:
        await qmp.do("stop")


async def log_dirty(path: Path, timeout_s: float, *, enable: bool) -> None:
    """Whether it tells Xen which pages it writes."""
    async with open_monitor(path, timeout_s) as qmp:
        await qmp.do("xen-set-global-dirty-log", {"enable": enable})


async def go_on(path: Path, timeout_s: float) -> None:
    """After a save whose guest stays here."""
    async with open_monitor(path, timeout_s) as qmp:
        await qmp.do("cont")
