# SPDX-License-Identifier: GPL-2.0-or-later
"""The audit log: verdicts on messages, one a line, in a file.

A line is a record of `rules/record`, so that the log is a recording for replay and learn.  So many lines of
one VM in a period, the rest is counted.  Chained, each line names the hash of the one before: a line that
is changed, removed or added in between shows.  Who may write the file can make a whole new chain: the log
says how it ends whenever it is closed, to compare with.
"""

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openxt_core.ids import Domid
from openxt_rpcproxy.rules.decide import PropertyValue
from openxt_rpcproxy.rules.model import Decision, Facts, Verdict
from openxt_rpcproxy.rules.record import RecordError, as_object

log = logging.getLogger(__name__)

PERIOD_S = 10.0
TAIL = 256 * 1024  # bytes at a log's end that hold more than one line
START = "0" * 64  # what the first line of a chain names as the one before


@dataclass(frozen=True)
class AuditSettings:
    path: Path
    everything: bool = False  # allowed messages too
    chained: bool = False
    limit: int = 100  # lines of one domain in PERIOD_S; 0: no limit


class AuditLog:
    def __init__(self, settings: AuditSettings, clock: Callable[[], float] = time.time) -> None:
        """Raises OSError when the file cannot be opened."""
        self._settings = settings
        self._clock = clock
        self._since = clock()
        self._counts: dict[Domid, int] = {}
        self._hash = last_hash(settings.path) if settings.chained else ""
        self._is_torn = False
        self._file = _open(settings.path)

    @property
    def wants_allowed(self) -> bool:
        return self._settings.everything

    def note(
        self, facts: Facts, decision: Decision, properties: Mapping[str, PropertyValue], *, arg0: bool
    ) -> None:
        """`arg0`: write the first argument too: only when a rule asks for it is it known to be no secret."""
        if decision.verdict is Verdict.ALLOW and not self._settings.everything:
            return
        if self._may_write(facts.source.domid):
            self._write(as_object(facts, decision, properties, arg0=arg0))

    def reopen(self) -> None:
        """Go on in a new file if somebody moved the old one away; the chain goes on too."""
        self.close()
        self._file = _open(self._settings.path)

    def close(self) -> None:
        self._tell_left_out()
        self._file.close()
        if self._settings.chained:
            log.info("the audit log %s ends with %s", self._settings.path, self._hash)

    def _may_write(self, domid: Domid) -> bool:
        if self._clock() - self._since > PERIOD_S:
            self._tell_left_out()
        self._counts[domid] = count = self._counts.get(domid, 0) + 1
        return not self._settings.limit or count <= self._settings.limit

    def _tell_left_out(self) -> None:
        for domid, count in self._counts.items():
            if 0 < self._settings.limit < count:
                self._write({"domid": domid, "left-out": count - self._settings.limit})
        self._counts.clear()
        self._since = self._clock()

    def _write(self, one: dict[str, Any]) -> None:
        one = {"time": round(self._clock(), 3), **one}
        if self._settings.chained:
            one["prev"] = self._hash
            one["hash"] = self._hash = hash_of(one)
        line = ("\n" if self._is_torn else "") + json.dumps(one, ensure_ascii=True) + "\n"
        try:
            self._file.write(line.encode())
            self._is_torn = False
        except OSError as error:
            if not self._is_torn:
                log.error("the audit log %s cannot be written: %s", self._settings.path, error)
            self._is_torn = True


def _open(path: Path) -> Any:
    """Unbuffered: a line is written before its message goes on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "ab", buffering=0)


def hash_of(one: Mapping[str, Any]) -> str:
    """Of a line without its own hash."""
    bare = {name: value for name, value in one.items() if name != "hash"}
    return hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()


def last_hash(path: Path) -> str:
    """The hash of the last whole line of a file; START without one."""
    found = START
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        for line in file:
            found = str(_object(line).get("hash", found))
    return found


@dataclass(frozen=True)
class Verified:
    lines: int
    problems: tuple[str, ...]
    first: str  # what the first line names as the one before
    last: str


def verify(paths: Iterable[Path]) -> Verified:
    """Check the chain of a log, given as files from old to new.  Raises OSError, RecordError for none."""
    count, problems, first, before = 0, list[str](), "", ""
    for place, one in _lines(paths):
        if not one or one.get("hash") != hash_of(one):
            problems.append(f"{place}: changed or broken")
            continue
        if before and one.get("prev") != before:
            problems.append(f"{place}: does not follow the line before; lines are missing")
        first = first or str(one.get("prev"))
        before = str(one["hash"])
        count += 1
    if not count and not problems:
        raise RecordError("no line that could be checked")
    return Verified(count, tuple(problems), first, before)


def _lines(paths: Iterable[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in paths:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield f"{path}:{number}", _object(line)


def _object(line: bytes) -> dict[str, Any]:
    try:
        one = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return one if isinstance(one, dict) else {}
