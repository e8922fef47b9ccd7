# SPDX-License-Identifier: GPL-2.0-or-later
"""When changes are told: soon, and later the more there are."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from openxt_core.spec import Value
from openxt_dbd import news
from openxt_dbd.disk import Disk
from openxt_dbd.files import Files
from openxt_dbd.journal import Journal
from openxt_dbd.news import LONG_PAUSE_S, MAX_DETAILED, PAUSE_S, News
from openxt_dbd.store import Database


class Clock:
    """Stands in for the loop: what is to be done later is done when `strike` is called."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.due: list[Callable[[], None]] = []

    def call_later(self, pause_s: float, callback: Callable[[], None]) -> None:
        self.pauses.append(pause_s)
        self.due.append(callback)

    def strike(self) -> None:
        self.due.pop()()


class Ear:
    """Hears signals."""

    def __init__(self) -> None:
        self.heard: list[Value] = []

    def emit(
        self, path: str, interface: str, member: str, signature: str = "", body: Sequence[Value] = ()
    ) -> None:
        self.heard.append(body[0])


def test_after_many_changes_the_next_are_told_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, ear = Clock(), Ear()
    monkeypatch.setattr(news.asyncio, "get_running_loop", lambda: clock)
    database = Database(Files(Disk(tmp_path)), Journal(Disk(tmp_path)))
    database.load()
    database.write_at("/vm/x/k0", "begin")
    News(database, ear)
    for count in (1, MAX_DETAILED + 1, 1, 1):
        for number in range(count):
            database.write_at(f"/vm/x/k{number}", f"{count} {len(ear.heard)}")
        clock.strike()
    assert clock.pauses == [PAUSE_S, PAUSE_S, LONG_PAUSE_S, PAUSE_S]
    assert ear.heard == ["/vm/x/k0", "/vm/x/", "/vm/x/k0", "/vm/x/k0"]
    assert clock.due == []
