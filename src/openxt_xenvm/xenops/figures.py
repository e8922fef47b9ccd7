# SPDX-License-Identifier: GPL-2.0-or-later
"""xenops' commands that only look."""

from collections.abc import AsyncIterator

from openxt_core.ids import DOM0, Domid
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.client import XenStore
from openxt_xenvm.xenops import show
from openxt_xenvm.xenops.session import Session
from openxt_xenvm.xenops.words import Given


async def list_domains(session: Session, given: Given) -> str:
    return show.table(session.operator.details(), verbose=given["v"])


async def list_devices(session: Session, given: Given) -> str:
    session.info(given.domid)
    store = await session.store()
    return "\n".join([line async for line in _devices(store, given.domid)])


async def _devices(store: XenStore, domid: Domid) -> AsyncIterator[str]:
    """Those with a backend in dom0, which wrote what is read here; the guest wrote its frontend's state."""
    for kind in await store.list(paths.backends(DOM0)):
        for name in await store.list(f"{paths.backends(DOM0)}/{kind}/{domid}"):
            if name.isascii() and name.isdecimal():
                yield await _device(store, domid, kind, int(name))


async def _device(store: XenStore, domid: Domid, kind: str, devid: int) -> str:
    back = paths.backend(DOM0, kind, domid, devid)
    front = await store.read(f"{back}/frontend") or paths.frontend(domid, kind, devid)
    guest_state = show.xenbus_state(await store.read(paths.state(front)))
    state = show.xenbus_state(await store.read(paths.state(back)))
    name = await store.read(f"{back}/dev") or ""
    number = f"{devid} {name}".rstrip()
    return f"{kind}[{devid}] is {guest_state} to dom({DOM0}) ty({kind}) devid({number}) state({state})"


async def dom_uuid(session: Session, given: Given) -> str:
    """Nothing when there is no such domain."""
    info = session.hypervisor.info(given.domid)
    return "" if info is None else info.uuid


async def dmesg(session: Session, _given: Given) -> str:
    return session.hypervisor.read_console_ring().rstrip("\n")


async def physinfo(session: Session, _given: Given) -> str:
    return show.physinfo(session.hypervisor.physinfo(), session.operator.cpu_facts())


async def pcpuinfo(session: Session, _given: Given) -> str:
    return show.idle_times(session.operator.idle_times())


async def sched_get(session: Session, given: Given) -> str:
    found = session.operator.scheduling(given.domid)
    return f"{found.weight} {found.cap}"


async def affinity_get(session: Session, given: Given) -> str:
    cpus = session.operator.affinity(given.domid, given["vcpu"])
    return show.affinity(cpus, session.hypervisor.physinfo().nr_cpus)


async def getenforce(session: Session, _given: Given) -> str:
    return "Enforcing" if session.operator.enforcing() else "Permissive"


async def capabilities(session: Session, _given: Given) -> str:
    return session.hypervisor.version().capabilities
