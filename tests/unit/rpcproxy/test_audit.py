# SPDX-License-Identifier: GPL-2.0-or-later
"""The audit log: what is written, how much of it, and that a chain shows what was done to it."""

import json
from pathlib import Path
from typing import Any

import pytest

from openxt_core.ids import Domid
from openxt_rpcproxy.audit import PERIOD_S, START, AuditLog, AuditSettings, verify
from openxt_rpcproxy.rules.model import Decision, Direction, Facts, Kind, Source, Verdict
from openxt_rpcproxy.rules.record import read_records

DENY, ALLOW = Decision(Verdict.DENY), Decision(Verdict.ALLOW)


def said(domid: int, member: str = "m") -> Facts:
    return Facts(Direction.INCOMING, Kind.CALL, Source(Domid(domid)), {"member": member})


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def audit(path: Path, clock: Clock | None = None, **more: Any) -> AuditLog:
    return AuditLog(AuditSettings(path, **more), clock or Clock())


def test_denied_messages_are_written_at_once_and_allowed_ones_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    for everything, expected in ((False, ["deny"]), (True, ["deny", "allow", "deny"])):
        log = audit(path, everything=everything)
        log.note(said(7), ALLOW, {}, arg0=False)
        log.note(said(7), DENY, {"type": "svm"}, arg0=False)
        assert [one["verdict"] for one in lines(path)] == expected
        log.close()
    assert [record.verdict for record in read_records(path.read_text(), "audit")] == expected
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_talkative_domain_fills_its_own_share_only_and_what_is_left_out_is_told(tmp_path: Path) -> None:
    path, clock = tmp_path / "audit", Clock()
    log = audit(path, clock, limit=3)
    for _ in range(10):
        log.note(said(7), DENY, {}, arg0=False)
    log.note(said(8), DENY, {}, arg0=False)
    assert [one["domid"] for one in lines(path)] == [7, 7, 7, 8]
    clock.now += PERIOD_S + 1
    log.note(said(8), DENY, {}, arg0=False)
    assert lines(path)[4:] == [{"time": 1011.0, "domid": 7, "left-out": 7}, lines(path)[5]]
    log.note(said(7), DENY, {}, arg0=False)
    assert lines(path)[-1]["domid"] == 7
    log.close()


def chained(path: Path, count: int = 4) -> AuditLog:
    log = audit(path, chained=True)
    for number in range(count):
        log.note(said(7, f"m{number}"), DENY, {}, arg0=False)
    return log


def test_a_whole_chain_is_found_whole_over_restarts_and_moved_files(tmp_path: Path) -> None:
    path, old = tmp_path / "audit", tmp_path / "audit.1"
    chained(path).close()
    log = chained(path)
    path.rename(old)
    log.reopen()
    log.note(said(7), DENY, {}, arg0=False)
    log.close()
    found = verify([old, path])
    assert (found.lines, found.problems, found.first) == (9, (), START)
    assert verify([path]).first == verify([old]).last


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda some: [some[0], some[1].replace("m1", "mX"), *some[2:]], "2: changed"),
        (lambda some: [some[0], *some[2:]], "2: does not follow"),
        (lambda some: [some[1], some[0], *some[2:]], "does not follow"),
        (lambda some: [*some[:3], some[3][:40]], "4: changed or broken"),
    ],
    ids=["changed", "removed", "swapped", "torn"],
)
def test_a_chain_shows_what_was_done_to_it(tmp_path: Path, change: Any, complaint: str) -> None:
    path = tmp_path / "audit"
    chained(path).close()
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    assert any(complaint in one for one in verify([path]).problems)


def test_a_full_disk_is_survived_and_the_torn_line_shows(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    log = chained(path, 2)
    file = log._file
    with Path("/dev/full").open("wb", buffering=0) as full:
        log._file = full
        log.note(said(7, "lost"), DENY, {}, arg0=False)
    log._file = file
    log.note(said(7, "after"), DENY, {}, arg0=False)
    log.close()
    assert verify([path]).lines == 3
    assert any("does not follow" in one for one in verify([path]).problems)
