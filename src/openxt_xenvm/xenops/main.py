# SPDX-License-Identifier: GPL-2.0-or-later
"""`xenops`: one operation on one domain, by hand, without a monitor.

Exit status: 0 done; 1 help, wrong words, or it did not work, with one line on stderr.  Also answers to the
commands' own names, as `dmesg` would: then the first word is the first option.
"""

import asyncio
import logging
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from openxt_core.errors import BadRequest, NotSupported, OpenxtError
from openxt_xenvm.xenops.session import Session
from openxt_xenvm.xenops.table import BY_NAME, COMMANDS
from openxt_xenvm.xenops.words import Command, Given, parse


def main() -> int:
    return run(sys.argv)


def run(argv: Sequence[str]) -> int:
    program = Path(argv[0]).name
    words = [program, *argv[1:]] if program in BY_NAME and len(argv) > 1 else list(argv[1:])
    if words[:1] in (["-h"], ["--help"]):
        print(_overview())
        return 0
    if not words or words[0] == "help":
        return _help(words[1:])
    command = BY_NAME.get(words[0])
    if command is None:
        _say(f"xenops: unknown command {words[0]!r}; known: {' '.join(sorted(BY_NAME))}")
        return 1
    try:
        given, warnings = parse(command, words[1:])
    except BadRequest as error:
        _say(f"error: {error}")
        return 1
    for warning in warnings:
        _say(f"xenops: warning: {warning}")
    return _do(command, given)


def _do(command: Command, given: Given) -> int:
    logging.basicConfig(level=logging.DEBUG if given["debug"] else logging.ERROR)
    try:
        output = asyncio.run(_worked(command, given))
    except (OpenxtError, OSError) as error:
        _say(f"error: {error}")
        return 1
    if output:
        print(output)
    return 0


async def _worked(command: Command, given: Given) -> str:
    if command.handler is None:
        raise NotSupported(f"{command.name}: {command.why_not}")
    session = Session()
    try:
        return await command.handler(session, given)
    finally:
        await session.close()


def _help(names: Sequence[str]) -> int:
    """On stderr, with status 1, sic."""
    if names and names[0] not in BY_NAME:
        _say(f"xenops: unknown command {names[0]!r}")
    chosen = [BY_NAME[name] for name in names if name in BY_NAME] or list(COMMANDS)
    _say("usage: xenops COMMAND [options]; -debug logs to stderr")
    for command in chosen:
        _say(f"  {command.usage}\n      {command.why_not or command.summary}")
    return 1


def _overview() -> str:
    names = textwrap.fill(" ".join(command.name for command in COMMANDS), 78, break_on_hyphens=False)
    head = "usage: xenops COMMAND [options]; -debug logs to stderr"
    return f"{head}\n\n{names}\n\n`xenops help COMMAND` tells its options; `xenops help` all."


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
