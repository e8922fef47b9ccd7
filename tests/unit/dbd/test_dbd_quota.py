# SPDX-License-Identifier: GPL-2.0-or-later
"""What a VM may keep in its dom-store."""

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
