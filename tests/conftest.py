# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures that tests of several packages share."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from pictures import PICTURES
from private_bus import start_bus

settings.register_profile("untimed", deadline=None)  # a busy machine breaks no promise
settings.load_profile("untimed")


USUAL_LIMIT_S = 60.0  # pyproject's


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several workers none shall be left with a long file at the end: those that may take long begin."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    limits: dict[Path, float] = {}
    for item in items:
        limits[item.path] = max(limits.get(item.path, 0.0), _limit_s(item))
    items.sort(key=lambda item: -limits[item.path])


def _limit_s(item: pytest.Item) -> float:
    mark = item.get_closest_marker("timeout")
    return mark.args[0] if mark else USUAL_LIMIT_S


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Where the browser's pictures of each step are."""
    pictures = list(PICTURES.glob("*.png"))
    if pictures:
        terminalreporter.write_line(f"{len(pictures)} pictures of the browser UI: {PICTURES}")


@pytest.fixture
def bus_address() -> Iterator[str]:
    """A private message bus for one test."""
    with tempfile.TemporaryDirectory(prefix="bus") as folder, start_bus(Path(folder)) as address:
        yield address
