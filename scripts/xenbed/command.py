# SPDX-License-Identifier: GPL-2.0-or-later
"""bed build | run | test | shell: words in, exit code out."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from xenbed import debian, image
from xenbed.folders import REPOSITORY, RUNS
from xenbed.machine import Machine
from xenbed.payload import Payload
from xenbed.runs import Start, run_payload, wiring_of, write_disks
from xenbed.tools import BedError, say

RUN_LIMIT_S = 300
TEST_LIMIT_S = 1200
SHELL_LIMIT_S = 86400

# What the `xen` tests need of pytest: loading plugins by looking for them takes seconds in dom0.
PYTEST = (
    *(
        "python3",
        "-m",
        "pytest",
        "-m",
        "xen",
        "-o",
        "cache_dir=/bed/out/cache",
        "-p",
        "pytest_asyncio.plugin",
    ),
    *("-p", "pytest_timeout", "--timeout=300", "--junitxml=/bed/out/junit.xml"),
    *("-o", "tmp_path_retention_policy=none"),  # dom0's /tmp is memory; disks and saved guests fill it
)
TEST_FOLDERS = ("tests/contract", "tests/xen")

LAST_FAILED = Path("cache/v/cache/lastfailed")  # of pytest, in /bed/out

TEST_SCRIPT = """\
#!/bin/sh
{before}export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
exec {command}
"""

# A machine is new each time: pytest's memory of what failed has to be brought along.
BRING_FAILED = """\
mkdir -p /bed/out/{folder}
cat > /bed/out/{file} <<'END'
{failed}
END
"""

# A session of its own on that line, so that job control and ^C work.
SHELL_SCRIPT = """\
#!/bin/sh
exec </dev/ttyS1 >/dev/ttyS1 2>&1
stty sane
echo 'This is dom0; exit ends the machine.'
exec setsid -cw sh -i
"""


def main(words: Sequence[str]) -> int:
    parser = _parser()
    options, for_pytest = parser.parse_known_args(words)
    if for_pytest and options.act is not _test:
        parser.error(f"unrecognized arguments: {' '.join(for_pytest)}")
    options.pytest = for_pytest
    try:
        code: int = options.act(options)
    except BedError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bed", description="Real Xen and a Debian dom0, emulated by QEMU.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    build = commands.add_parser("build", help="make the machine, if it is not there yet")
    build.set_defaults(act=_build)

    run = commands.add_parser("run", help="run a script in dom0; results come to build/xen/<name>/")
    run.add_argument("script", type=Path, help="a program that dom0 can start; /bed/out in there comes back")
    run.add_argument("arguments", nargs="*", help="given to the script (put -- before options)")
    _add_run_options(run, RUN_LIMIT_S)
    run.set_defaults(act=_run)

    # No positionals: what is not known goes to pytest as it is, in its order.
    test = commands.add_parser(
        "test",
        help="run the tests marked `xen` in dom0; other words go to pytest",
        usage="bed test [--name NAME] [--cold|--counted] [--timeout S] "
        f"[PYTEST WORDS; default: {' '.join(TEST_FOLDERS)}]",
        allow_abbrev=False,
    )
    test.add_argument("--name", default="test", help="of the run, whose files are in build/xen/<name>/")
    _add_run_options(test, TEST_LIMIT_S)
    test.set_defaults(act=_test)

    shell = commands.add_parser("shell", help="a shell in dom0")
    shell.set_defaults(act=_shell)
    return parser


def _add_run_options(parser: argparse.ArgumentParser, limit_s: int) -> None:
    how = parser.add_mutually_exclusive_group()
    keep = {"dest": "start", "action": "store_const"}
    how.add_argument("--cold", **keep, const=Start.COLD, help="boot instead of resuming the frozen machine")
    how.add_argument(
        "--counted", **keep, const=Start.COUNTED, help="boot; clocks go by instructions, whatever our load"
    )
    parser.set_defaults(start=Start.RESUMED)
    parser.add_argument("--timeout", type=int, default=limit_s, metavar="S", help=f"default {limit_s}")


def _machine() -> Machine:
    debian.install_host_packages()
    return image.bed()


def _build(_options: argparse.Namespace) -> int:
    started = time.monotonic()
    machine = _machine()
    say(f"{machine.folder} is ready after {time.monotonic() - started:.1f} s")
    return 0


def _run(options: argparse.Namespace) -> int:
    script: Path = options.script
    try:
        text = script.read_text()
    except OSError as error:
        raise BedError(f"{script}: {error.strerror}") from error
    if options.arguments:
        text = _with_arguments(text, options.arguments)
    return run_payload(_machine(), Payload(script.stem, text, options.timeout), options.start)


def _with_arguments(script: str, arguments: Sequence[str]) -> str:
    """A shell script that is given its arguments by its own second line."""
    first, _, rest = script.partition("\n")
    if not first.startswith("#!") or not first.endswith("sh"):
        raise BedError("only shell scripts can be given arguments")
    return f"{first}\nset -- {shlex.join(arguments)}\n{rest}"


def _test(options: argparse.Namespace) -> int:
    wanted = list(options.pytest)
    if not any((REPOSITORY / word.partition("::")[0]).exists() for word in wanted):
        wanted += TEST_FOLDERS
    told = [f"OPENXT_BED={options.start.name.lower()}"]
    if value := os.environ.get("OPENXT_PROOF"):
        told.append(f"OPENXT_PROOF={value}")
    command = ["env", *told, *PYTEST, *wanted]
    whole = Payload(options.name, pytest_script(command), options.timeout)

    def failed_again(folder: Path) -> Payload:
        failed = folder / "out" / LAST_FAILED
        if not failed.exists():  # it did not come to its end
            return whole
        return replace(whole, script=pytest_script(command, failed.read_text()))

    return run_payload(_machine(), whole, options.start, failed_again)


def pytest_script(command: Sequence[str], failed: str = "") -> str:
    """What runs pytest; `failed`: its own note of the tests that failed before, and only those are run."""
    if not failed:
        return TEST_SCRIPT.format(before="", command=shlex.join(command))
    before = BRING_FAILED.format(folder=LAST_FAILED.parent, file=LAST_FAILED, failed=failed)
    return TEST_SCRIPT.format(before=before, command=shlex.join([*command, "--last-failed"]))


def _shell(_options: argparse.Namespace) -> int:
    """The terminal becomes dom0's second serial line; ^A x ends QEMU."""
    if not sys.stdin.isatty():
        raise BedError("a shell needs a terminal")
    machine = _machine()
    folder = RUNS / "shell"
    folder.mkdir(parents=True, exist_ok=True)
    write_disks(Payload("shell", SHELL_SCRIPT, SHELL_LIMIT_S), folder)
    wiring = wiring_of(folder, output="mon:stdio")
    return subprocess.run(machine.resumed(wiring), check=False).returncode & ~1
