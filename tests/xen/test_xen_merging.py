# SPDX-License-Identifier: GPL-2.0-or-later
"""Monitors that a zygote bears in dom0 soon have little memory of their own, by dom0's own kernel."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from xl_guest import until

from openxt_core.ids import DOM0, Domid
from openxt_core.places import Places
from openxt_xen.libxc import LibXc
from page_merging import KERNEL, MERGED_KIB, PASSES, passes, private_kib

pytestmark = [pytest.mark.xen, pytest.mark.timeout(800)]

MONITORS = 4
MERGING_S = 200
CONFIG = """\
uuid = {uuid}
name = monitor{number}
startup = start
virt-type = pvh
kernel = /guest/tiny-pvh
memory = 8
"""


@pytest.fixture
def zygote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    """With its own words: none.  The kernel merges fast, and nobody told it to before."""
    monkeypatch.setenv("OPENXT_ROOT", str(tmp_path / "root"))
    (KERNEL / "pages_to_scan").write_text("5000")
    (KERNEL / "run").write_text("0")
    process = subprocess.Popen(["xenvm-zygote"])
    places = Places(tmp_path / "root")
    until(places.zygote_socket.exists, "the zygote serves", 60)
    yield places
    process.terminate()
    process.wait()


def bear(places: Places, number: int) -> int:
    """The process id of a monitor that serves; its domain soon runs."""
    uuid = f"11fe7d03-0000-4000-8000-00000000010{number}"
    config = places.root / f"config{number}"
    config.write_text(CONFIG.format(uuid=uuid, number=number))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(places.zygote_socket))
        client.sendall(json.dumps({"config": str(config)}).encode() + b"\n")
        answer = json.loads(client.makefile().readline())
    return int(answer["pid"])


def running(libxc: LibXc) -> list[Domid]:
    return [info.domid for info in libxc.domains() if info.domid != DOM0 and not info.paused]


def test_monitors_of_running_domains_share_what_is_the_same(zygote: Places, libxc: LibXc) -> None:
    pids: list[int] = []
    try:
        pids += [bear(zygote, number) for number in range(MONITORS)]
        until(lambda: len(running(libxc)) == MONITORS, "all domains run", 120)
        enough = passes() + PASSES
        until(lambda: passes() >= enough, "the kernel has looked at all pages", MERGING_S)
        merged = sorted(map(private_kib, pids))
        print(f"\n{MONITORS} monitors: {merged} KiB")
        assert merged[-1] <= MERGED_KIB
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for domid in running(libxc):
            libxc.destroy_domain(domid)
