# SPDX-License-Identifier: GPL-2.0-or-later
"""`rpc-proxy-rules`: what it prints, and how it exits."""

import json
from pathlib import Path
from typing import Any

import pytest

from openxt_core.ids import Domid
from openxt_rpcproxy.audit import AuditLog, AuditSettings
from openxt_rpcproxy.rules.model import Decision, Direction, Facts, Kind, Source, Verdict
from openxt_rpcproxy.rules_cmd import main

UUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
RULES = "deny all\nallow destination a.A interface i.I member m\nallow destination a.A dom-type svm\n"
CALL = ("--destination", "a.A", "--interface", "i.I", "--member")


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules"
    path.write_text(RULES)
    return path


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "recording"
    said = [{"domid": 7, "destination": "a.A", "interface": "i.I", "member": m} for m in ("m", "n", "n")]
    path.write_text("".join(json.dumps({**one, "verdict": "deny"}) + "\n" for one in said))
    return path


def asked(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, Any]:
    status = main(["--json", *map(str, words)])
    out = capsys.readouterr().out
    return status, json.loads(out) if out else None


def test_explain_names_the_deciding_line_and_what_each_other_missed(
    rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, found = asked(capsys, "explain", "-r", rules, *CALL, "m", "--uuid", UUID, "--vm", "type=ndvm")
    assert (status, found["verdict"], found["origin"]) == (0, "allow", f"{rules}:2")
    assert [one["missed"] for one in found["others"]] == ["subject", "", "dom-type"]
    status, found = asked(capsys, "explain", "-r", rules, *CALL, "x", "--uuid", UUID)
    assert (status, found["verdict"], found["unknown"]) == (1, "deny", ["type"])
    assert [one["missed"] for one in found["others"]] == ["subject", "member", "dom-type"]


def test_explain_says_the_same_in_words(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "-r", str(rules), *CALL, "x"]) == 1
    out = capsys.readouterr().out
    assert f"deny  {rules}:1: deny all" in out
    assert "missed member" in out


def test_check_tells_file_line_and_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad"
    bad.write_text("deny all\nallow destnation a\n")
    status, (found,) = asked(capsys, "check", bad)
    assert status == 1
    assert f"{bad}:2: unknown word 'destnation'" in found["problem"]


def test_lint_exits_with_1_when_there_is_a_finding(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(capsys, "lint", rules) == (0, [])
    rules.write_text(RULES + "deny all\n")
    status, found = asked(capsys, "lint", rules)
    assert status == 1
    assert {one["about"] for one in found} == {"unreachable"}


def test_replay_tells_what_changes(
    rules: Path, recording: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, found = asked(capsys, "replay", "-r", rules, recording)
    assert (status, found["allowed"], found["denied"]) == (1, 1, 2)
    assert [one["count"] for one in found["differences"]] == [1]
    status, found = asked(capsys, "replay", "-r", rules, "--against", rules, recording)
    assert (status, found["differences"]) == (0, [])


def test_learned_rules_make_the_recording_pass(
    rules: Path, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, found = asked(capsys, "learn", "-r", rules, recording)
    assert (status, found["rules"]) == (
        0,
        ["allow inc-method-call destination a.A interface i.I member n"],
    )
    rules.write_text(RULES + "\n".join(found["rules"]))
    assert asked(capsys, "replay", "-r", rules, recording)[1]["denied"] == 0


def test_verify_compares_the_end_with_what_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "audit"
    log = AuditLog(AuditSettings(path, chained=True))
    for member in "ab":
        facts = Facts(Direction.INCOMING, Kind.CALL, Source(Domid(7)), {"member": member})
        log.note(facts, Decision(Verdict.DENY), {}, arg0=False)
    log.close()
    status, found = asked(capsys, "verify", path)
    assert (status, found["lines"]) == (0, 2)
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert asked(capsys, "verify", path)[0] == 0  # the end of a chain is missed by who knows it only
    assert asked(capsys, "verify", "--last", found["last"], path)[0] == 1


@pytest.mark.parametrize("words", [["check", "/nowhere"], ["replay", "-r", "/nowhere", "/nowhere"]])
def test_what_cannot_be_answered_is_told_on_stderr(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert "/nowhere" in capsys.readouterr().err
