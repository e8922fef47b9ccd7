# SPDX-License-Identifier: GPL-2.0-or-later
"""The write of every day, done in C where that was built: it leaves what the store itself would leave."""

import importlib
import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dbd_story import Step, told
from effort import effort
from openxt_dbd import store
from openxt_dbd.disk import Disk
from openxt_dbd.files import Files
from openxt_dbd.journal import Journal
from openxt_dbd.store import Database
from openxt_dbd.tree import Nodes, Owner

quick = importlib.import_module("_openxt_quick")

PLACES = ("/vm/x/name", "/vm/x/config/memory", "/vm/y/na-é", "/dom-store/x/k", "/top", "/vm/x", "vm//x/name/")
VALUES = ("1", "2", "x" * 500, "y" * 524, "z" * 525, "ü", 'a"b', "a\\b", "\n", "", "\0")
WRITERS = (":1.1", ":1.2", "")
ATTRIBUTES = ("name", "config/memory", "na-é")

WRITES = st.tuples(
    st.just("write"), st.sampled_from(PLACES), st.sampled_from(VALUES), st.sampled_from(WRITERS)
)
OTHERS = st.tuples(
    st.sampled_from(["rm", "inject", "begin_save", "end_save", "news", "lease", "freeze", "read", "long"]),
    st.sampled_from(PLACES),
    st.just("5"),
    st.sampled_from(WRITERS),
)


class Counted:
    """A `rewrite`, and how often it did something."""

    def __init__(self, rewrite: Callable[..., Any]) -> None:
        self._rewrite = rewrite
        self.done = 0

    def __call__(self, *given_: Any) -> Any:
        event = self._rewrite(*given_)
        self.done += event is not None
        return event


@contextmanager
def rewriting(rewrite: Callable[..., Any]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "rewrite", rewrite)
        yield


def prepare(database: Database) -> None:
    for vm in "xy":
        for name in ATTRIBUTES:
            database.write_at(f"/vm/{vm}/{name}", "0", ":1.1")


def write(value: str, text: str = "/vm/x/name", writer: str = ":1.1") -> Step:
    return ("write", text, value, writer)


def other(word: str, text: str = "/vm/x/name") -> Step:
    return (word, text, "5", ":1.1")


BUSY = [write("1"), write("2")]


@pytest.mark.proof
@settings(max_examples=effort(300, 5_000), deadline=None)
@given(st.lists(WRITES | OTHERS, max_size=30))
@example([*BUSY, write("x" * 500), write("y" * 524), write("x" * 500), write("z" * 525)])
@example([*BUSY, other("begin_save"), write("3"), write("4"), other("end_save"), write("5")])
@example([*BUSY, other("freeze"), write("3"), write("4"), write("5", "/vm/y/name")])
@example([*BUSY, other("lease"), write("3"), write("4")])
@example([*BUSY, write("3", writer=":1.2"), write("4"), other("news"), write("5")])
@example([*BUSY, write("2"), write("ü"), write("2"), write('"'), write("\n"), write("6")])
@example([*BUSY, other("rm"), write("3"), write("4"), other("rm", "/vm/x"), write("5")])
def test_whatever_is_done_both_leave_the_same(steps: list[Step]) -> None:
    seen = []
    for rewrite in (quick.rewrite, lambda *_: None):
        with rewriting(rewrite):
            seen.append(told(steps, prepare))
    assert seen[0] == seen[1]


def test_who_goes_on_writing_is_done_in_one_step(tmp_path: Path) -> None:
    counted = Counted(quick.rewrite)
    with rewriting(counted):
        made = Database(Files(Disk(tmp_path)), Journal(Disk(tmp_path)))
        made.load()
        prepare(made)
        made.write_at("/vm/x/name", "first", ":1.1")
        before = counted.done
        for number in range(100):
            made.write_at(f"/vm/x/{ATTRIBUTES[number % 2]}", str(number), ":1.1")
        assert counted.done - before >= 95  # the first of a place, and what makes room, take the long way
        made.freeze()
        made.write_at("/vm/x/name", "copied", ":1.1")
        assert made.read_at("/vm/x/name") == "copied"


def test_nothing_is_changed_where_the_journal_has_no_room() -> None:
    owner, memory = Owner(), mmap.mmap(-1, mmap.PAGESIZE)
    node = Nodes({"k": "old"}, owner)
    spots = {"/a/b/k": (node, "k", ("a", "b", "k"))}
    tail = quick.Tail(memory, mmap.PAGESIZE - 20)
    for closed in (False, True):
        if closed:
            tail.close()
        assert quick.rewrite(spots, "/a/b/k", "new", owner, tail, 1, ":1.1", 5.0) is None
    assert node["k"] == "old"
    tail = quick.Tail(memory, 0)
    event = quick.rewrite(spots, "/a/b/k", "new", owner, tail, 1, ":1.1", 5.0)
    assert event == (1, ("a", "b", "k"), False, ":1.1", 5.0, "old", "new")
    assert node["k"] == "new"


@pytest.mark.parametrize(
    ("place", "wrong"),
    [(0, []), (0, {"t": 5}), (0, {"t": (5, "k", ())}), (0, {"t": ({}, "k", [])}), (1, b"t"), (5, "1")],
)
def test_nonsense_is_refused(place: int, wrong: object) -> None:
    tail = quick.Tail(mmap.mmap(-1, mmap.PAGESIZE), 0)
    given_: list[object] = [{}, "t", "new", Owner(), tail, 1, ":1.1", 5.0]
    given_[place] = wrong
    with pytest.raises(TypeError):
        quick.rewrite(*given_)
    with pytest.raises(TypeError):
        quick.rewrite(*given_[1:])
