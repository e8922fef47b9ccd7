# SPDX-License-Identifier: GPL-2.0-or-later
"""A dbd of one's own for tests of dbd alone, a house for those of monitors, and a stand-in for viptables."""

import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from dbd_host import DEFAULT_DATABASE, Host, end
from houses import last_words
from viptables import Viptables
from xenvm_house import House, open_house


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what the programs of its host wrote last: they end with it."""
    report = yield
    if report.when == "call" and report.failed:
        report.sections += [(f"end of {name}", text) for name, text in last_words().items()]
    return report


@pytest.fixture
def host(tmp_path: Path, bus_address: str) -> Host:
    default = tmp_path / "usr" / "share" / "xenclient" / "db.default"
    default.parent.mkdir(parents=True)
    default.write_bytes(DEFAULT_DATABASE.read_bytes())
    return Host(tmp_path, bus_address)


@pytest.fixture
def start(host: Host) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    with ExitStack() as stack:

        def start() -> subprocess.Popen[str]:
            process = host.start()
            stack.callback(end, process, signal.SIGKILL)
            return process

        yield start


@pytest.fixture
async def house(bus_address: str) -> AsyncIterator[House]:
    """Without any monitor yet."""
    with tempfile.TemporaryDirectory(prefix="xenvm") as folder:
        async with open_house(Path(folder), bus_address) as opened:
            yield opened


@pytest.fixture
def viptables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Viptables:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    made = Viptables(tmp_path)
    made.install()
    return made
