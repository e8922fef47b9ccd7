# SPDX-License-Identifier: GPL-2.0-or-later
"""How a forked monitor tells whoever forked it that it serves, or why it never will: one line of JSON.

`{"pid": N}` or `{"error": "text", "exit_code": N}`.  Nothing at all means that it died.
"""

import json
import os
import sys
from dataclasses import dataclass

from openxt_xenvm import program
from openxt_xenvm.options import Options

DIED = {"error": "xenvm ended before it was ready", "exit_code": program.EXIT_FATAL}


@dataclass
class Report:
    """The writing end of a pipe; used once."""

    descriptor: int

    def ready(self) -> None:
        self._send({"pid": os.getpid()})

    def failed(self, text: str, status: int) -> None:
        self._send({"error": text, "exit_code": status})

    def _send(self, answer: dict[str, object]) -> None:
        if self.descriptor < 0:
            return  # it failed after it had been ready
        try:
            os.write(self.descriptor, json.dumps(answer).encode() + b"\n")
        except BrokenPipeError:
            pass  # whoever waited has left; we go on all the same
        os.close(self.descriptor)
        self.descriptor = -1


def parse_report(line: bytes) -> dict[str, object]:
    """What came through the pipe, whatever came."""
    try:
        found = json.loads(line)
    except ValueError:
        return dict(DIED)
    return found if isinstance(found, dict) else dict(DIED)


def in_foreground(options: Options) -> int:
    return program.run(options, lambda: None, lambda text, _: program.complain(text))


def as_daemon(options: Options) -> int:
    """Returns in the process that was started, once the daemon serves or has failed, with its exit status."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(reading)
        os.setsid()
        if os.fork() == 0:
            _be_daemon(options, Report(writing))
        os._exit(0)
    os.close(writing)
    os.wait()
    with os.fdopen(reading, "rb") as pipe:
        answer = parse_report(pipe.readline())
    if "pid" in answer:
        return 0
    program.complain(str(answer["error"]))
    status = answer.get("exit_code")
    return status if isinstance(status, int) else program.EXIT_FATAL


def _be_daemon(options: Options, report: Report) -> None:
    sys.stdout.flush()
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
    os._exit(program.run(options, report.ready, report.failed))
