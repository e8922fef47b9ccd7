# SPDX-License-Identifier: GPL-2.0-or-later
"""`openxt-v4v listen`, as guests run it, as far as it goes without Xen: its socket."""

import contextlib
import re
import resource
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "native/guest"
PATIENCE_S = 30.0
LISTENS = "00010000"  # among the flags of a socket.  Source: Linux, include/linux/net.h, __SO_ACCEPTCON


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("guest")
    subprocess.run([str(SOURCES / "build.sh"), str(folder)], check=True)
    return str(folder / "openxt-v4v")


@contextlib.contextmanager
def listening(program: str, path: Path, descriptors: int = 64) -> Iterator[subprocess.Popen[bytes]]:
    """Once it serves a socket there."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, 64))

    words = [program, "listen", str(path), "5555"]
    with subprocess.Popen(words, preexec_fn=limit) as process:
        try:
            until(lambda: is_served(path))
            yield process
        finally:
            process.kill()


def is_served(path: Path) -> bool:
    """As the kernel tells, without a connection."""
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return any((words[3], words[-1]) == (LISTENS, str(path)) for words in lines)


def until(true: Callable[[], bool]) -> None:
    """Ask again and again, for what has no event."""
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def connected(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(PATIENCE_S)
    client.connect(str(path))
    return client


def pauses(process: subprocess.Popen[bytes]) -> int:
    """So often it gave up the processor by itself."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)$", status, re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_a_file_in_the_sockets_place_stays(program: str, tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    words = [program, "listen", str(path), "5555"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr) == (1, f"openxt-v4v: {path}: File exists\n")
    assert path.read_text() == "data"


def test_a_socket_that_nobody_serves_any_more_is_replaced(program: str, tmp_path: Path) -> None:
    path = tmp_path / "bus"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    with listening(program, path), connected(path) as client:
        assert client.recv(1) == b""  # there is no Xen here: no stream


def test_a_listener_without_descriptors_sleeps_and_serves_once_it_has_some(
    program: str, tmp_path: Path
) -> None:
    path = tmp_path / "bus"
    with listening(program, path, descriptors=4) as process, connected(path) as client:
        before = pauses(process)
        until(lambda: pauses(process) > before + 2)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (64, 64))
        assert client.recv(1) == b""
