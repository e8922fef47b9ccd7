# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures that tests of several packages share."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from pictures import PICTURES
from private_bus import start_bus

settings.register_profile("untimed", deadline=None)  # a busy machine breaks no promise
settings.load_profile("untimed")


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
