# SPDX-License-Identifier: GPL-2.0-or-later
"""xenops' commands that give disks, network cards and PCI devices to a running domain and take them away."""

from collections.abc import Callable, Iterable

from openxt_core.errors import BadRequest
from openxt_core.ids import DOM0, DOM0_UUID, Domid
from openxt_xen.xenstore import paths
from openxt_xenvm import executor
from openxt_xenvm.config.lines import read_pci_address
from openxt_xenvm.config.model import Disk, DomainConfig, Nic, PciAddress, PciDevice
from openxt_xenvm.devices import checks
from openxt_xenvm.devices.numbers import device_number
from openxt_xenvm.devices.pci import Pci
from openxt_xenvm.errors import DeviceTimeout
from openxt_xenvm.plan.passing import HidePci, pci_in_use, plan_pci, plan_unplug_pci
from openxt_xenvm.plan.plugging import PlugNic, plan_disks
from openxt_xenvm.plan.regrouping import numbers_in, plan_leave
from openxt_xenvm.plan.unplugging import plan_unplug
from openxt_xenvm.site import Site
from openxt_xenvm.xenops.session import Session
from openxt_xenvm.xenops.words import Given

BRIDGE = "bridge:"


async def add_vbd(session: Session, given: Given) -> str:
    disk = Disk(
        path=given["physpath"],
        type=given["phystype"],
        virtpath=given["virtpath"],
        writable=given["mode"] == "w",
        is_cdrom=given["devtype"] == "cdrom",
        backend_domid=given["backend-domid"],
    )
    site = await session.site(given.domid)
    config = DomainConfig(disk=(disk,))
    _check(config, checks.HostDevices(site.host.keeper.disk_problem, has_domain=_has_domain(session)))
    await _must_be_free(site, "vbd", device_number(disk.virtpath))
    await executor.run(tuple(plan_disks([disk])), site, domain_stays=True)
    return ""


async def add_vif(session: Session, given: Given) -> str:
    netty = given["netty"]
    bridge = netty.removeprefix(BRIDGE) if netty.startswith(BRIDGE) else ""
    nic = Nic(
        id=given["devid"],
        network="" if bridge else netty,
        bridge=bridge,
        mac=given["mac"],
        backend_domid=given["backend-domid"],
    )
    site = await session.site(given.domid)
    config = DomainConfig(nic=(nic,))
    _check(config, checks.HostDevices(bridges=site.host.keeper.bridges(), has_domain=_has_domain(session)))
    await _must_be_free(site, "vif", given["devid"])
    await executor.run((PlugNic(nic),), site, domain_stays=True)
    return ""


def _check(config: DomainConfig, host: checks.HostDevices) -> None:
    """Raises BadRequest with all that stands against it."""
    missing = [f"{part} is not built yet" for part in checks.not_built_yet(config)]
    blockers = [*missing, *checks.mistakes(config, host)]
    if blockers:
        raise BadRequest("; ".join(blockers))


def _has_domain(session: Session) -> Callable[[int], bool]:
    return lambda domid: session.hypervisor.info(Domid(domid)) is not None


async def _must_be_free(site: Site, kind: str, devid: int) -> None:
    """Whoever serves it: the guest's end is the same."""
    for backend in sorted(site.backends):
        if await _is_there(site, backend, kind, devid):
            raise BadRequest(f"domain {site.domid} has a {kind} {devid} already")


async def _is_there(site: Site, backend: Domid, kind: str, devid: int) -> bool:
    back = paths.backend(backend, kind, site.created, devid)
    return await site.host.store.read(paths.state(back)) is not None


def virtpath(word: str) -> str:
    """The name of a virtual disk, or its number.  ValueError for what is neither."""
    device_number(word)
    return word


async def del_vbd(session: Session, given: Given) -> str:
    return await _remove(session, given, "vbd", device_number(given["virtpath"]))


async def del_vif(session: Session, given: Given) -> str:
    return await _remove(session, given, "vif", given["devid"])


async def _remove(session: Session, given: Given, kind: str, devid: int) -> str:
    site, backend = await session.site(given.domid), Domid(given["backend-domid"])
    if not await _is_there(site, backend, kind, devid):
        raise BadRequest(f"domain {given.domid} has no {kind} {devid} of domain {backend}")
    try:
        await executor.run(plan_unplug(kind, devid, backend, forced=False), site, domain_stays=True)
    except DeviceTimeout:
        await executor.run(plan_unplug(kind, devid, backend, forced=True), site, domain_stays=True)
    return ""


def addresses(text: str) -> tuple[PciDevice, ...]:
    """Comma separated.  ValueError for what is no address."""
    return tuple(PciDevice(0, read_pci_address(word), bind=True) for word in text.split(","))


def _group(given: Given) -> Pci:
    return Pci(devid=given["devid"], members=given["pci"])


async def add_pci(session: Session, given: Given) -> str:
    site, group = await session.site(given.domid), _group(given)
    problem, taken = site.host.keeper.pci.problem, await pci_in_use(site)
    _check(DomainConfig(pci=group.members), checks.HostDevices(pci_problem=problem, pci_taken=taken))
    await _must_be_free(site, "pci", group.devid)
    await executor.run(tuple(plan_pci(group)), site, domain_stays=True)
    return ""


async def del_pci(session: Session, given: Given) -> str:
    site, group = await session.site(given.domid), _group(given)
    if not await _is_there(site, DOM0, "pci", group.devid):
        raise BadRequest(f"domain {given.domid} has no pci {group.devid}")
    leaving, listed = {member.address for member in group.members}, await _listed(site, group.devid)
    if strangers := leaving - listed:
        raise BadRequest(f"pci {group.devid} of domain {given.domid} is without {_words(strangers)}")
    if leaving < listed:
        site.given = tuple(listed - leaving)  # what these use is not taken from the domain
        plan = (step for address in sorted(leaving, key=str) for step in plan_leave(group.devid, address))
        await executor.run(tuple(plan), site, domain_stays=True)
        return ""
    return await _remove_group(site, group)


async def _listed(site: Site, devid: int) -> set[PciAddress]:
    back = paths.backend(DOM0, "pci", site.created, devid)
    return {read_pci_address(word) for word in await numbers_in(site.host.store, back)}


def _words(addresses: Iterable[PciAddress]) -> str:
    return ", ".join(sorted(map(str, addresses)))


async def _remove_group(site: Site, group: Pci) -> str:
    try:
        await executor.run(plan_unplug_pci(group, forced=False), site, domain_stays=True)
    except DeviceTimeout:
        await executor.run(plan_unplug_pci(group, forced=True), site, domain_stays=True)
    return ""


async def bind_pci(session: Session, given: Given) -> str:
    """Take them from dom0's drivers, for guests to come."""
    site = await session.empty_site(DOM0_UUID)
    await executor.run((HidePci(Pci(members=given["pci"])),), site, domain_stays=True)
    return ""
