# SPDX-License-Identifier: GPL-2.0-or-later
"""What goes over a bus, in the order in which the bus passed it on, as dbus-monitor sees it."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from openxt_bus.connection import Bus

MARK = "com.example.Mark"
PATIENCE_S = 20.0
_HEAD = re.compile(
    r"(?P<kind>signal|method call) time=\S+ sender=(?P<sender>\S+) -> destination=(?P<to>.*?) serial=\d+ "
    r"path=(?P<path>\S+); interface=(?P<interface>[^;]*); member=(?P<member>\S+)"
)
_TEXT = re.compile(
    r'^ +(?:variant +)?(?:string "(?P<text>.*)"|object path "(?P<path>.*)"'
    r"|(?:u?int\d+|boolean|double) (?P<plain>\S+))$"
)


@dataclass
class Message:
    kind: str  # "signal" or "method call"
    sender: str
    destination: str
    path: str
    interface: str
    member: str
    texts: list[str] = field(default_factory=list)  # all plain values in it, in order


@dataclass
class Monitor:
    """Records until the end of its `with` block."""

    bus: Bus  # that marks are sent on
    program: asyncio.subprocess.Process
    messages: list[Message] = field(default_factory=list)
    _marks: int = 0

    async def so_far(self) -> list[Message]:
        """Everything that was passed on before this call."""
        self._marks += 1
        mark = f"m{self._marks}"
        async with asyncio.timeout(PATIENCE_S):
            reading = asyncio.create_task(self._read_until(mark))
            while not reading.done():  # what is sent before it listens goes unheard
                self.bus.emit("/mark", MARK, mark)
                await asyncio.wait([reading], timeout=0.1)
            await reading
        return [one for one in self.messages if one.interface != MARK]

    async def _read_until(self, mark: str) -> None:
        assert self.program.stdout is not None
        while line := (await self.program.stdout.readline()).decode().rstrip("\n"):
            head = _HEAD.match(line)
            if head:
                self.messages.append(
                    Message(*head.group("kind", "sender", "to", "path", "interface", "member"))
                )
                if (head["interface"], head["member"]) == (MARK, mark):
                    return
            elif not line.startswith(" "):
                self.messages.append(Message("", "", "", "", "", ""))  # an answer: not looked at
            elif self.messages and (found := _TEXT.match(line)):
                self.messages[-1].texts.append(found["text"] or found["path"] or found["plain"] or "")


@contextlib.asynccontextmanager
async def monitored(bus: Bus, address: str, *rules: str) -> AsyncIterator[Monitor]:
    """A monitor that hears these match rules, from the beginning of the `with` block on."""
    words = ("dbus-monitor", "--address", address, "--monitor", *rules, f"interface='{MARK}'")
    program = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    try:
        monitor = Monitor(bus, program)
        await monitor.so_far()
        monitor.messages.clear()
        yield monitor
    finally:
        program.kill()
        await program.wait()
