# SPDX-License-Identifier: GPL-2.0-or-later
"""What a VM may keep in its dom-store."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openxt_core.errors import BadRequest, QuotaExceeded
from openxt_dbd import quota
from openxt_dbd.disk import Disk
from openxt_dbd.draft import Draft
from openxt_dbd.files import Files
from openxt_dbd.journal import Journal
from openxt_dbd.path import parse
from openxt_dbd.store import Database
from openxt_dbd.tree import Nodes, find

STORE = "/dom-store/u"
GUEST, DOM0 = ":guest", ":dom0"


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Database]:
    def make(**limits: int) -> Database:
        folder: Path = tmp_path_factory.mktemp("config")
        database = Database(Files(Disk(folder)), Journal(Disk(folder)))
        database.is_limited = lambda writer: writer == GUEST
        database.load()
        for name, limit in limits.items():
            database.write((*quota.PLACE, name.replace("_", "-")), str(limit))
        return database

    return make


@pytest.mark.parametrize(
    ("limits", "path", "value", "text"),
    [
        ({"nodes": 2}, "c", "1", r"^quota nodes: 3 is over the limit of 2$"),
        ({"nodes": 2}, "c/d", "1", r"^quota nodes: 4 is over the limit of 2$"),
        ({"value_bytes": 10}, "a", "x" * 9, r"^quota value-bytes: 11 \('/a'\) is over the limit of 10$"),
        ({"value_bytes": 10}, "a", "////", None),
        ({"value_bytes": 10}, "a", "/////", r"quota value-bytes: 12"),
        ({"total_bytes": 20}, "a", "x" * 10, r"^quota total-bytes: 21 is over the limit of 20$"),
        ({"total_bytes": 20}, "a", "x" * 9, None),
        ({"depth": 2}, "c/d/e", "1", r"^quota depth: 3 \('/c/d/e'\) is over the limit of 2$"),
        ({"name_bytes": 4}, "äää", "1", r"^quota name-bytes: 6 \('äää'\) is over the limit of 4$"),
    ],
)
def test_a_write_over_a_limit_is_refused_with_the_quota_s_name_and_limit(
    make: Callable[..., Database], limits: dict[str, int], path: str, value: str, text: str | None
) -> None:
    database = make(**limits)
    database.write(parse(f"{STORE}/a"), "1", GUEST)
    database.write(parse(f"{STORE}/b"), "1", GUEST)
    before = database.dump(())
    if text is None:
        database.write(parse(f"{STORE}/{path}"), value, GUEST)
        return
    with pytest.raises(QuotaExceeded, match=text):
        database.write(parse(f"{STORE}/{path}"), value, GUEST)
    assert database.dump(()) == before
    database.write(parse(f"{STORE}/{path}"), value, DOM0)


@pytest.mark.parametrize(
    ("text", "quota_name"),
    [
        ('{"a": {"b": {"c": 1}}}', "depth"),
        ('{"a": "xxxxxxxxxxxxxxxxxxxxxx"}', "value-bytes"),
        ('{"a": ["xxxxxxxxxx", {"b": "xxxxxxxxxx"}]}', "value-bytes"),
        ('{"aaaaaaaaa": 1}', "name-bytes"),
        ('{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}', "nodes"),
        ('{"a":"xxxxxxxx","b":"xxxxxxxx","c":"xxxxxxxx","d":"xxxxxxxx"}', "total-bytes"),
    ],
)
def test_an_inject_is_looked_at_whole(make: Callable[..., Database], text: str, quota_name: str) -> None:
    database = make(nodes=5, value_bytes=20, total_bytes=40, depth=2, name_bytes=8)
    with pytest.raises(QuotaExceeded, match=f"quota {quota_name}:"):
        database.inject(parse(STORE), text, GUEST)
    assert database.exists(parse(STORE)) is False


def test_a_transaction_counts_as_what_it_leaves(make: Callable[..., Database]) -> None:
    database = make(nodes=2)
    database.write(parse(f"{STORE}/a"), "1", GUEST)
    draft = Draft(database.freeze())
    draft.write(parse(f"{STORE}/b"), "1")
    draft.write(parse(f"{STORE}/c"), "1")
    with pytest.raises(QuotaExceeded, match="quota nodes: 3"):
        database.commit(draft, writer=GUEST)
    draft.rm(parse(f"{STORE}/a"))
    database.commit(draft, writer=GUEST)
    assert database.names(parse(STORE)) == ["b", "c"]


def test_what_is_over_a_limit_already_may_shrink_but_not_grow(make: Callable[..., Database]) -> None:
    database = make()
    database.inject(parse(STORE), '{"a": "1", "b": "22", "c": "3"}', DOM0)
    database.write((*quota.PLACE, "nodes"), "1")
    database.write(parse(f"{STORE}/b"), "2", GUEST)
    with pytest.raises(QuotaExceeded, match="quota nodes: 4 is over the limit of 1"):
        database.write(parse(f"{STORE}/d"), "4", GUEST)
    database.rm(parse(f"{STORE}/a"), GUEST)
    assert database.names(parse(STORE)) == ["b", "c"]


def test_a_limit_that_is_no_number_is_the_default(make: Callable[..., Database]) -> None:
    database = make()
    database.write((*quota.PLACE, "nodes"), "many")
    assert quota.limits_of(database.root) == quota.DEFAULTS


PATHS = st.lists(st.sampled_from(["a", "b/", "ä", 'x"y']), min_size=0, max_size=4).map(
    lambda names: parse(STORE) + tuple(names)
)
VALUES = st.sampled_from(
    ["", "x", "/", "\n", "{}", '{"k": {"l": [1, "/"]}, "n": null, "f": 1.5}', "[]", "null"]
)
OPERATIONS = st.lists(st.tuples(st.sampled_from(["write", "inject", "rm"]), PATHS, VALUES), max_size=30)


@settings(max_examples=60, deadline=None)
@given(operations=OPERATIONS)
def test_what_is_kept_up_to_date_is_what_counting_gives(
    make: Callable[..., Database], operations: list[tuple[str, tuple[str, ...], str]]
) -> None:
    database = make()
    database.inject(parse(STORE), "{}", GUEST)
    for word, path, value in operations:
        try:
            getattr(database, word)(path, *([value] if word != "rm" else []), GUEST)
        except BadRequest:  # no JSON
            pass
        used = database._quotas._used.get("u")
        assert used in (None, quota.size(find(database.root, parse(STORE))))


def test_the_size_of_a_tree_is_that_of_its_names_and_values() -> None:
    node = Nodes({"a": "1", "b": Nodes({"c/": "/"})})
    assert quota.size(node) == quota.Size(3, 3 + 3 + 3 + 5 + 4)


def test_a_full_dom_store_is_counted_once_not_at_each_write(
    make: Callable[..., Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    database = make()
    database.inject(parse(STORE), "{" + ", ".join(f'"k{n}": "v"' for n in range(1000)) + "}", DOM0)
    with pytest.raises(QuotaExceeded):
        database.write(parse(f"{STORE}/more"), "1", GUEST)
    counted: list[object] = []
    monkeypatch.setattr(quota, "text_bytes", lambda leaf: counted.append(leaf) or len(str(leaf)))
    with pytest.raises(QuotaExceeded):
        database.write(parse(f"{STORE}/more"), "1", GUEST)
    database.write(parse(f"{STORE}/k7"), "w", GUEST)
    assert 0 < len(counted) < 20


NAMES = st.sampled_from(["a", "b", "c/d", "long-name"])
TEXTS = st.sampled_from(["", "1", "/", '"ä', "x" * 9, "x" * 30, "x" * 600])
DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "write", "write", "inject", "rm", "save"]),
        *(NAMES, TEXTS, st.booleans()),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=150)
@given(deeds=DEEDS, limits=st.sampled_from([{}, {"total_bytes": 60}, {"value_bytes": 20}, {"name_bytes": 8}]))
def test_the_short_way_of_a_write_does_what_the_long_one_does(
    make: Callable[..., Database], deeds: list[tuple[str, str, str, bool]], limits: dict[str, int]
) -> None:
    usual, frozen = make(**limits), make(**limits)
    for name in ("a", "b", "c/d"):
        for one in (usual, frozen):
            one.write(parse(f"{STORE}/{name}"), "1")
    assert usual.news() == frozen.news()  # None: not known in detail
    for member, name, value, is_guests in deeds:
        frozen.freeze()  # of a tree that somebody looks at nothing is changed in place
        told = [done(one, member, name, value, GUEST if is_guests else DOM0) for one in (usual, frozen)]
        assert told[0] == told[1]
        assert state(usual) == state(frozen)


def done(database: Database, member: str, name: str, value: str, writer: str) -> str:
    """What the caller is told of a refusal."""
    path = parse(f"{STORE}/{name}")
    try:
        match member:
            case "write":
                database.write(path, value, writer)
            case "save":
                database.end_save(database.start_save().run())
            case "inject":
                database.inject(path, json.dumps({"d": value}), writer)
            case _:
                database.rm(path, writer)
    except (BadRequest, QuotaExceeded) as error:
        return str(error)
    return ""


def state(database: Database) -> object:
    made = [(event[:4], event[5:]) for event in database.news() or ()]
    return database.dump(()), made, database.dirty, database.revision, database._quotas._used
