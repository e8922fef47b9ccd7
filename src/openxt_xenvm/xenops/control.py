# SPDX-License-Identifier: GPL-2.0-or-later
"""xenops' commands that change a running domain, or the host, by one call or one node."""

import asyncio

from openxt_core.errors import BadRequest, Unavailable
from openxt_core.ids import Domid
from openxt_xen.hypervisor import ShutdownReason
from openxt_xen.operator import Scheduling
from openxt_xen.xenstore import paths
from openxt_xenvm.xenops.session import Session
from openxt_xenvm.xenops.words import Given

SYNC_TIMEOUT_S = 30.0
LEAST_MIB = 16
KIB_PER_MIB = 1024
FRAME_BYTES = 4096

# Switch → the word that a guest is asked with, and the reason that Xen is told.
ENDS = {
    "poweroff": ("poweroff", ShutdownReason.POWEROFF),
    "reboot": ("reboot", ShutdownReason.REBOOT),
    "suspend": ("suspend", ShutdownReason.SUSPEND),
    "halt": ("halt", ShutdownReason.POWEROFF),
}


def _end(given: Given) -> tuple[str, ShutdownReason]:
    wanted = [end for name, end in ENDS.items() if given[name]]
    if len(wanted) != 1:
        raise BadRequest("one of -poweroff, -reboot, -suspend, -halt is needed")
    return wanted[0]


async def pause(session: Session, given: Given) -> str:
    session.hypervisor.pause(session.guest(given.domid).domid)
    return f"domain {given.domid} is paused"


async def unpause(session: Session, given: Given) -> str:
    session.hypervisor.unpause(session.guest(given.domid).domid)
    return f"domain {given.domid} is unpaused"


async def shutdown(session: Session, given: Given) -> str:
    """The guest is asked; `-sync` waits until it has ended."""
    word, _ = _end(given)
    domid = session.guest(given.domid).domid
    await ask(session, domid, word)
    if given["sync"]:
        await until_ended(session, domid)
    return ""


async def ask(session: Session, domid: Domid, word: str) -> None:
    await (await session.store()).write(paths.shutdown_request(domid), word)


async def until_ended(session: Session, domid: Domid) -> ShutdownReason | None:
    """Why; None when the domain is gone altogether.  Raises Unavailable."""
    changed = asyncio.Event()
    watch = await (await session.store()).watch(paths.RELEASE_DOMAIN, lambda _: changed.set())
    try:
        async with asyncio.timeout(SYNC_TIMEOUT_S):
            while (info := session.hypervisor.info(domid)) is not None and not info.is_dead:
                await changed.wait()
                changed.clear()
    except TimeoutError:
        raise Unavailable(f"domain {domid} did not end within {SYNC_TIMEOUT_S:.0f} s") from None
    finally:
        await watch.close()
    return None if info is None else info.shutdown


async def hard_shutdown(session: Session, given: Given) -> str:
    _, reason = _end(given)
    session.hypervisor.shutdown(session.guest(given.domid).domid, reason)
    return ""


async def sysrq(session: Session, given: Given) -> str:
    domid = session.guest(given.domid).domid
    await (await session.store()).write(paths.control(domid, "sysrq"), given["key"])
    return ""


async def setmaxmem(session: Session, given: Given) -> str:
    session.hypervisor.set_max_memory(given.domid, given["memory"])
    return ""


async def balloon(session: Session, given: Given) -> str:
    mib, domid = given["memory"], session.info(given.domid).domid
    if mib <= LEAST_MIB:
        raise BadRequest(f"{mib} MiB: a guest needs more than {LEAST_MIB}")
    await (await session.store()).write(paths.memory_target(domid), str(mib * KIB_PER_MIB))
    return ""


async def sched_set(session: Session, given: Given) -> str:
    session.operator.set_scheduling(given.domid, Scheduling(given["weight"], given["cap"]))
    return ""


async def affinity_set(session: Session, given: Given) -> str:
    session.hypervisor.set_affinity(given.domid, given["vcpu"], sorted(given["bitmap"]))
    return ""


def _span(given: Given) -> tuple[int, int]:
    """`-end` is the first that is not meant."""
    start, end = given["start"], given["end"]
    if end <= start:
        raise BadRequest('"end" argument is not valid')
    return start, end


async def _ports(session: Session, given: Given, *, allow: bool) -> str:
    start, end = _span(given)
    session.hypervisor.allow_ports(given.domid, start, end - start, allow=allow)
    return ""


async def add_ioport(session: Session, given: Given) -> str:
    return await _ports(session, given, allow=True)


async def del_ioport(session: Session, given: Given) -> str:
    return await _ports(session, given, allow=False)


async def _frames(session: Session, given: Given, *, allow: bool) -> str:
    start, end = _span(given)
    first, last = start // FRAME_BYTES, -(-end // FRAME_BYTES)
    session.hypervisor.allow_frames(given.domid, first, last - first, allow=allow)
    return ""


async def add_iomem(session: Session, given: Given) -> str:
    return await _frames(session, given, allow=True)


async def del_iomem(session: Session, given: Given) -> str:
    return await _frames(session, given, allow=False)


async def add_irq(session: Session, given: Given) -> str:
    session.hypervisor.allow_interrupt(given.domid, given["irq"], allow=True)
    return ""


async def del_irq(session: Session, given: Given) -> str:
    session.hypervisor.allow_interrupt(given.domid, given["irq"], allow=False)
    return ""


async def set_target(session: Session, given: Given) -> str:
    target = Domid(given["target"])
    session.hypervisor.set_target(given.domid, target)
    await (await session.store()).set_target(given.domid, target)
    return ""


async def watchdog(session: Session, given: Given) -> str:
    return str(session.operator.watchdog(given["slot"], given["timeout"]))


async def debugkeys(session: Session, given: Given) -> str:
    if not given.rest:
        raise BadRequest("no keys")
    for keys in given.rest:
        session.operator.send_debug_keys(keys)
    return ""


async def setenforce(session: Session, given: Given) -> str:
    session.operator.set_enforcing(bool(given["enforce"]))
    return "Enforcing" if session.operator.enforcing() else "Permissive"
