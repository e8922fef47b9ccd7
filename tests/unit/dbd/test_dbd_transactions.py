# SPDX-License-Identifier: GPL-2.0-or-later
"""What several operations as one rest on: revisions, drafts, open transactions, and the words of a watch."""

import asyncio
from pathlib import Path

import pytest

from openxt_core.errors import AccessDenied, BadRequest, Conflict, Refused
from openxt_dbd import admin, news, recent
from openxt_dbd.disk import Disk
from openxt_dbd.draft import Draft, drafted
from openxt_dbd.files import Files
from openxt_dbd.journal import Journal
from openxt_dbd.path import parse
from openxt_dbd.recent import Event, Recent, Seen
from openxt_dbd.store import Database
from openxt_dbd.transactions import MAX_OPEN, Transactions


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(Files(Disk(tmp_path)), Journal(Disk(tmp_path)))
    database.load()
    return database


def event(revision: int, path: str, writer: str = "") -> Event:
    return revision, parse(path), path.endswith("/"), writer, 0.0, "", "v"


# Revisions


@pytest.mark.parametrize(
    ("path", "is_changed"), [("/a/b", True), ("/a", True), ("/a/b/c", True), ("/a/x", False)]
)
def test_a_change_at_above_or_below_a_path_counts_as_its_own(path: str, is_changed: bool) -> None:
    known = Recent()
    known.extend([event(5, "/a/b")])
    known.need_unchanged([Seen(parse(path), 5)])
    if is_changed:
        with pytest.raises(Conflict, match=f"{path} was changed after revision 4"):
            known.need_unchanged([Seen(parse(path), 4)])
    else:
        known.need_unchanged([Seen(parse(path), 4)])


def test_what_is_not_known_any_more_counts_as_changed() -> None:
    known = Recent()
    known.extend([event(n, "/k") for n in range(1, recent.MAX_RECENT + 11)])
    assert known.since(9) is None
    with pytest.raises(Conflict, match="not known any more"):
        known.need_unchanged([Seen(("other",), 9)])
    known.need_unchanged([Seen(("other",), 10)])


@pytest.mark.parametrize("at_once", [1, 7, recent.MAX_RECENT, recent.MAX_RECENT + 10])
def test_what_is_forgotten_does_not_depend_on_how_many_are_made_known_at_once(at_once: int) -> None:
    known = Recent()
    last = recent.MAX_RECENT + 10
    for first in range(1, last + 1, at_once):
        known.extend([event(n, "/k") for n in range(first, min(first + at_once, last + 1))])
    assert known.since(9) is None
    assert [one[0] for one in known.since(10) or ()] == list(range(11, last + 1))


def test_one_operation_is_one_revision_and_one_without_effect_none(database: Database) -> None:
    before = database.revision
    database.inject(parse("/a"), '{"x": null, "y": null, "z": "1"}')
    database.rm(parse("/a/z"))  # takes the empty ones with it: three changes
    assert database.revision == before + 2
    database.rm(parse("/nowhere"))
    assert database.commit(drafted(database.root, [("write", ("a",), ""), ("rm", ("n",), "")])) >= before + 2


def test_a_new_reading_of_the_files_counts_as_a_change_of_everything(database: Database) -> None:
    seen = Seen(("a",), database.revision)
    database.load()
    with pytest.raises(Conflict):
        database.commit(Draft(database.freeze()), [seen])


# Drafts


@pytest.mark.parametrize("look", ["read", "dump", "names", "exists"])
def test_whatever_was_told_must_still_hold(database: Database, look: str) -> None:
    database.inject(parse("/a"), '{"k": "1"}')
    one, other = Draft(database.freeze()), Draft(database.freeze())
    for each in (one, other):
        getattr(each, look)(parse("/a/k" if look in ("read", "exists") else "/a"))
        each.write(parse("/result"), "x")
    database.write(parse("/b"), "elsewhere")
    assert database.commit(one) == database.revision
    database.rm(parse("/a/k"))
    with pytest.raises(Conflict, match="was changed since it was read"):
        database.commit(other)


def test_a_value_that_was_changed_and_changed_back_does_not_conflict(database: Database) -> None:
    database.write(parse("/a"), "1")
    mine = Draft(database.freeze())
    assert mine.read(("a",)) == "1"
    mine.write(("b",), "x")
    database.write(("a",), "2")
    database.write(("a",), "1")
    database.commit(mine)
    assert database.read(("b",)) == "x"


def test_a_draft_has_bounds_and_stays_as_it_was_at_them(database: Database) -> None:
    small = Draft(database.freeze(), 11)
    small.write(("a",), "123456789")
    with pytest.raises(Refused, match="at most 11 characters"):
        small.write(("b",), "12")
    assert small.read(("a",)) == "123456789"
    with pytest.raises(BadRequest, match="write, inject or rm, not 'move'"):
        drafted(database.root, [("move", ("a",), "b")])


# Open transactions


async def test_an_idle_transaction_ends_by_itself_and_others_go_with_their_owner() -> None:
    open_ = Transactions(idle_s=0.0)
    number = open_.begin(":1", Draft(None))
    async with asyncio.timeout(10):
        while open_.is_open(number):
            await asyncio.sleep(0)
    lasting = Transactions()
    numbers = [lasting.begin(":1", Draft(None)) for _ in range(MAX_OPEN)]
    kept = lasting.begin(":2", Draft(None))
    assert lasting.find(kept, ":1") is None
    with pytest.raises(Refused, match="at most 8 open transactions"):
        lasting.begin(":1", Draft(None))
    lasting.end_all_of(":1")
    assert not any(map(lasting.is_open, numbers))
    assert lasting.is_open(kept)
    lasting.end(kept)


def test_looking_after_the_host_is_dom0_s() -> None:
    assert admin.for_dom0(lambda: 7, ()) == 7
    with pytest.raises(AccessDenied):
        admin.for_dom0(lambda: 7, ("dom-store", "u"))


# Words of a watch


def made(*paths: str, writer: str = ":1") -> list[Event]:
    return [event(n, path, writer) for n, path in enumerate(paths, 1)]


def test_few_changes_are_told_one_by_one_and_a_repeated_one_once() -> None:
    told = news.summary(made("/vm/x/name", "/vm/y/", "/vm/x/name"))
    assert told == [("/vm/x/name", 3, ":1"), ("/vm/y/", 2, ":1")]


def test_many_changes_of_a_part_are_told_by_the_path_above_them() -> None:
    told = news.summary(made(*(f"/vm/x/config/k{n}" for n in range(9)), "/vm/y/name"))
    assert told == [("/vm/x/config/", 9, ":1"), ("/vm/y/name", 10, ":1")]


def test_a_storm_in_one_place_leaves_another_its_words() -> None:
    storm = made(*(f"/dom-store/{n}/k" for n in range(500)))
    told = news.summary([*storm, event(501, "/vm/x/name", ":2")])
    assert told == [("/dom-store/", 500, ":1"), ("/vm/x/name", 501, ":2")]


def test_changes_by_several_have_no_one_writer() -> None:
    assert news.summary([*made("/a"), *made("/a", writer=":2")]) == [("/a", 1, "")]
