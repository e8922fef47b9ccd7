# SPDX-License-Identifier: GPL-2.0-or-later
"""Leases: no part of the tree that is leased changes without its holder being told first."""

import contextlib
import tempfile
from pathlib import Path as File

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openxt_core.errors import BadRequest
from openxt_dbd.disk import Disk
from openxt_dbd.files import Files
from openxt_dbd.journal import Journal
from openxt_dbd.leases import MAX_LEASES, Leases
from openxt_dbd.path import Path
from openxt_dbd.path import text as text_of
from openxt_dbd.store import Database

LEAVES = st.sampled_from([("vm", one, leaf) for one in "ab" for leaf in "xy"])
WHOLE = st.sampled_from(((), ("vm",), ("vm", "a"), ("vm", "b"), ("x",)))
PATHS = st.one_of(LEAVES, WHOLE)
"""Few, so that what is leased is what is changed; mostly in place, which is the short way."""
WRITE = st.tuples(st.sampled_from(["write", "write at"]), LEAVES, st.sampled_from("12"))
LEASE = st.tuples(st.just("lease"), WHOLE, st.just(""))
STEPS = st.one_of(
    WRITE,
    LEASE,
    WRITE,
    LEASE,
    st.tuples(st.just("inject"), PATHS, st.sampled_from(('"1"', '{"x": "1"}', '{"a": {"x": "2"}}'))),
    st.tuples(st.just("rm"), PATHS, st.just("")),
    st.tuples(st.just("save"), st.just(()), st.just("")),
)


@given(st.lists(STEPS, min_size=8, max_size=40))
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
        case "write at":
            database.write_at(text_of(path), value)
        case "inject":
            database.inject(path, value)
        case "rm":
            database.rm(path)
        case "save":
            database.end_save(database.start_save().run())


def test_a_change_ends_the_leases_at_it_above_it_and_below_it_alone() -> None:
    leases, lapsed = Leases(), list[Path]()
    leases.on_lapse = lapsed.append
    for path in ((), ("vm",), ("vm", "a"), ("vm", "b"), ("x",)):
        leases.grant(path)
    leases.lapse(("vm", "a", "config", "memory"))
    assert lapsed == [(), ("vm",), ("vm", "a")]
    leases.lapse(("vm",))
    assert lapsed[3:] == [("vm", "b")]
    assert len(leases) == 1


def test_a_lease_of_less_than_a_whole_part_is_refused() -> None:
    with pytest.raises(BadRequest, match="/vm/a/name"):
        Leases().grant(("vm", "a", "name"))


def test_the_oldest_lease_ends_when_there_are_too_many() -> None:
    leases, lapsed = Leases(), list[Path]()
    leases.on_lapse = lapsed.append
    for number in range(MAX_LEASES + 2):
        leases.grant((str(number),))
    assert lapsed == [("0",), ("1",)]
    assert len(leases) == MAX_LEASES
