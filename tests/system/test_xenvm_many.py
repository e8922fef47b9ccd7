# SPDX-License-Identifier: GPL-2.0-or-later
"""Many monitors at once, and many lives of one: memory, descriptors, files and nodes stay where they were."""

import asyncio
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from xenvm_house import UUID, House

from effort import effort
from openxt_core.errors import RemoteError
from openxt_core.ids import Uuid
from openxt_core.places import Places
from page_merging import KERNEL, MERGED_KIB, PASSES, passes, private_kib, rollup

VMS = effort(5, 200)
BATCH = 5  # of starts at once
LIVES = effort(30, 1000)
COPIED_KIB = 10 * 1024  # of the zygote's memory, before the kernel merges what is the same
MERGING_FAST = {"pages_to_scan": "50000", "sleep_millisecs": "20"}
GROWTH_KIB = effort(256, 64)  # of a monitor's memory, in the second half of its lives

pytestmark = [pytest.mark.proof, pytest.mark.timeout(effort(300, 1800))]


@contextmanager
def running_zygote(house: House, *words: str) -> Iterator[Path]:
    """Its socket; afterwards it is gone."""
    process = subprocess.Popen([sys.executable, "-m", "openxt_xenvm.zygote", *words], env=house.environ)
    try:
        yield Places(house.root).zygote_socket
    finally:
        process.kill()
        process.wait()


def bear(zygote: Path, config: Path) -> int:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(zygote))
        client.sendall(json.dumps({"config": str(config)}).encode() + b"\n")
        answer = json.loads(client.makefile().readline())
    return int(answer["pid"])


@pytest.fixture
def merging_kernel() -> Iterator[None]:
    """One that nobody told to merge or not to, and that is quick at it; afterwards as before."""
    if not os.access(KERNEL / "run", os.W_OK) or merging("run") == "2":
        # The promise has a keeper that skips nothing: tests/xen/test_xen_merging.py, in a dom0 that may.
        pytest.skip("needs root, and a kernel that may merge pages")
    before = {name: merging(name) for name in (*MERGING_FAST, "run")}
    try:
        set_merging(MERGING_FAST)
        yield
    finally:
        set_merging(before)


def merging(name: str) -> str:
    return (KERNEL / name).read_text().strip()


def set_merging(values: dict[str, str]) -> None:
    for name, value in values.items():
        (KERNEL / name).write_text(value)


async def kernel_has_merged() -> None:
    """Returns after so many of its passes."""
    enough = passes() + PASSES
    while passes() < enough:
        await asyncio.sleep(0.5)  # the kernel tells nobody


@asynccontextmanager
async def running_monitors(house: House, zygote: Path) -> AsyncIterator[list[int]]:
    """Many that the zygote bore, by process id, each with a running domain that has a disk and a card."""
    await house.until(zygote.exists)
    house.bridge("br0")
    uuids = [Uuid(f"00000000-0000-0000-0001-{number:012x}") for number in range(VMS)]
    pids: list[int] = []
    try:
        for number, uuid in enumerate(uuids):
            disk = f"disk = {house.file(f'disk{number}')}:file:xvda:w:disk:"
            card = f"vif = bridge=br0,mac=00:16:3e:00:00:{number:02x}"
            config = house.config("memory = 8", disk, card, uuid=uuid)
            pids.append(await asyncio.to_thread(bear, zygote, config))
        show("idle", pids)
        for first in range(0, VMS, BATCH):
            await asyncio.gather(*(house.call("start", uuid) for uuid in uuids[first : first + BATCH]))
        yield pids
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def show(what: str, pids: list[int]) -> None:
    found = sorted(map(private_kib, pids))
    low, middle, high = found[0], found[len(found) // 2], found[-1]
    print(f"\n{len(pids)} monitors, {what}: private KiB lowest {low}, middle {middle}, highest {high}")


async def test_each_of_many_monitors_copies_little_of_the_zygote(house: House) -> None:
    with running_zygote(house, "--no-merge") as zygote:
        async with running_monitors(house, zygote) as pids:
            show("running", pids)
            assert max(map(private_kib, pids)) <= COPIED_KIB


@pytest.mark.usefixtures("merging_kernel")
async def test_each_of_many_monitors_soon_has_little_memory_of_its_own(house: House) -> None:
    with running_zygote(house) as zygote:
        async with running_monitors(house, zygote) as pids:
            await kernel_has_merged()
            show("merged", pids)
            assert max(map(private_kib, pids)) <= MERGED_KIB


@pytest.mark.usefixtures("merging_kernel")
@pytest.mark.parametrize("chosen", ["0", "1"])
async def test_without_merging_the_hosts_setting_is_left_alone(house: House, chosen: str) -> None:
    set_merging({"run": chosen})
    with running_zygote(house, "--no-merge") as zygote:
        await house.until(zygote.exists)
        assert merging("run") == chosen


@dataclass(frozen=True)
class Footprint:
    descriptors: int
    files: frozenset[str]
    nodes: frozenset[str]
    rss_kib: int


async def footprint(house: House, pid: int) -> Footprint:
    files = frozenset(str(path) for path in house.root.rglob("*") if "/log/" not in str(path))
    nodes = frozenset(await house.nodes())
    return Footprint(len(list(Path(f"/proc/{pid}/fd").iterdir())), files, nodes, rollup(pid)["Rss"])


async def live(house: House, *, fails: bool) -> None:
    if fails:
        house.xen.fail_next("build_pvh", errno.EIO)
        with pytest.raises(RemoteError, match="EIO"):
            await house.call("start")
    else:
        await house.call("start")
        await house.call("destroy")


@pytest.mark.parametrize("fails", [False, True], ids=["start and stop", "failed start"])
async def test_a_thousand_lives_leave_the_monitor_as_it_was(house: House, fails: bool) -> None:
    disk = house.file("disk")
    monitor = await house.monitor(house.config("v4v=true", f"disk = {disk}:file:xvda:w:disk:"))
    prints = []
    for lives in (5, LIVES // 2, LIVES // 2):
        for _ in range(lives):
            await live(house, fails=fails)
            house.silence()
        prints.append(await footprint(house, monitor.pid))
    first, before, after = prints
    print(f"\n{LIVES} lives: RSS {first.rss_kib}, half-way {before.rss_kib}, then {after.rss_kib} KiB")
    assert (after.descriptors, after.files, after.nodes) == (before.descriptors, before.files, before.nodes)
    assert after.rss_kib - before.rss_kib <= GROWTH_KIB
    assert house.domids(UUID) == []
