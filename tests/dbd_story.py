# SPDX-License-Identifier: GPL-2.0-or-later
"""What is done with a database, and all that can be seen of it: for two ways that must come to the same."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from openxt_core.errors import OpenxtError
from openxt_dbd import json_text, store
from openxt_dbd.disk import Disk
from openxt_dbd.files import Files
from openxt_dbd.history import History
from openxt_dbd.journal import Journal
from openxt_dbd.save import Save
from openxt_dbd.store import Database

Step = tuple[str, str, str, str]
"""A word, a path as text, a value and a writer."""


@dataclass
class Story:
    """What is done with a database, and all that can be seen of it."""

    database: Database
    save: Save | None = None
    frozen: list[Any] = field(default_factory=list)
    heard: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.database.on_news = self.heard.append
        self.database.leases.on_lapse = lambda *what: self.heard.append((self.database.revision, what))

    def do(self, step: Step) -> object:
        word, text, value, writer = step
        database, path = self.database, store.parse(text)
        try:
            match word:
                case "write":
                    return database.write_at(text, value, writer)
                case "long":
                    return database.write(path, value, writer)
                case "rm":
                    return database.rm(path, writer)
                case "inject":
                    return database.inject(path, '{"i": {"j": "1"}}', writer)
                case "lease":
                    return database.lease(path[:2])
                case "news":
                    return database.news()
                case "read":
                    return database.read_at(text)
                case _:
                    return getattr(self, word)()
        except OpenxtError as error:
            return type(error), error.text

    def begin_save(self) -> None:
        """What it writes is what was there now, whatever comes before its end."""
        if self.save is None:
            self.save = self.database.start_save()

    def end_save(self) -> None:
        if self.save is not None:
            self.database.end_save(self.save.run())
            self.save = None

    def freeze(self) -> None:
        self.frozen.append(self.database.freeze())

    def end(self) -> list[object]:
        self.end_save()
        database = self.database
        seen = [database.dump(()), database.revision, database.dirty, database.news(), self.heard]
        return seen + [json_text.dumps(root) for root in self.frozen]


@contextmanager
def stopped_clock() -> Iterator[None]:
    """Each look at it is a little later."""
    with pytest.MonkeyPatch.context() as patch:
        clock = iter(range(10**9))
        patch.setattr(store, "time", lambda: 1_000.0 + next(clock) / 64)
        yield


def told(steps: Sequence[Step], prepare: Callable[[Database], None]) -> list[object]:
    """All that can be seen of it, files included."""
    with TemporaryDirectory() as folder, stopped_clock():
        disk = Disk(Path(folder))
        database = Database(Files(disk), Journal(disk), History(disk))
        database.load()
        prepare(database)
        database.news()  # from here on it is known in detail
        story = Story(database)
        seen = [*map(story.do, steps), *story.end()]
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        seen += [(path.relative_to(folder), path.read_bytes().rstrip(b"\0")) for path in files]
        database.close()
        return seen
