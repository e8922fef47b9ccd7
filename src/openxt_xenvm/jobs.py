# SPDX-License-Identifier: GPL-2.0-or-later
"""What a monitor is doing, and has just done: each job with its state, progress, deadline, and a way out.

Jobs that were told to end undo what they did; how is the business of those who do the work.
"""

import asyncio
import enum
import gc
import logging
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from openxt_core.errors import OpenxtError
from openxt_xenvm.errors import Overtaken, TaskCalledOff, TaskRefused
from openxt_xenvm.notify import MAX_ERROR, harmless

log = logging.getLogger(__name__)

OVERTAKEN = "overtaken"
"""Why a job was called off that a `destroy` could not wait for."""

TELL_EVERY_S = 0.5

KEPT = 16
"""So many that are over can still be asked for."""


class JobState(enum.StrEnum):
    """Values are the words on the wire."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


OVER = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED})


@dataclass(eq=False)
class Job:
    id: int
    name: str
    state: JobState = JobState.WAITING
    progress: int = 0  # percent
    error: str = ""
    called_off: str = ""  # why, once it was
    work: "asyncio.Task[None] | None" = None
    deadline: asyncio.TimerHandle | None = None
    told_at: float = 0.0  # the loop's time

    def seconds_left(self) -> int:
        """-1 without a deadline."""
        if self.deadline is None or self.state in OVER:
            return -1
        return max(0, round(self.deadline.when() - asyncio.get_running_loop().time()))


@dataclass
class Jobs:
    """`may_turn_back` says whether what is under way can still be undone."""

    changed: Callable[[Job], None] = lambda _: None
    may_turn_back: Callable[[], bool] = lambda: True
    _all: dict[int, Job] = field(default_factory=dict)
    _last_id: int = 0

    def begin(self, name: str, work: Callable[[Job], Coroutine[Any, Any, None]], deadline_s: float) -> Job:
        """`work` runs in a task of its own, to its end even when nobody waits for it."""
        self._last_id += 1
        job = Job(self._last_id, name)
        self._all[job.id] = job
        job.work = asyncio.create_task(work(job), name=name)
        job.work.add_done_callback(partial(self._ended, job))
        self._set_timer(job, deadline_s)
        self.changed(job)
        return job

    def find(self, job_id: int) -> Job:
        """Raises TaskRefused."""
        job = self._all.get(job_id)
        if job is None:
            raise TaskRefused(f"no task {job_id}")
        return job

    def __iter__(self) -> Iterator[Job]:
        return iter(tuple(self._all.values()))

    def under_way(self) -> tuple[Job, ...]:
        return tuple(job for job in self if job.state not in OVER)

    def proceed(self, job: Job, state: JobState, progress: int) -> None:
        """Progress alone is told now and then: a short job has better to do."""
        now = asyncio.get_running_loop().time()
        is_news = job.state is not state or now - job.told_at >= TELL_EVERY_S
        job.state, job.progress = state, progress
        if is_news:
            job.told_at = now
            self.changed(job)

    # Its end

    def cancel(self, job_id: int) -> None:
        """Raises TaskRefused when it is over, or cannot be undone any more."""
        job = self.find(job_id)
        if job.state in OVER:
            raise TaskRefused(f"task {job_id} is over")
        if job.state is JobState.RUNNING and not self.may_turn_back():
            raise TaskRefused(f"task {job_id} cannot be undone any more")
        self.call_off(job, "it was called off")

    def call_off(self, job: Job, why: str) -> None:
        assert job.work is not None
        job.called_off = job.called_off or why
        job.work.cancel()

    def set_deadline(self, job_id: int, seconds: float) -> None:
        """From now.  Raises TaskRefused."""
        job = self.find(job_id)
        if job.state in OVER:
            raise TaskRefused(f"task {job_id} is over")
        if seconds < 0:
            raise TaskRefused(f"{seconds} s is no time")
        self._set_timer(job, seconds)

    def _set_timer(self, job: Job, seconds: float) -> None:
        if job.deadline is not None:
            job.deadline.cancel()
        loop = asyncio.get_running_loop()
        job.deadline = loop.call_later(seconds, self._expire, job, seconds)

    def _expire(self, job: Job, seconds: float) -> None:
        if job.state is JobState.RUNNING and not self.may_turn_back():
            log.warning("%s is beyond its deadline, and too far to be undone", job.name)
            return
        self.call_off(job, f"its deadline of {seconds:.0f} s has passed")

    async def result(self, job: Job) -> None:
        """Wait for it.  Raises what it failed with, TaskCalledOff when it was called off."""
        work = job.work
        if work is None:
            return
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            if work.cancelled() and job.called_off == OVERTAKEN:
                raise Overtaken(f"{job.name} was overtaken") from None
            if work.cancelled():
                raise TaskCalledOff(f"{job.name}: {job.called_off}") from None
            raise

    def _ended(self, job: Job, work: "asyncio.Task[None]") -> None:
        job.work = None  # a failure holds on to every frame that it passed
        if job.deadline is not None:
            job.deadline.cancel()
        if work.cancelled():
            job.state, job.error = JobState.CANCELLED, job.called_off
            log.info("%s: %s", job.name, job.called_off or "cancelled")
        elif (failure := work.exception()) is not None:
            job.state, job.error = JobState.FAILED, harmless(str(failure), MAX_ERROR)
            self._log_failure(job, failure)
        else:
            job.state, job.progress = JobState.DONE, 100
        self.changed(job)
        for old in [found for found in self if found.state in OVER][:-KEPT]:
            del self._all[old.id]
        gc.collect()  # also empties CPython's lists of free tuples, which each job would make longer

    def _log_failure(self, job: Job, failure: BaseException) -> None:
        if isinstance(failure, OpenxtError):
            log.info("%s: %s", job.name, failure)
        else:
            log.error("%s failed", job.name, exc_info=failure)
