# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs steps, and undoes them backwards when one fails or the caller changes its mind.

Most steps are whole: a cancellation takes effect between two of them, since nobody can call back a hypercall.
Afterwards it looks at what is really left; what Xen and XenStore say counts, not what we remember.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from openxt_core.errors import OpenxtError
from openxt_xen.xenstore import paths
from openxt_xenvm.plan.steps import Step
from openxt_xenvm.plan.stop import do_each, is_ours, plan_stop
from openxt_xenvm.site import Site

log = logging.getLogger(__name__)

T = TypeVar("T")


async def run(plan: Sequence[Step], site: Site, *, domain_stays: bool = False) -> None:
    """Do all steps, or none: raises what went wrong after everything that was begun is undone.

    Unless `domain_stays`, the plan made the domain, and nothing is left of that either.
    """
    begun: list[Step] = []
    try:
        for number, step in enumerate(plan):
            site.progress(100 * number // len(plan))
            begun.append(step)
            began_at_s = time.monotonic()
            await (step.do(site) if step.may_be_cancelled else uninterrupted(step.do(site)))
            log.debug("step %s: %.1f ms", step.title, 1000 * (time.monotonic() - began_at_s))
    except BaseException:
        await uninterrupted(_undo(begun, site, domain_stays))
        raise


async def stop(site: Site) -> None:
    """End the domain and remove what it had.  Every step is tried; raises the first failure afterwards."""
    await uninterrupted(do_each([step.do for step in plan_stop()], site))


async def _undo(begun: Sequence[Step], site: Site, domain_stays: bool) -> None:
    for step in reversed(begun):
        try:
            await step.undo(site)
        except OpenxtError as error:
            log.warning("undoing %s of domain %s: %s", step.title, site.domid, error)
    if not domain_stays and await leftovers(site):
        try:
            await stop(site)
        except OpenxtError as error:
            log.error("domain %s could not be cleaned up: %s", site.domid, error)


async def leftovers(site: Site) -> tuple[str, ...]:
    """What of the domain is still there, as Xen and XenStore see it."""
    if site.domid is None:
        return ()
    found = []
    if await is_ours(site, site.domid):
        found.append(f"domain {site.domid}")
    if await site.host.store.read(paths.vm_link(site.domid)) == paths.vm(site.uuid):
        found.append(paths.domain(site.domid))
    return tuple(found)


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end even when the caller is cancelled meanwhile; it hears of that afterwards."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return task.result()
    if not task.cancelled() and (failure := task.exception()) is not None:
        log.info("ended with %r after it was cancelled", failure)
    raise cancelled
