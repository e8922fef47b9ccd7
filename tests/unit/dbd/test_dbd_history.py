# SPDX-License-Identifier: GPL-2.0-or-later
"""Former states: what is kept, what a crash leaves of it, and that it stays within its bounds."""

import itertools
import tempfile
from pathlib import Path

import pytest
from dbd_disks import CHANGING_CALLS, Death, TouchyDisk, dies_at, fails_once_at, never
from hypothesis import assume, example, given
from hypothesis import strategies as st

from effort import effort
from openxt_core.errors import BadRequest, Conflict, Unavailable
from openxt_dbd import history, past
from openxt_dbd.disk import Disk
from openxt_dbd.files import Files
from openxt_dbd.history import History
from openxt_dbd.journal import Journal
from openxt_dbd.past import Past
from openxt_dbd.path import parse
from openxt_dbd.store import Database


def opened(disk: Disk) -> Database:
    database = Database(Files(disk), Journal(disk), History(disk))
    database.load()
    return database


def save(database: Database) -> bool:
    attempt = database.start_save().run()
    database.end_save(attempt)
    return attempt.is_remembered and not attempt.failed


def known(database: Database, path: str) -> list[Past]:
    assert database.history is not None
    database.settle()
    return list(dict.fromkeys([*database.history.past(parse(path)), *database.history.unsaved(parse(path))]))


def test_a_change_is_remembered_with_its_author_and_both_values(tmp_path: Path) -> None:
    database = opened(Disk(tmp_path))
    database.who = database.history.who = {":1.5": "xenmgr :1.5"}.__getitem__
    database.write_at("/vm/x/name", "one", ":1.5")
    database.write_at("/vm/x/name", "two", ":1.5")
    first, second = known(database, "/vm/x")
    assert (first.path, first.old, first.new) == (("vm", "x"), "", '{\n  "name": "one"\n}')
    assert (second.path, second.old, second.new) == (("vm", "x", "name"), '"one"', '"two"')
    assert second.revision == first.revision + 1 == database.revision
    assert second.who == "xenmgr :1.5"
    assert known(database, "/vm/y") == []


def test_it_is_the_same_before_and_after_a_save_and_in_the_next_process(tmp_path: Path) -> None:
    database = opened(Disk(tmp_path))
    for number in range(5):
        database.write_at("/vm/x/name", str(number))
    before = known(database, "/")
    assert save(database)
    assert known(database, "/") == before
    database.close()
    after = opened(Disk(tmp_path))
    assert known(after, "/") == before
    assert after.revision > before[-1].revision


def test_a_killed_process_leaves_its_history_to_the_next(tmp_path: Path) -> None:
    database = opened(Disk(tmp_path))
    database.who = database.history.who = {":1.5": "xenmgr :1.5", ":1.6": "db-write :1.6"}.__getitem__
    database.write_at("/vm/x/name", "one", ":1.5")
    save(database)
    database.write_at("/vm/x/name", "two", ":1.6")
    database.write_at("/vm/x/name", "three", ":1.5")
    before = known(database, "/")
    after = known(opened(Disk(tmp_path)), "/")
    assert [one._replace(time_ms=0) for one in after] == [one._replace(time_ms=0) for one in before]
    assert all(abs(a.time_ms - b.time_ms) <= 1000 for a, b in zip(after, before, strict=True))


def test_so_many_revisions_of_each_part_are_kept_and_a_busy_part_pushes_out_no_other(tmp_path: Path) -> None:
    database = opened(Disk(tmp_path))
    database.write_at("/vm/quiet/name", "kept")
    for round_ in range(3):
        for number in range(history.MAX_PENDING):
            database.write_at(f"/dom-store/busy/k{number % 100}", f"{round_} {number}")
        save(database)
    assert len(known(database, "/dom-store/busy")) == history.KEPT
    assert len(known(database, "/vm/quiet")) == 1


def test_of_a_text_that_changes_without_end_the_last_few_changes_are_kept_one_by_one(tmp_path: Path) -> None:
    database = opened(Disk(tmp_path))
    database.write_at("/vm/x/name", "first")
    for number in range(100):
        database.write_at("/vm/x/name", str(number))
    save(database)
    made, *rest = known(database, "/vm/x")
    assert [(one.old, one.new) for one in rest] == [
        ('"first"', f'"{100 - past.FEW}"'),
        *((f'"{number - 1}"', f'"{number}"') for number in range(101 - past.FEW, 100)),
    ]
    assert rest[0].revision == made.revision + 101 - past.FEW


def test_of_a_storm_one_change_of_each_text_is_kept_for_each_turn_of_a_writer(tmp_path: Path) -> None:
    database = opened(Disk(tmp_path))
    for name in ("x", "y"):
        database.write_at(f"/vm/{name}/name", "first")
    save(database)
    for writer in (":1.1", ":1.2", ":1.1"):
        for number in range(past.STORM):
            database.write_at(f"/vm/{'xy'[number % 2]}/name", f"{number} of {writer}", writer)
    save(database)
    end = past.STORM - 1
    for name, number in (("x", end - 1), ("y", end)):
        texts = ["first", *(f"{number} of {writer}" for writer in (":1.1", ":1.2", ":1.1"))]
        made = [(one.old, one.new) for one in known(database, f"/vm/{name}")[1:]]
        assert made == [(f'"{old}"', f'"{new}"') for old, new in itertools.pairwise(texts)]


def test_texts_that_change_without_end_leave_few_changes_to_wait_for_a_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MAX_PENDING", 1000)
    database = opened(Disk(tmp_path))
    for round_ in range(60):
        for number in range(100):
            database.write_at(f"/vm/{number}/name", str(round_))
    assert database.history is not None
    database.settle()
    assert len(database.history.take()) < 2000  # of 6000; when so many are left they may double


WRITERS, NAMES = st.sampled_from([":1.1", ":1.2"]), st.sampled_from(["a", "b", "b/c"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), NAMES, st.integers(0, 9).map(str), WRITERS, st.integers(1, 12)),
        st.tuples(st.just("rm"), NAMES, st.just(""), WRITERS, st.just(1)),
        st.tuples(st.just("inject"), NAMES, st.just('{"c": "x", "d": 1}'), WRITERS, st.just(1)),
    ),
    max_size=30,
)


@pytest.mark.parametrize("storm", [past.STORM, 10, 1])
@given(steps=STEPS)
@example([("write", "b", "0", ":1.1", 1), ("write", "b", "0", ":1.2", 2), ("write", "b", "0", ":1.1", 8)])
def test_what_is_left_of_many_changes_leads_back_to_where_they_began(
    storm: int, steps: list[tuple[str, str, str, str, int]]
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(past, "STORM", storm)
        database = opened(Disk(Path(folder)))
        database.inject(parse("/vm/x"), '{"a": "0", "b": "0"}')
        save(database)
        begin, revision = _shown(database.freeze()), database.revision
        for word, name, value, writer, times in steps:
            for time in range(times):
                more = [value + str(time) if word == "write" else value] if word != "rm" else []
                getattr(database, word)(parse(f"/vm/x/{name}"), *more, writer)
        end = _shown(database.root)
        save(database)
        made = [one for one in known(database, "/") if one.revision > revision]
        assert _shown(database.root) == end
        assume(len(made) < history.KEPT)  # more are not kept
        assert _shown(past.rewound(database.root, made)) == begin


def test_its_files_stay_few_and_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_BYTES", 100_000)
    database = opened(Disk(tmp_path))
    for number in range(60):
        database.write_at(f"/vm/{number % 5}/k", f"{number:05}" * 500)
        save(database)
        files = list((tmp_path / "history").iterdir())
        assert sum(file.stat().st_size for file in files) <= 110_000
        assert len(files) <= history.MAX_FILES + 1
    assert known(database, "/vm/4")[-1].new == f'"{"00059" * 500}"'


def test_many_short_lives_leave_few_files(tmp_path: Path) -> None:
    for number in range(12):
        database = opened(Disk(tmp_path))
        database.write_at("/vm/x/k", str(number))
        save(database)
        database.close()
    assert len(list((tmp_path / "history").iterdir())) <= history.MAX_FILES + 1
    assert [one.new for one in known(opened(Disk(tmp_path)), "/vm/x")][1:] == [f'"{n}"' for n in range(1, 12)]


def work(database: Database) -> None:
    for number in range(12):
        database.write_at(f"/vm/{number % 3}/k", f"value {number}")
        if number % 2:
            save(database)


@pytest.mark.proof
@pytest.mark.parametrize("point", range(1, 150, effort(37, 1)))
def test_a_death_at_any_system_call_leaves_a_history_that_goes_back_from_what_is_there(
    tmp_path: Path, point: int
) -> None:
    disk = TouchyDisk(tmp_path, dies_at(point))
    try:
        work(opened(disk))
    except Death:
        pass
    after = opened(Disk(tmp_path))
    for number in range(3):
        steps = known(after, f"/vm/{number}")
        revisions = [one.revision for one in steps]
        assert revisions == sorted(set(revisions))
        assert past.tree.find(past.rewound(after.root, steps), ("vm", str(number))) is past.ABSENT


@pytest.mark.proof
@pytest.mark.parametrize("call", CHANGING_CALLS[:: effort(4, 1)])
def test_a_failing_system_call_costs_no_history(tmp_path: Path, call: str) -> None:
    """Each call of the kind fails once, at some point; what was not written is written with the next save."""
    (tmp_path / "dry").mkdir()
    counting = TouchyDisk(tmp_path / "dry", never)
    work(opened(counting))
    for point in [n for n, name in enumerate(counting.calls, 1) if name == call][3:]:
        folder = tmp_path / str(point)
        folder.mkdir()
        disk = TouchyDisk(folder, fails_once_at(point))
        try:
            database = opened(disk)
            work(database)
        except (OSError, Unavailable):  # the caller was told
            continue
        save(database)
        found = [one for number in range(3) for one in known(database, f"/vm/{number}")]
        assert len(found) == 12


def test_a_broken_line_costs_only_itself(tmp_path: Path) -> None:
    database = opened(Disk(tmp_path))
    for number in range(3):
        database.write_at(f"/vm/{number}/k", "1")
    save(database)
    database.close()
    file = tmp_path / "history" / "1"
    lines = file.read_bytes().split(b"\n")
    file.write_bytes(b"\n".join([lines[0], lines[1][:-5] + b"?????", *lines[2:]]) + b"torn")
    assert [one.path for one in known(opened(Disk(tmp_path)), "/vm")] == [("vm", "0"), ("vm", "2")]


# Backwards


def test_taking_everything_back_in_turn_gives_each_former_state(tmp_path: Path) -> None:
    database = opened(Disk(tmp_path))
    states = []
    for word, path, value in (
        ("inject", "/vm/x", '{"a": 1.5, "b": null, "l": [1, "x/y"], "d": {}}'),
        ("write", "/vm/x/a", "text"),
        ("write", "/vm/x/a/b/c", "below a leaf"),
        ("rm", "/vm/x/a/b", ""),
        ("inject", "/vm", '{"y": {"k": "v"}}'),
        ("rm", "/vm", ""),
        ("write", "/else/where", "1"),
    ):
        states.append(database.dump(()))
        getattr(database, word)(parse(path), *([value] if word != "rm" else []))
    steps = past.revisions(known(database, "/"))
    root = database.root
    for revision in list(steps):
        root = past.rewound(root, steps[revision])
        assert _shown(root) == _shown_text(states.pop())


def _shown(root: object) -> object:
    return past.json_text.dumps(_sorted(root))


def _shown_text(text: str) -> object:
    return _shown(past.json_text.loads(text))


def _sorted(node: object) -> object:
    """Without order, and without a bare /vm: what comes back comes back at the end."""
    if isinstance(node, past.tree.Nodes):
        kept = {k: _sorted(v) for k, v in sorted(node.items())}
        return past.tree.Nodes({k: v for k, v in kept.items() if (k, v) != ("vm", past.tree.Nodes())})
    return node


def test_what_was_changed_later_is_not_taken_back(tmp_path: Path) -> None:
    database = opened(Disk(tmp_path))
    database.write_at("/vm/x/k", "1")
    database.write_at("/vm/x/k", "2")
    database.write_at("/vm/x/k", "3")
    with pytest.raises(Conflict, match="/vm/x/k is not what revision"):
        past.rewound(database.root, known(database, "/vm/x")[1:2])


def test_a_value_that_is_too_long_is_listed_and_cannot_come_back(tmp_path: Path) -> None:
    database = opened(Disk(tmp_path))
    database.write_at("/vm/x/k", "x" * (past.MAX_VALUE_BYTES + 1))
    (only,) = known(database, "/vm/x")
    with pytest.raises(BadRequest, match="too long to be kept"):
        past.rewound(database.root, [only])
