# SPDX-License-Identifier: GPL-2.0-or-later
"""`openxt-sim` as a program, and as seen by a XenStore client that is not ours."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import pyxs
from sim_process import running_program

from openxt_sim.__main__ import main


def test_it_says_ready_and_takes_its_sockets_away_when_terminated(tmp_path: Path) -> None:
    with running_program(tmp_path) as process:
        assert {path.name for path in tmp_path.glob("*") if path.is_socket()} == {"xenstored", "hypercalls"}
        process.terminate()
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert not [path for path in tmp_path.rglob("*") if path.is_socket()]


def test_it_tells_systemd(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(address)
        notify.settimeout(20)
        command = [sys.executable, "-m", "openxt_sim", "--dir", str(tmp_path)]
        with subprocess.Popen(command, env={"NOTIFY_SOCKET": address}, stdout=subprocess.PIPE) as process:
            assert notify.recv(100) == b"READY=1"
            process.terminate()


def test_a_folder_that_cannot_be_used_is_an_error_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["--dir", str(tmp_path / "file")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("openxt-sim: ")
    assert len(error.splitlines()) == 1


@pytest.fixture
def client(tmp_path: Path) -> Iterator[pyxs.Client]:
    with running_program(tmp_path), pyxs.Client(unix_socket_path=str(tmp_path / "xenstored")) as connected:
        yield connected


def test_pyxs_finds_a_xenstore(client: pyxs.Client) -> None:
    client.write(b"/a/b", b"value")
    assert client.read(b"/a/b") == b"value"
    assert client.list(b"/a") == [b"b"]
    assert client.exists(b"/a")
    client.set_perms(b"/a", [b"r0", b"b0"])
    assert client.get_perms(b"/a") == [b"r0", b"b0"]
    client.mkdir(b"/c")
    client.delete(b"/a")
    assert not client.exists(b"/a/b")
    assert client.get_domain_path(5) == b"/local/domain/5"
    assert client.is_domain_introduced(0)
    with pytest.raises(pyxs.PyXSError):
        client.read(b"/none")


def test_pyxs_commits_and_rolls_back(client: pyxs.Client) -> None:
    client.transaction()
    client.write(b"/a", b"1")
    assert client.commit()
    client.transaction()
    client.write(b"/a", b"2")
    client.rollback()
    assert client.read(b"/a") == b"1"


def test_pyxs_gets_its_events(client: pyxs.Client) -> None:
    with client.monitor() as monitor:
        monitor.watch(b"/a", b"token")
        client.write(b"/a/b", b"1")
        events = monitor.wait()
        seen = [(event.path, event.token) for event in (next(events), next(events))]
    assert seen == [(b"/a", b"token"), (b"/a/b", b"token")]
