# SPDX-License-Identifier: GPL-2.0-or-later
"""What databases leave open that a test drops without closing them, as a crash would."""

import gc
import importlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

JOURNAL = "/db.journal."


def open_journals() -> set[int]:
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if JOURNAL in str(entry.readlink()):
                found.add(int(entry.name))
        except FileNotFoundError:
            continue  # what listed the folder
    return found


@pytest.fixture(autouse=True, scope="module")
def no_journal_stays_open() -> Iterator[None]:
    """A process that ends closes its files; the tests' process goes on, and would have a thousand."""
    before = open_journals()
    yield
    gc.collect()
    for number in open_journals() - before:
        os.close(number)


@pytest.fixture(params=["openxt_dbd.tail", "_openxt_quick"])
def tail(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a journal is written by Python, and by C."""
    monkeypatch.setattr("openxt_dbd.record_file.Tail", importlib.import_module(request.param).Tail)
