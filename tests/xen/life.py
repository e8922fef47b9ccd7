# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM and its monitor; its Linux guest counts on its console and tells its memory each time (`ticks`)."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from xl_guest import LINUX_BOOT_S, Guest, run, until

STORY = re.compile(r"GUEST TICK (\d+) MemTotal: +(\d+) kB")


@dataclass
class Life:
    """One VM and its monitor."""

    name: str
    uuid: str

    def do(self, *words: str) -> str:
        return run("xenvm-cmd", "--reply-timeout", "200", self.uuid, *words)

    @property
    def domid(self) -> int:
        return int(self.do("get-domid"))

    @property
    def guest(self) -> Guest:
        return Guest(self.name, self.domid)

    def story(self) -> list[tuple[int, int]]:
        """Each tick with the memory then, KiB; whatever its domain is now."""
        return [(int(tick), int(kib)) for tick, kib in STORY.findall(Guest(self.name, -1).console())]

    def ticks(self) -> list[int]:
        return [tick for tick, _ in self.story()]

    def tells(self, what: Callable[[int, int], bool], why: str) -> tuple[int, int]:
        """The latest tick, once it is as it should be."""
        until(lambda: self.story() and what(*self.story()[-1]), why, LINUX_BOOT_S)
        return self.story()[-1]
