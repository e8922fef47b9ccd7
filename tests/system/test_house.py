# SPDX-License-Identifier: GPL-2.0-or-later
"""What `make run` promises: a VM's life is shown, or the host stays up; afterwards no process is left."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from houses import PROJECT, house

from openxt_core.ids import DBD_NAME
from openxt_house.layout import Layout
from openxt_house.services import services

HOUSE = (sys.executable, "-m", "openxt_house", "--share", str(PROJECT))


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    argv = (*HOUSE, "--dir", str(folder), *options)
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def processes_of(folder: Path) -> list[str]:
    """Every process that was given this host's folder."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"OPENXT_ROOT={folder}\0" in environ.read_text(errors="replace"):
                found.append((environ.parent / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """pytest's own folders can be too long for sockets."""
    with tempfile.TemporaryDirectory(prefix="house") as name:
        yield Path(name)


def test_a_life_is_shown_from_creation_to_deletion_and_nothing_runs_afterwards(folder: Path) -> None:
    process = start(folder, "--kinds", "pv,pvh")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    for kind in ("pv", "pvh"):
        assert f"GUEST UP {kind}" in output
    for state in ("creating", "running", "paused", "stopping", "stopped"):
        assert output.count(f"'{state}', ") >= 2
    assert output.count("vm_deleted") == 2
    assert "Access denied" in output
    assert processes_of(folder) == []


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_kept_host_tells_how_to_reach_it_and_ends_at_one_signal(folder: Path, sign: signal.Signals) -> None:
    process = start(folder, "--keep")
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if line == "ready\n":
            break
    assert f"export DBUS_SYSTEM_BUS_ADDRESS=unix:path={folder}/bus" in lines
    assert f"rpc-proxy={folder}/var/run/v4v/0/5555" in lines
    assert Path(f"{folder}/var/run/v4v/0/5555").is_socket()
    assert len(processes_of(folder)) >= 5
    process.send_signal(sign)
    assert process.wait(timeout=30) == 0
    assert processes_of(folder) == []


def test_a_folder_whose_host_is_up_is_refused_and_keeps_its_host(folder: Path) -> None:
    first = start(folder, "--keep")
    try:
        assert first.stdout is not None
        assert any(line == "ready\n" for line in first.stdout)
        second = start(folder)
        output, _ = second.communicate(timeout=60)
        assert second.returncode == 1
        assert "another openxt-house has its host in" in output
        assert Path(f"{folder}/config").is_dir()
        assert len(processes_of(folder)) >= 5
    finally:
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=30)
    third, _ = start(folder).communicate(timeout=60)
    assert "vm_deleted" in third


def test_outside_the_projects_folder_it_says_what_to_name_and_makes_nothing(folder: Path) -> None:
    argv = (sys.executable, "-m", "openxt_house")
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"openxt-house: {folder} is not the project's folder; name that with --share" in done.stderr
    assert list(folder.iterdir()) == []


async def test_the_programs_of_a_host_wait_until_its_bus_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = shutil.which("dbus-daemon")
    slow = tmp_path / "dbus-daemon"
    slow.write_text(f'#!/bin/sh\nsleep 2\nexec {bus} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    async with house({"dbus-daemon", "openxt-sim", "dbd"}) as it:
        assert await it.bus.name_owner(DBD_NAME) is not None


def test_a_folder_that_is_not_ours_is_left_alone(folder: Path) -> None:
    (folder / "precious").write_text("data")
    process = start(folder)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "not a run folder of ours" in output
    assert (folder / "precious").read_text() == "data"


@pytest.mark.parametrize("simulated", [True, False])
def test_only_on_real_xen_the_kernels_merging_of_pages_is_switched_on(folder: Path, simulated: bool) -> None:
    (zygote,) = [one for one in services(Layout(folder, simulated)) if one.name == "xenvm-zygote"]
    assert ("--no-merge" in zygote.argv) is simulated
