# SPDX-License-Identifier: GPL-2.0-or-later
"""A flush of 50 VMs that ends, or meets an error, at each of its system calls: old or new, never a mix."""

import errno
import logging
import os
from collections.abc import Callable, Iterator

import pytest
from fault_work import VMS, Work, opened, parts, save
from sim_disk import (
    DataOnly,
    Dice,
    ForgetfulDisk,
    NamelessDisk,
    NothingKept,
    Random,
    ShortWrite,
    SimDisk,
    Touch,
    UnlinkingDisk,
    never,
)

from effort import effort
from openxt_core.errors import Unavailable

pytestmark = pytest.mark.proof

RANDOM_CUTS = effort(1, 8)
ERRORS: dict[str, Callable[[], Exception]] = {
    "EIO": lambda: OSError(errno.EIO, os.strerror(errno.EIO)),
    "ENOSPC": lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "a short write": ShortWrite,
}


def cuts(point: int) -> Iterator[tuple[str, Dice]]:
    yield "names only", Dice()
    yield "nothing", NothingKept()
    yield "data only", DataOnly()
    for number in range(RANDOM_CUTS):
        yield f"random {number}", Random(point * 1000 + number)


class Watcher:
    """Looks, before each system call, at what a restart would find if that were the end."""

    def __init__(self, work: Work, every: int, *, recovers_twice: bool) -> None:
        self.work = work
        self.points = 0
        self.violations: list[str] = []
        self._every = every
        self._recovers_twice = recovers_twice
        self._is_busy = False
        self._later: list[tuple[str, Iterator[str]]] = []
        work.on_changed = self.settle

    def __call__(self, number: int, call: str, file: str) -> None:
        if self._is_busy:
            return
        self._is_busy = True  # its own changes are looked at with the next call
        if call in ("rename", "sync_file"):
            self.work.touch_some()
        if number % self._every == 0:
            self.look(number, f"{number} {call} {file}")
        self._is_busy = False

    def look(self, number: int, where: str) -> None:
        may_be = 2 if self.work.is_changing else 1
        found = parts(opened(self.work.disk.after_kill()))
        self._judge(f"{where}, kill", self.work.lost_by_kill(found, may_be))
        for name, dice in cuts(number):
            cut = self.work.disk.after_power_cut(dice)
            self._judge(f"{where}, power cut, {name}", self.work.lost_by_power_cut(parts(opened(cut))))
            if self._recovers_twice:
                self._cut_again(number, f"{where}, power cut, {name}", cut)

    def _cut_again(self, number: int, where: str, found: SimDisk) -> None:
        """The next process saves what it recovered, and the power goes again."""
        again = opened(found)
        left: list[SimDisk] = []
        end = found.count + 1 + number * 31 % 300

        def cut(count: int, _call: str, _file: str) -> None:
            if count == end:
                left.append(found.after_power_cut(Random(number)))

        found.touch = cut
        save(again)
        for disk in left:
            self._judge(f"{where}, then again at {end}", self.work.lost_by_power_cut(parts(opened(disk))))

    def _judge(self, where: str, lost: Iterator[str]) -> None:
        """At once, or when the operation that is under way has ended: then its state is known."""
        self.points += 1
        self._later.append((where, lost))
        if not self.work.is_changing:
            self.settle()

    def settle(self) -> None:
        later, self._later = self._later, []
        self.violations += [f"{where}: {text}" for where, lost in later for text in lost]


def watched(
    disk: SimDisk, every: int, *, recovers_twice: bool = False, vms: int = VMS, each: int = 1
) -> Watcher:
    """Three flushes of all VMs, or of each second one, on this disk, with changes meanwhile."""
    work = Work(disk, vms, each)
    work.begin()
    watcher = Watcher(work, every, recovers_twice=recovers_twice)
    disk.touch = watcher
    for main in (True, False, False):  # a save of the main file syncs its folder, so with it and without
        work.change(main=main)
        work.save()
        watcher.look(disk.count, "after a save")
    disk.touch = never
    return watcher


def report(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with capsys.disabled():
        print(f"\n  {text}")


@pytest.mark.parametrize("each", [1, 2])
def test_an_end_at_any_system_call_leaves_the_old_or_the_new_state_of_every_vm(
    each: int, capsys: pytest.CaptureFixture[str]
) -> None:
    watcher = watched(SimDisk(), effort(29, 1), each=each)
    of = f"of flushes of {VMS} VMs" if each == 1 else f"of flushes that leave half of {VMS} VMs waiting"
    report(capsys, f"{watcher.points} ends {of}, {len(watcher.violations)} violations")
    assert watcher.violations == []


def test_a_second_end_while_the_first_is_being_recovered_from_does_no_more_harm(
    capsys: pytest.CaptureFixture[str],
) -> None:
    watcher = watched(SimDisk(), effort(97, 5), recovers_twice=True)
    report(capsys, f"{watcher.points} ends and second ends, {len(watcher.violations)} violations")
    assert watcher.violations == []


@pytest.mark.parametrize("disk", [ForgetfulDisk, NamelessDisk, UnlinkingDisk])
def test_a_disk_that_breaks_a_rule_is_found_out(disk: type[SimDisk]) -> None:
    assert watched(disk(), 3, vms=8).violations


class SkippedSync(SimDisk):
    """What dbd's flush would do without one of its steps."""

    def __init__(self, call: str, file: str) -> None:
        super().__init__()
        self._skipped = (call, file)

    def sync_file(self, path: str) -> None:
        if self._skipped != ("sync_file", path.split(".")[-2]):
            super().sync_file(path)

    def sync_folder(self, path: str) -> None:
        if self._skipped != ("sync_folder", path):
            super().sync_folder(path)


@pytest.mark.parametrize(
    ("call", "file"), [("sync_file", "journal"), ("sync_folder", ""), ("sync_folder", "vms")]
)
def test_each_sync_of_a_flush_is_needed(call: str, file: str) -> None:
    assert watched(SkippedSync(call, file), 2, vms=12).violations


# Errors


def failing(error: Callable[[], Exception], at: int, then: Callable[[], None] = lambda: None) -> Touch:
    def touch(number: int, _call: str, _file: str) -> None:
        if number == at:
            then()
            raise error()

    return touch


def flush_with(touch: Touch, vms: int) -> tuple[Work, int]:
    """A flush of all VMs on a disk that fails as `touch` says; how many calls were made before it."""
    work = Work(SimDisk(), vms)
    work.begin()
    work.change()
    before = work.disk.count
    work.disk.touch = lambda number, call, file: touch(number - before, call, file)
    work.save()
    work.disk.touch = never
    return work, before


def calls_of_a_flush(vms: int) -> int:
    work, before = flush_with(never, vms)
    return work.disk.count - before


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_at_any_system_call_of_a_flush_is_made_good_by_the_next(
    error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    vms = effort(8, VMS)
    calls = range(1, calls_of_a_flush(vms) + 1, effort(3, 1))
    for point in calls:
        work, _ = flush_with(failing(ERRORS[error], point), vms)
        where = f"{error} at call {point}"
        assert list(work.lost_by_kill(parts(work.database))) == [], where
        assert list(work.lost_by_kill(parts(opened(work.disk.after_kill())))) == [], where
        for _, dice in cuts(point):
            found = parts(opened(work.disk.after_power_cut(dice)))
            assert list(work.lost_by_power_cut(found)) == [], where
        work.touch_some()
        assert work.save(), where
        found = parts(opened(work.disk.after_power_cut(NothingKept())))
        assert list(work.lost_by_power_cut(found)) == [], where
        assert not [name for name in work.disk.names if name.endswith(".tmp")], where
    report(capsys, f"{error} at {len(calls)} system calls of a flush of {vms} VMs, 0 violations")


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_while_a_change_is_made_safe_refuses_it_or_changes_nothing(error: str) -> None:
    """The journal grows by a system call now and then: these are hit here."""
    for point in range(1, 8):
        work = Work(SimDisk(), 4)
        work.disk.touch = failing(ERRORS[error], point + work.disk.count)
        refused = 0
        for number in range(60):
            try:
                work.write("vm/x/name", f"{number} {'y' * 4000}")
            except Unavailable:
                refused += 1
            found = parts(opened(work.disk.after_kill()))
            assert list(work.lost_by_kill(found)) == [], f"{error} at call {point}"
        assert refused <= 1


@pytest.mark.parametrize("call", ["entries", "is_file", "read", "rename", "remove", "sync_folder"])
def test_a_read_error_at_the_start_stops_the_start_or_costs_nothing(call: str) -> None:
    """A file that cannot be read may be set aside, but is still there for the next start."""
    work = Work(SimDisk(), 5)
    work.begin()
    work.change()
    left = work.disk.after_kill()
    for point in range(1, 60):
        disk = left.after_kill()
        disk.touch = failing_call(call, point)
        try:
            opened(disk)
        except OSError:
            pass
        kept = {inode.content() for inode in disk.names.values()}
        assert {inode.content() for inode in left.names.values()} <= kept, f"{call} {point}"


def failing_call(call: str, at: int) -> Touch:
    seen = 0

    def touch(_number: int, name: str, file: str) -> None:
        nonlocal seen
        seen += name == call
        if name == call and seen == at:
            raise OSError(errno.EIO, os.strerror(errno.EIO), file)

    return touch


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Each restart reports what it recovered: thousands of lines."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
