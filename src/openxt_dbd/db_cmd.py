# SPDX-License-Identifier: GPL-2.0-or-later
"""db-read, db-write, db-rm, db-exists, db-nodes, db-cat, db-ls, and db-cmd with these words.

Which one is meant is the program's own name, else the first argument.  Output and exit status are those of
OpenXT 2015, except that `db-rm /` fails with 1, and that `db-exists --status` tells by its status too.

What is imported here is chosen by what it costs: a call takes as long as loading does.
"""

from __future__ import annotations

import sys

from openxt_core.errors import OpenxtError
from openxt_dbd import path as paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    class Ask(Protocol):
        """One call of the database: its only out argument, or None."""

        def __call__(self, member: str, *arguments: str) -> Any: ...


USAGE = "Usage: db-cmd <cmd> <parameters>"
HELP = """\
Usage: db-cmd COMMAND WORD…, or a command by its own name, such as db-read WORD…

  read PATH              print a value
  write PATH VALUE       store a value
  rm PATH                remove an entry, with all below it
  exists [--status] PATH print true or false; --status: exit with 1 for false
  nodes PATH             print the names of the entries below, on one line
  cat PATH               print a binary value as it is
  ls [-f] [PATH]         print what is below, indented; -f: with whole paths

Exit status: 0 done, 1 refused or wrong words, 2 no answer or an error."""
DATABASE = "com.citrix.xenclient.db"
CALL_TIMEOUT_S = 3600.0
OK, REFUSED, FAILED = 0, 1, 2


class UsageError(Exception):
    """The words do not make a command."""


def read(ask: Ask, path: str) -> int:
    _print(ask("read", path))
    return OK


def write(ask: Ask, path: str, value: str) -> int:
    if paths.parse(path) in ((), ("vm",)):
        print("Nope, not doing that.", file=sys.stderr)
        return REFUSED
    ask("write", path, value)
    return OK


def rm(ask: Ask, path: str) -> int:
    if not paths.parse(path):
        _print("bad path")
        return REFUSED
    ask("rm", path)
    return OK


def exists(ask: Ask, *words: str) -> int:
    with_status, (path,) = _option("--status", words, 1)
    found = ask("exists", path)
    _print("true" if found else "false")
    return OK if found or not with_status else REFUSED


def nodes(ask: Ask, path: str) -> int:
    _print(" ".join(ask("list", path)))
    return OK


def cat(ask: Ask, path: str) -> int:
    sys.stdout.buffer.write(ask("read_binary", path))
    return OK


def ls(ask: Ask, *words: str) -> int:
    with_paths, given = _option("-f", words, None)
    if len(given) > 1:
        raise UsageError
    from openxt_dbd.listing import full_lines, indented_lines

    lines = full_lines if with_paths else indented_lines
    for line in lines(given[0] if given else "/", ask):
        _print(line)
    return OK


COMMANDS: dict[str, tuple[Callable[..., int], int | None]] = {
    "read": (read, 1),
    "write": (write, 2),
    "rm": (rm, 1),
    "exists": (exists, None),
    "nodes": (nodes, 1),
    "cat": (cat, 1),
    "ls": (ls, None),
}
"""Word → function and number of its arguments (None: it counts them itself)."""


def _option(option: str, words: Sequence[str], count: int | None) -> tuple[bool, list[str]]:
    """Whether the option is among the words, and the others; raises UsageError if they are not `count`."""
    others = [word for word in words if word != option]
    if count is not None and len(others) != count:
        raise UsageError
    return len(others) < len(words), others


def _print(text: str) -> None:
    sys.stdout.buffer.write(f"{text}\n".encode())


# The way to the database


def with_database(use: Callable[[Ask], int]) -> int:
    """Connect, and lend what asks the database.  Raises OpenxtError."""
    from openxt_bus.blocking import BlockingBus

    bus = BlockingBus(timeout_s=CALL_TIMEOUT_S)

    def ask(member: str, *arguments: str) -> Any:
        answer = bus.call(DATABASE, "/", DATABASE, member, "s" * len(arguments), arguments)
        return answer[0] if answer else None

    try:
        return use(ask)
    finally:
        bus.close()


def run(argv: Sequence[str], lend: Callable[[Callable[[Ask], int]], int] = with_database) -> int:
    """Run the command that the words say, and give its exit status."""
    program, words = argv[0].rpartition("/")[2], list(argv[1:])
    if words[:1] in (["-h"], ["--help"]):
        _print(HELP)
        return OK
    name = program.removeprefix("db-")
    if name not in COMMANDS:
        name = words.pop(0) if words else ""
    function, count = COMMANDS.get(name, (None, None))
    try:
        if function is None or count not in (None, len(words)):
            raise UsageError
        return lend(lambda ask: function(ask, *words))
    except UsageError:
        _print(USAGE)
        return REFUSED


def main() -> int:
    try:
        status = run(sys.argv)
        sys.stdout.flush()
    except (OpenxtError, UnicodeError) as error:
        print(error, file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        return FAILED
    return status


if __name__ == "__main__":
    sys.exit(main())
