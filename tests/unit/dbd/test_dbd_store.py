# SPDX-License-Identifier: GPL-2.0-or-later
"""The database as a whole: the operations, and that nothing acknowledged is lost at any point."""

import itertools
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from dbd_disks import Death, TouchyDisk, dies_at, fails_once_at, never, no_space
from hypothesis import given, settings
from hypothesis import strategies as st

from dbd_model import Model, Refusal
from openxt_core.errors import BadRequest, Unavailable
from openxt_dbd import json_text, tree
from openxt_dbd.disk import Disk
from openxt_dbd.files import Files
from openxt_dbd.journal import Journal
from openxt_dbd.path import parse
from openxt_dbd.placement import Unit
from openxt_dbd.store import Database


def opened(disk: Disk) -> Database:
    database = Database(Files(disk), Journal(disk))
    database.load()
    return database


def save(database: Database) -> bool:
    if not database.dirty:
        return True
    attempt = database.start_save().run()
    database.end_save(attempt)
    return not attempt.failed


def texts(folder: Path) -> dict[str, str]:
    """Content of the database files."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".journal." not in path.name)
    return {str(path.relative_to(folder)): path.read_text() for path in files}


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return opened(Disk(tmp_path))


# Operations


def test_the_original_s_answers(database: Database) -> None:
    """The acceptance vectors; the state carries over.  Source: OpenXT dbd, 2015."""
    db = database
    db.write(parse("/a/b"), "1")
    assert db.read(parse("a//b/")) == "1"
    assert (db.read(("a",)), db.names(("a",))) == ("", ["b"])
    assert (db.exists(("a",)), db.exists(("a", "x"))) == (True, False)
    assert db.dump(("a",)) == '{\n  "b": "1"\n}\n'
    db.write(("a",), "x")
    assert db.dump(("a",)) == '{\n  "b": "1"\n}\n'
    db.write(parse("/a/b/c"), "2")
    assert (db.read(("a", "b")), db.read(("a", "b", "c"))) == ("", "2")
    db.rm(parse("/a/b/c"))
    assert db.exists(("a", "b"))
    assert db.dump(("a",)) == '{\n  "b": { }\n}\n'
    db.inject(("n",), '{"i":5,"f":1.5,"t":true,"l":[1,2],"z":null,"s":"x/y"}')
    values = [db.read(("n", name)) for name in "iftlzs"]
    assert values == ["5", "1.500000", "true", "", "", "x/y"]
    assert db.exists(("n", "z"))
    assert db.names(("n",)) == ["i", "f", "t", "l", "z", "s"]
    assert db.dump(("n", "l")) == "[\n  1,\n  2\n]\n"
    assert db.dump(("n", "s")) == '"x\\/y"\n'
    db.write(("n", "i"), "6")
    assert db.dump(("n", "i")) == '"6"\n'
    db.inject(("n",), '{"k":"v"}')
    assert db.names(("n",)) == ["k"]
    db.rm(parse("/nope/deep"))
    assert db.read(("nope",)) == ""
    before = db.dump(())
    with pytest.raises(BadRequest, match=r"^exception occured$"):
        db.inject(("n",), "{")
    assert db.dump(()) == before
    with pytest.raises(BadRequest, match=r"^not a binary node$"):
        db.binary(("n", "k"))


@pytest.mark.parametrize("path", ["/", "/vm", "/dom-store"])
def test_a_value_where_no_file_could_hold_it_is_refused(database: Database, path: str) -> None:
    with pytest.raises(BadRequest):
        database.write(parse(path), "x")
    assert database.dump(()) == "{ }\n"
    assert not database.dirty


def test_what_changes_nothing_makes_nothing_dirty(database: Database) -> None:
    database.write(("a", "b"), "1")
    save(database)
    database.write(("a", "b"), "1")
    database.write(("a",), "x")
    database.inject(("a",), '{"b": "1"}')
    database.rm(("x",))
    assert not database.dirty


PATHS = st.lists(st.sampled_from(["a", "b", "vm", "dom-store", "x", "y"]), max_size=4).map(
    lambda names: "/" + "/".join(names)
)
JSON = st.sampled_from(
    ['{"a":{"x":1},"b":null}', "{}", "null", "[1,2]", '"s"', "1.5", "true", "{", '{"x":{"k":"v"},"y":{}}']
)
OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(["write", "write_at"]), PATHS, st.sampled_from(["", "1", "x/y", "x" * 2000])),
    st.tuples(st.just("inject"), PATHS, JSON),
    st.tuples(st.just("rm"), PATHS),
)


def run(target: Database | Model, operation: tuple[str, ...]) -> bool:
    name, path, *rest = operation
    try:
        if isinstance(target, Model):
            getattr(target, name.removesuffix("_at"))(path, *rest)
        elif name == "write_at":
            target.write_at(path, *rest)
        else:
            getattr(target, name)(parse(path), *rest)
    except (BadRequest, Refusal):
        return False
    return True


@settings(max_examples=300, deadline=None)
@given(st.lists(OPERATIONS, max_size=25), st.data())
def test_any_sequence_of_operations_does_what_the_plain_model_does(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, ...]], data: st.DataObject
) -> None:
    disk = Disk(tmp_path_factory.mktemp("db"))
    database, model = opened(disk), Model()
    for operation in operations:
        assert run(database, operation) == run(model, operation), operation
        assert database.dump(()) == model.dump("/"), operation
        path = data.draw(PATHS)
        assert database.read(parse(path)) == database.read_at(path) == model.read(path)
        assert database.exists(parse(path)) == model.exists(path)
        assert database.names(parse(path)) == model.names(path)
        if data.draw(st.booleans()):
            save(database)


# Files


def test_each_part_is_saved_to_its_own_file(tmp_path: Path, database: Database) -> None:
    database.inject((), '{"a": "1", "vm": {"x": {"n": "1"}}, "dom-store": {"u": {"k": "v"}}}')
    database.write(("vm", "y", "n"), "2")
    assert save(database)
    assert texts(tmp_path) == {
        "db": '{\n  "a": "1"\n}\n',
        "vms/x.db": '{\n  "n": "1"\n}\n',
        "vms/y.db": '{\n  "n": "2"\n}\n',
        "dom-store/u.db": '{\n  "k": "v"\n}\n',
    }
    assert not database.dirty
    assert opened(Disk(tmp_path)).dump(("vm",)) == database.dump(("vm",))


def test_a_save_touches_only_what_changed(tmp_path: Path) -> None:
    disk = TouchyDisk(tmp_path, never)
    database = opened(disk)
    for number in range(50):
        database.write(("vm", str(number), "k"), "1")
    save(database)
    disk.calls.clear()
    database.write(("vm", "7", "k"), "2")
    database.write(("vm", "8", "k"), "2")
    database.write(("vm", "8", "k"), "1")
    save(database)
    assert disk.calls.count("rename") == 1


@pytest.mark.parametrize("operation", [("rm", "/vm"), ("rm", "/"), ("inject", "/", "{}")])
def test_the_files_of_removed_entries_go_too(tmp_path: Path, operation: tuple[str, ...]) -> None:
    database = opened(Disk(tmp_path))
    database.inject(("vm",), '{"x": {}, "y": {}}')
    save(database)
    assert run(database, operation)
    save(database)
    assert "vms/x.db" not in texts(tmp_path)
    assert opened(Disk(tmp_path)).names(("vm",)) == []


def test_a_file_that_was_set_aside_is_never_deleted(tmp_path: Path) -> None:
    (tmp_path / "vms").mkdir()
    (tmp_path / "vms" / "x.db").write_text("{")
    database = opened(Disk(tmp_path))
    database.write(("vm", "x", "k"), "1")
    database.rm(("vm",))
    save(database)
    assert [text for name, text in texts(tmp_path).items() if ".bad-" in name] == ["{"]


def test_what_a_save_leaves_out_keeps_its_journal_and_no_more(tmp_path: Path) -> None:
    database = opened(Disk(tmp_path))
    for value in "12":
        database.write(("vm", "x", "k"), value)
        database.write(("vm", "y", "k"), value)
        database.end_save(database.start_save([Unit("vm", "x")]).run())
    assert database.dirty == (Unit("vm", "y"),)
    assert {journal.name for journal in tmp_path.glob("db.journal.*")} == {
        f"db.journal.{n}" for n in (1, 2, 3)
    }
    assert opened(Disk(shutil.copytree(tmp_path, tmp_path / "copy"))).dump(()) == database.dump(())
    database.write(("vm", "x", "k"), "3")
    database.end_save(database.start_save([Unit("vm", "y")]).run())
    assert {journal.name for journal in tmp_path.glob("db.journal.*")} == {f"db.journal.{n}" for n in (3, 4)}
    assert opened(Disk(tmp_path)).dump(()) == database.dump(())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.sets(st.sampled_from("abc"))), max_size=12)
)
def test_whatever_saves_leave_out_a_new_process_finds_the_same(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, bool, set[str]]]
) -> None:
    folder = tmp_path_factory.mktemp("db")
    database = opened(Disk(folder))
    for count, (name, is_new, saved) in enumerate(steps):
        if is_new:
            database = opened(Disk(folder))
        database.write(("vm", name, f"k{count % 3}"), str(count))
        if count % 4 == 3:
            database.rm(("vm", name, f"k{count % 2}"))
        units = [unit for unit in database.dirty if unit.name in saved]
        database.end_save(database.start_save(units).run())
        found = opened(Disk(shutil.copytree(folder, tmp_path_factory.mktemp("copy") / "db")))
        for each in "abc":
            assert found.dump(("vm", each)) == database.dump(("vm", each))


def test_changes_during_a_save_belong_to_the_next(tmp_path: Path, database: Database) -> None:
    database.write(("vm", "x", "k"), "1")
    attempt = database.start_save()
    database.write(("vm", "x", "k"), "2")
    database.write(("vm", "x", "l"), "3")
    database.end_save(attempt.run())
    assert texts(tmp_path)["vms/x.db"] == '{\n  "k": "1"\n}\n'
    assert database.dirty
    assert opened(Disk(tmp_path)).dump(("vm", "x")) == '{\n  "k": "2",\n  "l": "3"\n}\n'
    save(database)
    assert opened(Disk(tmp_path)).dump(("vm", "x")) == '{\n  "k": "2",\n  "l": "3"\n}\n'


def test_a_frozen_tree_stays_as_it_is(database: Database) -> None:
    database.write(("a", "b"), "1")
    kept = database.freeze()
    database.write(("a", "b"), "2")
    assert kept != database.root
    assert database.read(("a", "b")) == "2"


def texts_of(parts: Mapping[Unit, tree.Node | tree.Absent]) -> list[bytes]:
    return [b"" if node is tree.ABSENT else json_text.dumps(node) for node in parts.values()]


WRITES = st.tuples(
    st.sampled_from(["/vm/x/a", "/vm/x/d/a", "/vm/y/a", "/main/d/a", "/dom-store/x/d/a"]),
    st.sampled_from("123"),
)


@given(st.lists(WRITES | st.sampled_from(["freeze", "start a save", "end it", "end it with a failure"])))
def test_no_write_reaches_what_is_frozen_or_misses_a_file(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str] | str]
) -> None:
    folder = tmp_path_factory.mktemp("db")
    database, attempt, at_its_start = opened(Disk(folder)), None, list[bytes]()
    kept: list[tuple[tree.Node, bytes]] = []
    for step in (*steps, "end it"):
        if isinstance(step, tuple):
            database.write_at(*step)
        elif step == "freeze":
            kept.append((database.freeze(), json_text.dumps(database.root)))
        elif step == "start a save" and attempt is None and database.dirty:
            attempt = database.start_save()
            at_its_start = texts_of(attempt.parts)
        elif step.startswith("end it") and attempt is not None:
            assert texts_of(attempt.parts) == at_its_start
            attempt.run()
            if step == "end it with a failure":
                attempt.failed = dict.fromkeys(attempt.parts, OSError())
            database.end_save(attempt)
            attempt = None
    assert all(json_text.dumps(root) == text for root, text in kept)
    assert save(database)
    for journal in folder.glob("db.journal.*"):
        journal.unlink()
    assert json.loads(opened(Disk(folder)).dump(())) == json.loads(database.dump(()))


def test_a_write_after_a_save_copies_nothing(tmp_path: Path) -> None:
    database = opened(Disk(tmp_path))
    for value in ("1", "2", "3"):
        database.write_at("/vm/x/config/memory", value)
        holder = tree.find(database.root, parse("/vm/x/config"))
        assert save(database)
        database.write_at("/vm/x/config/memory", value + "!")
        assert tree.find(database.root, parse("/vm/x/config")) is holder
        assert save(database)
        assert f'"memory": "{value}!"' in texts(tmp_path)["vms/x.db"]


def test_a_first_write_copies_nothing_and_is_saved(tmp_path: Path) -> None:
    (tmp_path / "vms").mkdir()
    (tmp_path / "vms/x.db").write_text('{"config": {"memory": "1"}, "list": [{"a": "1"}]}')
    database = opened(Disk(tmp_path))
    holder = tree.find(database.root, parse("/vm/x/config"))
    database.write_at("/vm/x/config/memory", "2")
    assert tree.find(database.root, parse("/vm/x/config")) is holder
    assert save(database)
    assert json.loads(texts(tmp_path)["vms/x.db"])["config"] == {"memory": "2"}


def test_a_tree_that_was_frozen_before_a_first_write_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "vms").mkdir()
    (tmp_path / "vms/x.db").write_text('{"config": {"memory": "1"}}')
    database = opened(Disk(tmp_path))
    frozen = database.freeze()
    database.write_at("/vm/x/config/memory", "2")
    assert tree.read(frozen, parse("/vm/x/config/memory")) == "1"


def test_a_clean_end_leaves_no_journal(tmp_path: Path, database: Database) -> None:
    database.write(("a",), "1")
    save(database)
    database.close()
    assert [path.name for path in tmp_path.iterdir()] == ["db"]


def test_what_only_guests_have_changed_may_be_told_later_than_the_rest(database: Database) -> None:
    called: list[bool] = []
    database.write_at("/vm/x/name", "one")
    database.news()
    database.on_news, database.is_limited = called.append, ":1.9".__eq__
    database.write(("dom-store", "x", "a"), "1", ":1.9")
    database.write(("dom-store", "x", "a"), "2", ":1.9")
    assert called == [True]
    database.write_at("/vm/x/name", "two", ":1.1")
    database.write(("dom-store", "x", "a"), "3", ":1.9")
    assert called == [True, False]
    assert [made[0] - database.revision for made in database.news() or ()] == [-3, -2, -1, 0]
    database.write(("dom-store", "x", "a"), "4", ":1.1")
    assert called == [True, False, False]


def test_what_is_made_between_two_questions_bears_the_time_of_the_first_of_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("openxt_dbd.store.time", lambda: now[0])
    database.write_at("/vm/x/name", "one")
    database.news()
    for now[0], value in ((2000.0, "two"), (2000.05, "three")):
        database.write_at("/vm/x/name", value)
    assert [made[4] for made in database.news() or ()] == [2000.0, 2000.0]
    now[0] = 3000.0
    database.write_at("/vm/x/name", "four")
    assert [made[4] for made in database.news() or ()] == [3000.0]


# Failures


def test_a_change_that_cannot_be_made_safe_is_not_made(tmp_path: Path) -> None:
    (tmp_path / "db").write_text('{"a": "1", "z": null, "b": {"c": "2", "z": null}}')
    disk = TouchyDisk(tmp_path, never)
    database = opened(disk)
    before = database.dump(())
    disk.touch = no_space
    for operation in (("write", "/a", "2"), ("inject", "/n", "{}"), ("rm", "/b/c"), ("rm", "/")):
        with pytest.raises(Unavailable, match="No space left on device"):
            run(database, operation)
        assert database.dump(()) == before
    disk.touch = never
    database.write(("a",), "3")
    assert opened(Disk(tmp_path)).read(("a",)) == "3"


CHANGES = [
    operation
    for number in "12"
    for operation in (
        ("write", "/vm/x/k", number),
        ("inject", "/vm/y", f'{{"a": {{"b": "{number}"}}, "z": null}}'),
        ("write", "/vm/x/l", number),
        ("rm", "/vm/x/k"),
        ("write", "/vm/x/k", number),
        ("write", f"/vm/x/m{number}", number),
        ("write", "/main", number),
        ("rm", "/vm/y/a"),
        ("write", f"/dom-store/u{number}/k", number),
        ("rm", "/dom-store/u1"),
        ("save",),
    )
]
"""Changes in several files; orders of names change, files come and go."""


def units(database: Database) -> dict[str, str]:
    """Each part's text, order of names included.  (Whether a bare `/vm` exists is in no file.)"""
    tops = [name for name in database.names(()) if name in ("vm", "dom-store")]
    paths = [(name,) for name in database.names(()) if name not in tops]
    paths += [(top, name) for top in tops for name in database.names((top,))]
    return {"/".join(path): database.dump(path) for path in paths}


def make_changes(database: Database, done: Callable[[], None]) -> None:
    for operation in CHANGES:
        if operation == ("save",):
            save(database)
        else:
            run(database, operation)
        done()


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """The parts before the first change and after each, where nothing fails."""
    database = opened(Disk(tmp_path_factory.mktemp("db")))
    found = [units(database)]
    make_changes(database, lambda: found.append(units(database)))
    return found


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many system calls the changes take."""
    disk = TouchyDisk(tmp_path_factory.mktemp("db"), never)
    make_changes(opened(disk), lambda: None)
    return len(disk.calls)


def die(folder: Path, point: int) -> int:
    """Make changes until the process dies at that system call; how many were acknowledged."""
    acknowledged: list[None] = []
    with pytest.raises(Death):
        make_changes(opened(TouchyDisk(folder, dies_at(point))), lambda: acknowledged.append(None))
    return len(acknowledged)


def test_a_process_that_dies_at_any_system_call_loses_nothing_acknowledged(
    tmp_path_factory: pytest.TempPathFactory, states: list[dict[str, str]], calls: int
) -> None:
    for point in range(1, calls + 1):
        folder = tmp_path_factory.mktemp("db")
        done = die(folder, point)
        found = units(opened(Disk(folder)))
        assert found in states[done : done + 2], f"died at call {point}"


def test_a_process_that_dies_again_while_it_recovers_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, states: list[dict[str, str]], calls: int
) -> None:
    for point, again in itertools.product(range(1, calls + 1, 3), range(1, 30, 4)):
        folder = tmp_path_factory.mktemp("db")
        done = die(folder, point)
        try:
            save(opened(TouchyDisk(folder, dies_at(again))))
        except Death:
            pass
        found = units(opened(Disk(folder)))
        assert found in states[done : done + 2], f"died at calls {point}, {again}"


def test_any_one_system_call_may_fail_and_the_next_save_makes_it_good(
    tmp_path_factory: pytest.TempPathFactory, calls: int
) -> None:
    for point in range(1, calls + 1):
        folder = tmp_path_factory.mktemp("db")
        database = opened(TouchyDisk(folder, fails_once_at(point)))
        for operation in CHANGES:
            before = units(database)
            try:
                run(database, operation) if operation != ("save",) else save(database)
            except Unavailable:
                assert units(database) == before
        assert units(opened(Disk(folder))) == units(database), f"failed at call {point}"
        assert save(database)
        for journal in folder.glob("*.journal.*"):
            journal.unlink()
        assert units(opened(Disk(folder))) == units(database), f"failed at call {point}"


def test_a_full_disk_is_served_and_saved_when_there_is_room_again(tmp_path: Path) -> None:
    disk = TouchyDisk(tmp_path, never)
    database = opened(disk)
    database.write(("vm", "x", "k"), "1")
    database.write(("main",), "1")
    disk.touch = no_space
    assert not save(database)
    assert len(database.dirty) == 2
    assert database.read(("vm", "x", "k")) == "1"
    disk.touch = never
    assert opened(Disk(tmp_path)).read(("vm", "x", "k")) == "1"
    assert save(database)
    assert not database.dirty
    assert set(texts(tmp_path)) == {"db", "vms/x.db"}


def test_one_file_that_fails_does_not_keep_the_others_from_being_saved(tmp_path: Path) -> None:
    database = opened(Disk(tmp_path))
    (tmp_path / "vms" / "x.db.tmp").mkdir(parents=True)
    database.inject(("vm",), '{"x": {}, "y": {}}')
    assert not save(database)
    assert [unit.name for unit in database.dirty] == ["x"]
    assert "vms/y.db" in texts(tmp_path)


def test_the_tree_can_be_read_from_the_files_again(tmp_path: Path, database: Database) -> None:
    database.write(("a",), "1")
    save(database)
    (tmp_path / "db").write_text('{"a": "edited"}')
    database.load()
    assert database.read(("a",)) == "edited"
    assert not database.dirty


def test_a_write_reaches_all_entries_of_a_repeated_name_again_and_again(database: Database) -> None:
    database.inject(("n",), '{"a": {"x": {"k": "1"}}, "a": {"x": {"k": "2"}}}')
    for value in ("3", "4"):
        database.write(("n", "a", "x", "k"), value)
        entry = '  "a": {\n    "x": {\n      "k": "%s"\n    }\n  }' % value  # noqa: UP031
        assert database.dump(("n",)) == f"{{\n{entry},\n{entry}\n}}\n"
