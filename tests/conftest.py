# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures that tests of several packages share."""

import os
import tempfile
from collections.abc import Generator, Iterator
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


GUEST_CONSOLES = Path("/var/log/xen/console")  # of dom0's xenconsoled
LAST_LINES = 20


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed on real Xen shows what its guests printed last."""
    report = yield
    if report.when == "call" and report.failed and item.get_closest_marker("xen"):
        report.sections += [(f"end of {log.name}", _end_of(log)) for log in _guest_consoles(call.start)]
    return report


def _guest_consoles(since_s: float) -> list[Path]:
    return [log for log in sorted(GUEST_CONSOLES.glob("guest-*.log")) if log.stat().st_mtime > since_s - 1]


def _end_of(log: Path) -> str:
    return "".join(log.read_text(errors="replace").splitlines(True)[-LAST_LINES:])


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
