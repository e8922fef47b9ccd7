# SPDX-License-Identifier: GPL-2.0-or-later
"""The usual write of a guest has a short way: what it leaves, tells and refuses is what the long way does."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dbd_story import Step, told
from effort import effort
from openxt_dbd.store import Database

GUEST, OTHER, DOM0 = ":1.7", ":1.8", ":1.1"
LIMITS = {"nodes": "6", "value-bytes": "600", "total-bytes": "1500", "depth": "3", "name-bytes": "24"}
DEEP = "/".join("abc")

PLACES = ("k", "l", "a/k", "a/b/k", f"{DEEP}/k", "a", "n" * 22, "n" * 23, "ü" * 6, "ü" * 12, "")
VALUES = ("1", "2", "x" * 590, "y" * 598, "/" * 400, "ü", "")


def prepare(database: Database) -> None:
    database.is_limited = lambda writer: writer in (GUEST, OTHER)
    for name, limit in LIMITS.items():
        database.write(("dbd", "quota", name), limit)
    for dom_store in (GUEST, OTHER):
        database.write(("dom-store", dom_store, "k"), "0")


def of(word: str, place: str, value: str, writer: str) -> Step:
    """A guest in its own dom-store; dom0 in that of the first."""
    return word, f"/dom-store/{writer if writer != DOM0 else GUEST}/{place}", value, writer


def dom0(word: str, place: str = "") -> Step:
    return of(word, place, "", DOM0)


def guests(*writes: tuple[str, str]) -> list[Step]:
    return [of("long", place, value, GUEST) for place, value in writes]


STEPS = st.builds(
    of,
    st.sampled_from(["long"] * 6 + ["rm", "inject", "news", "lease", "begin_save", "end_save"]),
    st.sampled_from(PLACES),
    st.sampled_from(VALUES),
    st.sampled_from([GUEST, GUEST, OTHER, DOM0]),
)


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
@example([dom0("lease", "k"), *guests(("k", "1"), ("l", "1")), dom0("lease"), *guests(("l", "2"))])
@example([dom0("begin_save"), *guests(("k", "1"), ("l", "1")), dom0("end_save"), *guests(("m", "2"))])
def test_the_short_way_ends_where_the_long_one_does(steps: list[Step]) -> None:
    by_short_way = told(steps, prepare)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "_put", lambda *_: False)
        assert by_short_way == told(steps, prepare)
