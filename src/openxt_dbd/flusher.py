# SPDX-License-Identifier: GPL-2.0-or-later
"""When to save: three seconds after the first unsaved change, later and later while the disk fails.

Which files a save takes is decided in `pace`; what is asked for, and the last save, takes all.  Files are
written on one thread of its own, so that calls are answered meanwhile.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Final

from openxt_core.errors import Unavailable
from openxt_core.spec import T
from openxt_dbd.pace import MAX_JOURNAL_BYTES, Pace
from openxt_dbd.placement import Unit
from openxt_dbd.save import Save
from openxt_dbd.store import Database

log = logging.getLogger(__name__)

DELAY_S: Final = 3.0
"""Changes of so many seconds make one save.  Source: OpenXT dbd, 2015."""
MAX_DELAY_S: Final = 60.0


class Flusher:
    """Saves a database's changes until it is stopped, and then once more."""

    def __init__(self, database: Database, delay_s: float = DELAY_S) -> None:
        self._database = database
        self._delay_s = delay_s
        self._failures = 0
        self.failure = ""
        """Why the last save failed; empty if it did not."""
        self._woken = asyncio.Event()
        self._hurried = asyncio.Event()  # no pause before the next save
        self._pace = Pace()
        self._paced_s = 0.0
        self._is_stopping = False
        self._is_rereading = False
        self._one_at_a_time = asyncio.Lock()
        database.on_change = self.wake
        self._thread = ThreadPoolExecutor(1, "dbd-files")

    def wake(self) -> None:
        """There is something to save."""
        self._woken.set()

    def stop(self) -> None:
        """`run` shall save what is left and return."""
        self._is_stopping = True
        self._hurried.set()
        self.wake()

    def reread(self) -> None:
        """`run` shall save what is unsaved, and take the tree from the files again."""
        self._is_rereading = True
        self._hurried.set()
        self.wake()

    async def run(self) -> None:
        """Raises Unavailable if the last save fails."""
        while not self._is_stopping:
            await self._woken.wait()
            self._woken.clear()
            await self._pause()
            await self._flush(self._due)
            if self._is_rereading:
                self._is_rereading = False
                await self.reload()
        if not await self.flush():
            raise Unavailable("changes are left in the journal: they could not be saved to the files")

    async def reload(self) -> None:
        """The files become the tree, unless there are changes that cannot be saved to them first."""
        while self._database.dirty:
            if not await self.flush():
                log.error("the files are not read again: there are changes that cannot be saved")
                return
        try:
            self._database.load()
        except OSError:
            log.exception("the files cannot be read again; what was read before is served")

    async def flush(self) -> bool:
        """Save all now.  True if every change made before the call is in a durable file."""
        return await self._flush(lambda: self._database.dirty)

    async def _flush(self, units: Callable[[], Sequence[Unit]]) -> bool:
        async with self._one_at_a_time:
            if not self._database.dirty:
                return True
            save = self._database.start_save(units())
            await asyncio.get_running_loop().run_in_executor(self._thread, save.run)
            self._database.end_save(save)
            self._report(save)
            return not save.failure

    async def sync(self) -> None:
        """Returns when every change made before the call is durable.  Raises Unavailable."""
        if not await self.flush():
            raise Unavailable(f"changes are kept, but not on disk yet: {self.failure}")

    async def on_thread(self, work: Callable[[], T]) -> T:
        """Do something with the files while no save does."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _due(self) -> Sequence[Unit]:
        database, now_s = self._database, monotonic()
        elapsed_s, self._paced_s = now_s - self._paced_s, now_s
        if database.journal_bytes > MAX_JOURNAL_BYTES:
            return database.dirty
        return self._pace.due(database.dirty, database.sizes, elapsed_s)

    async def _pause(self) -> None:
        delay_s = min(self._delay_s * 2**self._failures, MAX_DELAY_S)
        try:
            await asyncio.wait_for(self._hurried.wait(), delay_s)
        except TimeoutError:
            return
        if not self._is_stopping:
            self._hurried.clear()

    def _report(self, save: Save) -> None:
        if self._database.dirty:
            self.wake()
        self.failure = save.failure
        if not save.failure:
            log.info("saved %d files", save.written)
            self._failures = 0
            return
        report = log.error if not self._failures else log.warning
        report("%d files not saved, will try again; %s", len(save.failed), self.failure)
        self._failures = min(self._failures + 1, 10)
