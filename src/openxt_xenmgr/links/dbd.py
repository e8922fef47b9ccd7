# SPDX-License-Identifier: GPL-2.0-or-later
"""The database daemon, in our words.

Everything asked of it but a commit can be asked twice with the same outcome, so while it is absent, or went
away before it answered, the question is put again.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from typing import Any, TypeAlias, TypeVar

from openxt_core.errors import Conflict, RemoteError, Unavailable
from openxt_core.ids import DBD_NAME
from openxt_core.spec import Caller, Value

TIMEOUT_S = 25.0
# A daemon that is being restarted is back within tenths of a second; five tries a second apart are
# what the original's clients made.
MAX_ATTEMPTS = 100
PAUSE_S = 0.01
AT_ONCE = 32  # questions that wait for an answer: a bus allows so many
NOWHERE = "/-"  # nothing is stored there
PAUSES_S = (0.05, 0.1, 0.25, 0.6, 1.0, 1.0, 1.0, 1.0)


TRANSACTIONS = f"{DBD_NAME}.transactions"
HISTORY = f"{DBD_NAME}.history"
WATCH = f"{DBD_NAME}.watch"

T = TypeVar("T")
Operation: TypeAlias = tuple[str, str, str]
"""write, inject or rm; a path; the value."""


class Outcome(Enum):
    """What became of a commit."""

    DONE = "done"
    CONFLICT = "something was changed meanwhile: nothing was done"
    UNKNOWN = "the daemon went away: it was done or not"


def replacing_list(path: str, items: Sequence[str]) -> Operation:
    """Replace a stored list; an empty one is no node at all."""
    if not items:
        return "rm", path, ""
    return "inject", path, json.dumps({str(at): item for at, item in enumerate(items)})


class DbClient:
    """Paths are absolute.  Raises Unavailable while dbd is away, RemoteError for what it refuses."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def read(self, path: str) -> str:
        """The text at `path`; empty when there is none."""
        (value,) = await self._ask("read", "s", path)
        return str(value)

    async def exists(self, path: str) -> bool:
        (found,) = await self._ask("exists", "s", path)
        return bool(found)

    async def list(self, path: str) -> "list[str]":
        """Names of the children, in stored order."""
        (names,) = await self._ask("list", "s", path)
        return [str(name) for name in names]

    async def dump(self, path: str) -> Any:
        """The subtree or leaf at `path`; None when there is none.  Raises Unavailable if it is no JSON."""
        return decode(await self.dump_text(path))

    async def each(self, path: str, key: str) -> "dict[str, Any]":
        """What is at `key` below each child of `path`, by the child's name; those without it are left out."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(name: str) -> tuple[str, Any]:
            async with gate:
                return name, await self.dump(f"{path}/{name}/{key}")

        found = await asyncio.gather(*(one(name) for name in await self.list(path)))
        return {name: value for name, value in found if value is not None}

    async def dump_text(self, path: str) -> str:
        """The subtree at `path` as JSON text."""
        (text,) = await self._ask("dump", "s", path)
        return str(text)

    async def lease_text(self, path: str) -> str:
        """As `dump_text`; before the path, or anything below it, is changed, `Leases` hears of it."""
        _, text = await self._ask("lease", "s", path, interface=WATCH)
        return str(text)

    async def write(self, path: str, value: str) -> None:
        await self._ask("write", "ss", path, value)

    async def rm(self, path: str) -> None:
        """Remove `path` and all below; nothing happens when it is not there."""
        await self._ask("rm", "s", path)

    async def inject(self, path: str, tree: Any) -> None:
        """Replace the whole subtree at `path`."""
        await self._ask("inject", "ss", path, json.dumps(tree))

    async def snapshot_text(self, path: str) -> tuple[int, str]:
        """The subtree at `path` as JSON text, and the revision at which it was that."""
        revision, text = await self._ask("snapshot", "s", path, interface=TRANSACTIONS)
        return int(revision), str(text)

    async def diff(self, path: str, since: int) -> Sequence[tuple[str, str, str]]:
        """What changed at and below `path` since a revision: path, old and new JSON.

        Raises RemoteError when that is not remembered.
        """
        now, _ = await self.snapshot_text(path)
        (changes,) = await self._ask("diff", "stt", path, since, now, interface=HISTORY)
        return [(str(at), str(old), str(new)) for at, old, new in changes]

    async def commit(self, path: str, revision: int, operations: Sequence[Operation]) -> Outcome:
        """Carry out all operations, if `path` and all below are as they were at the revision."""
        body = ([(path, revision)], operations)
        try:
            await self._call("commit", "a(st)a(sss)", body, TRANSACTIONS)
        except Unavailable:
            return Outcome.UNKNOWN
        except RemoteError as error:
            if error.is_absent:
                return Outcome.UNKNOWN
            if error.name == Conflict.dbus_name:
                return Outcome.CONFLICT
            raise
        return Outcome.DONE

    async def edit(self, path: str, decide: Callable[[Any], Sequence[Operation]]) -> None:
        """Carry out what is decided on the subtree at `path` as it is: all of it at once, or nothing.

        `decide` is asked again when something there was changed meanwhile, and when the answer was lost: it
        gives no operations for what it finds done.  It raises what speaks against it.  Raises Unavailable.
        """

        async def look() -> tuple[int, Any]:
            revision, text = await self.snapshot_text(path)
            return revision, decode(text)

        await self._edit(path, look, decide)

    async def edit_knowing(
        self, path: str, ask: Callable[[], Awaitable[T]], decide: Callable[[T], Sequence[Operation]]
    ) -> None:
        """As `edit`, where all of `path` matters, but little of each: `ask` reads what is decided on."""

        async def look() -> tuple[int, T]:
            revision, _ = await self.snapshot_text(NOWHERE)
            return revision, await ask()

        await self._edit(path, look, decide)

    async def _edit(
        self,
        path: str,
        look: Callable[[], Awaitable[tuple[int, T]]],
        decide: Callable[[T], Sequence[Operation]],
    ) -> None:
        for attempt in range(MAX_ATTEMPTS):
            revision, seen = await look()
            operations = decide(seen)
            if not operations or await self.commit(path, revision, operations) is Outcome.DONE:
                return
            await pause(attempt)
        raise Unavailable(f"{path} could not be changed: others do so all the time")

    async def _ask(
        self, member: str, signature: str, *body: Value, interface: str = DBD_NAME
    ) -> Sequence[Value]:
        for pause_s in PAUSES_S:
            try:
                return await self._call(member, signature, body, interface)
            except RemoteError as error:
                if not error.is_absent:
                    raise
            await asyncio.sleep(pause_s)
        try:
            return await self._call(member, signature, body, interface)
        except RemoteError as error:
            if error.is_absent:
                raise Unavailable(f"the database daemon {DBD_NAME} does not answer: {error}") from error
            raise

    async def _call(
        self, member: str, signature: str, body: Sequence[Value], interface: str
    ) -> Sequence[Value]:
        return await self._caller.call(DBD_NAME, "/", interface, member, signature, body, timeout_s=TIMEOUT_S)


async def pause(attempt: int) -> None:
    """Between two tries of a commit: not as long as whoever else tries."""
    await asyncio.sleep(random.uniform(0, PAUSE_S * min(attempt, 10)))  # noqa: S311


def decode(text: str) -> Any:
    """The value of a dumped subtree.  Raises Unavailable if the text is no JSON."""
    import orjson

    try:
        return orjson.loads(text)
    except ValueError:
        pass
    try:
        return json.loads(text, strict=False)  # control characters stand raw in older dumps
    except ValueError as error:
        raise Unavailable(f"the database daemon gave a broken dump: {error}") from error
