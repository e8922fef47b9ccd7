# SPDX-License-Identifier: GPL-2.0-or-later
"""The usual write of a guest has a short way: what it leaves, tells and refuses is what the long way does."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from effort import effort
from openxt_core.errors import OpenxtError
from openxt_dbd import store
from openxt_dbd.disk import Disk
from openxt_dbd.files import Files
from openxt_dbd.history import History
from openxt_dbd.journal import Journal
from openxt_dbd.path import parse
from openxt_dbd.store import Database

GUEST, OTHER, DOM0 = ":1.7", ":1.8", ":1.1"
LIMITS = {"nodes": "6", "value-bytes": "600", "total-bytes": "1500", "depth": "3", "name-bytes": "24"}
DEEP = "/".join("abc")

PLACES = ("k", "l", "a/k", "a/b/k", f"{DEEP}/k", "a", "n" * 22, "n" * 23, "ü" * 6, "ü" * 12, "")
VALUES = ("1", "2", "x" * 590, "y" * 598, "/" * 400, "ü", "")
Step = tuple[str, str, str, str]
STEPS = st.tuples(
    st.sampled_from(["write"] * 6 + ["rm", "inject", "save", "news", "lease", "begin", "end"]),
    st.sampled_from(PLACES),
    st.sampled_from(VALUES),
    st.sampled_from([GUEST, GUEST, OTHER, DOM0]),
)


class Story:
    def __init__(self, folder: Path, *, is_short: bool) -> None:
        disk = Disk(folder)
        self.database = database = Database(Files(disk), Journal(disk), History(disk))
        database.load()
        database.is_limited = lambda writer: writer in (GUEST, OTHER)
        for name, limit in LIMITS.items():
            database.write(("dbd", "quota", name), limit)
        for store_ in "78":
            database.write(("dom-store", store_, "k"), "0")
        database.news()
        self.heard: list[object] = []
        database.on_news = lambda is_guests: self.heard.append(is_guests)
        database.leases.on_lapse = lambda path: self.heard.append((database.revision, path))
        if not is_short:
            database._put = lambda *_: False  # type: ignore[method-assign]
        self.save: store.Save | None = None

    def do(self, step: Step) -> object:
        word, place, value, writer = step
        path = ("dom-store", "8" if writer == OTHER else "7", *parse(place))
        try:
            match word:
                case "write":
                    return self.database.write(path, value, writer)
                case "rm":
                    return self.database.rm(path, writer)
                case "inject":
                    return self.database.inject(path, '{"i": {"j": "1"}}', writer)
                case "lease":
                    return self.database.lease(path[:2])
                case "news":
                    return self.database.news()
                case "begin" if self.save is None:
                    self.save = self.database.start_save()
                case "end" if self.save is not None:
                    self.database.end_save(self.save.run())
                    self.save = None
                case "save" if self.save is None:
                    self.database.end_save(self.database.start_save().run())
        except OpenxtError as error:
            return type(error), error.text
        return None

    def end(self) -> list[object]:
        if self.save is not None:
            self.database.end_save(self.save.run())
        database = self.database
        return [database.dump(()), database.revision, database.dirty, database.news(), self.heard]


def told(steps: Sequence[Step], *, is_short: bool) -> list[object]:
    """All that can be seen of it, files included."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        clock = iter(range(10**9))
        patch.setattr(store, "time", lambda: 1_000.0 + next(clock) / 64)
        story = Story(Path(folder), is_short=is_short)
        seen = [*map(story.do, steps), *story.end()]
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        seen += [(path.relative_to(folder), path.read_bytes().rstrip(b"\0")) for path in files]
        story.database.close()
        assert story.database.history is not None
        story.database.history._close()  # a process has one, and ends with it
        return seen


def guests(*writes: tuple[str, str]) -> list[Step]:
    return [("write", place, value, GUEST) for place, value in writes]


@pytest.mark.proof
@settings(max_examples=effort(300, 5_000), deadline=None)
@given(st.lists(STEPS, max_size=25))
@example(
    guests(("k", "1"), ("l", "1"), ("m", "1"), ("n", "1"), ("o", "1"), ("p", "1"), ("q", "1"), ("k", "2"))
)
@example(
    guests(("k", "x" * 590), ("l", "x" * 590), ("m", "y" * 400), ("l", "y" * 598), ("k", "1"), ("m", "1"))
)
@example(guests(("n" * 22, "1"), ("n" * 23, "1"), ("ü" * 11, "1"), ("a/b/k", "1"), (f"{DEEP}/k", "1")))
@example(
    [("lease", "k", "", DOM0), *guests(("k", "1"), ("l", "1")), ("lease", "", "", DOM0), *guests(("l", "2"))]
)
@example(
    [("begin", "k", "", DOM0), *guests(("k", "1"), ("l", "1")), ("end", "", "", DOM0), *guests(("m", "2"))]
)
def test_the_short_way_ends_where_the_long_one_does(steps: list[Step]) -> None:
    assert told(steps, is_short=True) == told(steps, is_short=False)
