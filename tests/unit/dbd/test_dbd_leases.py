# SPDX-License-Identifier: GPL-2.0-or-later
"""Leases: no part of the tree that is leased changes without its holder being told first."""

import contextlib
import tempfile
from pathlib import Path as File

from hypothesis import given, settings
from hypothesis import strategies as st

from openxt_core.errors import BadRequest
from openxt_dbd.disk import Disk
from openxt_dbd.files import Files
from openxt_dbd.journal import Journal
from openxt_dbd.leases import MAX_LEASES, Leases
from openxt_dbd.path import Path
from openxt_dbd.store import Database

NAMES = ("vm", "a", "b", "config", "dom-store")
PATHS = st.lists(st.sampled_from(NAMES), max_size=4).map(tuple)
STEPS = st.one_of(
    st.tuples(st.just("lease"), PATHS, st.just("")),
    st.tuples(st.just("write"), PATHS, st.sampled_from(("1", "2"))),
    st.tuples(st.just("inject"), PATHS, st.sampled_from(('"1"', '{"a": "1"}', '{"a": {"b": "2"}}'))),
    st.tuples(st.just("rm"), PATHS, st.just("")),
    st.tuples(st.just("save"), st.just(()), st.just("")),
)


@given(st.lists(STEPS, max_size=40))
@settings(max_examples=150, deadline=None)
def test_what_is_leased_stays_the_same_until_the_lease_lapses(steps: list[tuple[str, Path, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Files(Disk(File(folder))), Journal(Disk(File(folder))))
        database.load()
        copies: dict[Path, str] = {}
        database.leases.on_lapse = copies.__delitem__
        for word, path, value in steps:
            with contextlib.suppress(BadRequest):
                take(database, copies, word, path, value)
            assert copies == {leased: database.dump(leased) for leased in copies}
            assert len(database.leases) == len(copies)


def take(database: Database, copies: dict[Path, str], word: str, path: Path, value: str) -> None:
    match word:
        case "lease":
            copies[path] = database.lease(path)
        case "write":
            database.write(path, value)
        case "inject":
            database.inject(path, value)
        case "rm":
            database.rm(path)
        case "save":
            database.end_save(database.start_save().run())


def test_a_change_ends_the_leases_at_it_above_it_and_below_it_alone() -> None:
    leases, lapsed = Leases(), list[Path]()
    leases.on_lapse = lapsed.append
    for path in ((), ("vm",), ("vm", "a"), ("vm", "a", "config"), ("vm", "b"), ("x",)):
        leases.grant(path)
    leases.lapse(("vm", "a"))
    assert lapsed == [(), ("vm",), ("vm", "a"), ("vm", "a", "config")]
    assert len(leases) == 2


def test_the_oldest_lease_ends_when_there_are_too_many() -> None:
    leases, lapsed = Leases(), list[Path]()
    leases.on_lapse = lapsed.append
    for number in range(MAX_LEASES + 2):
        leases.grant((str(number),))
    assert lapsed == [("0",), ("1",)]
    assert len(leases) == MAX_LEASES
