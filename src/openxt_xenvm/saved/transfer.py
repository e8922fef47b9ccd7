# SPDX-License-Identifier: GPL-2.0-or-later
"""A long call that reads or writes a descriptor, in a thread of its own, and how it is called off.

Nobody can interrupt the library; but its next access fails once the descriptor leads elsewhere.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

NOWHERE = "/dev/full"  # reading gives zeros, which are no stream; writing fails


async def transfer(
    call: Callable[[], T], descriptor: int | None = None, call_off: Callable[[], None] = lambda: None
) -> T:
    """What `call` returns.  Cancelled, it makes the descriptor useless and waits for the call to fail."""
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="transfer")
    work = asyncio.get_running_loop().run_in_executor(executor, call)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        if descriptor is not None:
            _spoil(descriptor)
        call_off()
        await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # it was called off: how it failed is of no interest
        raise
    finally:
        executor.shutdown(wait=False)


async def in_thread(call: Callable[[], T]) -> T:
    """What a call returns that uses files; cancelled, it is done to its end all the same."""
    return await transfer(call)


def _spoil(descriptor: int) -> None:
    nowhere = os.open(NOWHERE, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(nowhere, descriptor, inheritable=False)
    os.close(nowhere)


@dataclass
class Talk:
    """Fulfils SaveTalk: the saving thread asks, the event loop answers."""

    loop: asyncio.AbstractEventLoop
    suspended: Callable[[], Coroutine[Any, Any, bool]]
    logging_dirty: Callable[[bool], Coroutine[Any, Any, None]]
    _asked: "list[Future[Any]]" = field(default_factory=list)

    def suspend(self) -> bool:
        return self._ask(self.suspended())

    def log_dirty(self, enable: bool) -> None:
        self._ask(self.logging_dirty(enable))

    def _ask(self, question: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(question, self.loop)
        self._asked.append(future)
        return future.result()

    def call_off(self) -> None:
        """Nobody waits for an answer any more."""
        for future in self._asked:
            future.cancel()
