# SPDX-License-Identifier: GPL-2.0-or-later
"""db-log, db-undo, db-watch: what the database was, back to it, and what becomes of it.

Each takes `--json`: one JSON value a line.  Exit status as db-cmd: 1 for wrong usage, 2 for an error.
"""

from __future__ import annotations

import json
import sys
import time

from openxt_core.errors import OpenxtError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    class Ask(Protocol):
        """One call of the history: its only out argument."""

        def __call__(self, member: str, signature: str, *arguments: Any) -> Any: ...


USAGE = """\
Usage: db-log [--json] [-n COUNT] [PATH]    the last revisions that changed it
       db-log [--json] PATH REVISION        what that revision changed there
       db-undo [--json] PATH [REVISION]     take a revision back, else the last
       db-watch [--json] [-n COUNT] [PATH]  tell of changes as they are made"""
DATABASE = "com.citrix.xenclient.db"
HISTORY = f"{DATABASE}.history"
WATCH = f"{DATABASE}.watch"
TIMEOUT_S = 60.0
DEFAULT_COUNT = 20
OK, USED_WRONGLY, FAILED = 0, 1, 2


class UsageError(Exception):
    """The words do not make a command."""


def log(words: Sequence[str], as_json: bool, count: int | None) -> int:
    if len(words) > 2:
        raise UsageError
    path = words[0] if words else "/"
    if len(words) == 2:
        revision = _number(words[1])
        rows = _with_history(lambda ask: ask("diff", "stt", path, max(0, revision - 1), revision))
        _print(rows, ("path", "old", "new"), as_json, _difference)
    else:
        rows = _with_history(lambda ask: ask("log", "su", path, DEFAULT_COUNT if count is None else count))
        _print(rows, ("revision", "time_ms", "who", "paths"), as_json, _revision)
    return OK


def undo(words: Sequence[str], as_json: bool, count: int | None) -> int:
    if len(words) not in (1, 2) or count is not None:
        raise UsageError
    revision = _number(words[1]) if len(words) == 2 else 0
    made = _with_history(lambda ask: ask("undo", "st", words[0], revision))
    _line(json.dumps({"revision": made}) if as_json else f"revision {made}")
    return OK


def watch(words: Sequence[str], as_json: bool, count: int | None) -> int:
    if len(words) > 1:
        raise UsageError
    import asyncio

    try:
        asyncio.run(_watch(words[0] if words else "/", as_json, count))
    except KeyboardInterrupt:
        pass
    return OK


async def _watch(path: str, as_json: bool, count: int | None) -> None:
    """Returns after so many; raises Unavailable when the bus is lost."""
    import asyncio

    from openxt_bus.connection import Bus
    from openxt_bus.matching import Match, Signal
    from openxt_core.errors import Unavailable

    bus = await Bus.connect()
    heard: asyncio.Queue[Signal | None] = asyncio.Queue()
    for wanted in _wanted(path):
        await bus.subscribe(Match(WATCH, "changed", sender=DATABASE, **wanted), heard.put_nowait)
    lost = asyncio.ensure_future(bus.wait_closed())
    lost.add_done_callback(lambda _: heard.put_nowait(None))
    print(f"watching {path}", file=sys.stderr, flush=True)
    while count is None or count > 0:
        signal = await heard.get()
        if signal is None:
            raise Unavailable("the connection to the message bus is lost")
        _print(
            [signal.body], ("path", "revision", "writer"), as_json, lambda row: f"{row[1]} {row[0]} {row[2]}"
        )
        sys.stdout.flush()
        count = None if count is None else count - 1
    bus.close()


def _wanted(path: str) -> list[dict[str, str]]:
    """Match rules for the entry itself, and for what is above and below it."""
    names = [name for name in path.split("/") if name]
    entry = "".join(f"/{name}" for name in names)
    return [{"arg0path": f"{entry}/"}, *([{"arg0": entry}] if names else [])]


COMMANDS: dict[str, Callable[[Sequence[str], bool, int | None], int]] = {
    "log": log,
    "undo": undo,
    "watch": watch,
}


# Output


def _print(
    rows: Sequence[Sequence[Any]], keys: Sequence[str], as_json: bool, show: Callable[[Sequence[Any]], str]
) -> None:
    for row in rows:
        _line(json.dumps(dict(zip(keys, row, strict=True))) if as_json else show(row))


def _line(text: str) -> None:
    sys.stdout.buffer.write(f"{text}\n".encode())


def _revision(row: Sequence[Any]) -> str:
    revision, time_ms, who, paths = row
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_ms / 1000))
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return f"{revision}  {when}  {who or 'dbd'}  {' '.join(paths[:3])}{more}"


def _difference(row: Sequence[Any]) -> str:
    path, old, new = row
    return "\n".join(
        [path, *(f"- {line}" for line in old.splitlines()), *(f"+ {line}" for line in new.splitlines())]
    )


# Words


def _number(word: str) -> int:
    if not word.isdecimal():
        raise UsageError
    return int(word)


def _options(words: list[str]) -> tuple[list[str], bool, int | None]:
    """The other words, `--json`, and the number after `-n`."""
    as_json = "--json" in words
    words = [word for word in words if word != "--json"]
    count = None
    if "-n" in words:
        at = words.index("-n")
        if at + 1 == len(words):
            raise UsageError
        count = _number(words[at + 1])
        del words[at : at + 2]
    return words, as_json, count


def _with_history(use: Callable[[Ask], Any]) -> Any:
    from openxt_bus.blocking import BlockingBus

    bus = BlockingBus(timeout_s=TIMEOUT_S)
    try:
        return use(
            lambda member, signature, *given: bus.call(DATABASE, "/", HISTORY, member, signature, given)[0]
        )
    finally:
        bus.close()


def run(argv: Sequence[str]) -> int:
    """Run the command that the words say, and give its exit status."""
    name, words = argv[0].rpartition("/")[2].removeprefix("db-"), list(argv[1:])
    if name not in COMMANDS:
        name = words.pop(0) if words else ""
    if words[:1] in (["-h"], ["--help"]) or name in ("-h", "--help"):
        _line(USAGE)
        return OK
    try:
        if name not in COMMANDS:
            raise UsageError
        return COMMANDS[name](*_options(words))
    except UsageError:
        _line(USAGE)
        return USED_WRONGLY


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
