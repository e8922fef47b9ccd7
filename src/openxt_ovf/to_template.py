# SPDX-License-Identifier: GPL-2.0-or-later
"""`Envelope` → `Plan`: which VMs, disks and files an appliance becomes on this host.  Pure.

Every name is looked up, every number reckoned, every word checked here, so that what fails does so before
anything is asked of the host.  Source: OpenXT apptool 1.0 and DMTF DSP0243.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from openxt_core.errors import BadRequest
from openxt_core.ovf_environment import property_id
from openxt_ovf import overrides
from openxt_ovf.hardware import cores, mac, memory_mib, vcpus
from openxt_ovf.hrefs import base_name, file_name, inside
from openxt_ovf.inventory import TEMP
from openxt_ovf.model import Envelope, Item, Product, Resource, System, XciSystem
from openxt_ovf.plan import (
    DEFAULT_NETWORK,
    DEFAULT_TEMPLATE,
    DOMSTORE,
    ENVIRONMENT_FILES,
    Copy,
    Nic,
    Plan,
    Vm,
)
from openxt_ovf.to_drives import DriveMaker

UNNAMED, FIRST_VERSION = "unnamed", 1


@dataclass(frozen=True)
class Choices:
    """What the person who installs decides.  `networks` overrides the package's mapping."""

    new_uuid: Callable[[], str]
    id: str = ""
    version: int | None = None
    networks: Mapping[str, str] = field(default_factory=dict)


def plan_of(envelope: Envelope, choices: Choices) -> Plan:
    """Raises BadRequest naming what does not fit together."""
    return _Planner(envelope, choices).plan()


class _Planner:
    def __init__(self, envelope: Envelope, choices: Choices) -> None:
        self._envelope = envelope
        self._choices = choices
        self._id = appliance_id(choices.id or envelope.xci.appliance_id or UNNAMED)
        self._xci_systems = {system.id: system for system in envelope.xci.systems}
        self._networks = self._network_paths()
        self._drives = DriveMaker(envelope, self._id, choices.new_uuid)
        self._warnings = list(envelope.warnings)

    def plan(self) -> Plan:
        self._refuse_strangers()
        vms = tuple(self._vm(system) for system in self._envelope.systems)
        first = self._envelope.xci.version
        chosen = self._choices.version
        version = chosen if chosen is not None else FIRST_VERSION if first is None else first
        return Plan(
            self._id,
            version,
            vms,
            tuple(self._drives.images.values()),
            tuple(self._drives.isos.values()),
            self._envelope.licences,
            tuple(self._warnings),
        )

    def _refuse_strangers(self) -> None:
        """The extension may speak only of what the package has."""
        xci = self._envelope.xci
        systems = {system.id for system in self._envelope.systems}
        for kind, ids, known in (
            ("VirtualMachine", self._xci_systems, systems),
            ("Disk", [one.id for one in xci.disks], {one.id for one in self._envelope.disks}),
            ("Network", dict(xci.networks), {one.name for one in self._envelope.networks}),
        ):
            for id in ids:
                if id not in known:
                    raise BadRequest(f"xci:{kind} speaks of {id[:80]!r}, which the package does not have")

    def _network_paths(self) -> dict[str, str]:
        wanted = dict(self._envelope.xci.networks) | dict(self._choices.networks)
        known = {network.name for network in self._envelope.networks}
        for name in self._choices.networks:
            if name not in known:
                raise BadRequest(
                    f"the package has no network {name[:80]!r}; it has: {', '.join(sorted(known)) or 'none'}"
                )
        return {name: wanted.get(name) or DEFAULT_NETWORK for name in known}

    # One VM

    def _vm(self, system: System) -> Vm:
        file_name(system.id, "the id of a VirtualSystem")
        xci = self._xci_systems.get(system.id, XciSystem(system.id))
        uuid = xci.uuid or self._choices.new_uuid()
        if system.firmware == "efi":
            self._warnings.append(
                f"{system.id!r:.80} wants EFI firmware; it will get a BIOS and may not boot"
            )
        return Vm(
            system=system.id,
            uuid=uuid,
            is_uuid_fixed=bool(xci.uuid),
            name=" ".join((system.name or system.id).split()),
            template=xci.template or DEFAULT_TEMPLATE,
            memory_mib=memory_mib(system),
            vcpus=vcpus(system),
            has_iso_transport="iso" in system.transport,
            settings=(
                *cores(system),
                *overrides.settings(xci.properties, overrides.VM, f"VM {system.id!r:.80}"),
            ),
            nics=self._nics(system, xci),
            drives=self._drives.of(system, xci),
            v4v_rules=xci.v4v_rules,
            rpc_rules=xci.rpc_rules,
            pci=xci.pci,
            db_entries=xci.db_entries,
            files=(*self._domstore_files(xci, uuid), *self._environment_files(system, uuid)),
            products=checked_products(system),
            install_delay_s=system.install_delay_s,
        )

    def _domstore_files(self, xci: XciSystem, uuid: str) -> Iterator[Copy]:
        for id in xci.domstore_files:
            file = self._drives.file(id, "DomStoreFile")
            yield Copy(file, f"{DOMSTORE}/{uuid}/{base_name(file)}")

    def _environment_files(self, system: System, uuid: str) -> Iterator[Copy]:
        what = f"the environment files of {system.id!r:.80}"
        for id, path in system.environment_files:
            file = self._drives.file(id, "EnvironmentFilesSection")
            yield Copy(file, f"{ENVIRONMENT_FILES}/{uuid}/{inside(path.lstrip('/'), what)}")

    # Network cards

    def _nics(self, system: System, xci: XciSystem) -> tuple[Nic, ...]:
        items = [item for item in system.items if item.resource == Resource.ETHERNET]
        extra = {one.instance: one.properties for one in xci.nics}
        overrides.refuse_unknown(extra, items, f"xci:NetworkAdapter: {system.id!r:.80}")
        return tuple(self._nic(system, item, extra.get(item.instance, ())) for item in items)

    def _nic(self, system: System, item: Item, extra: Iterable[tuple[str, str]]) -> Nic:
        where = f"network card {item.instance!r:.40} of {system.id!r:.80}"
        if item.connection and item.connection not in self._networks:
            raise BadRequest(f"{where}: there is no network {item.connection[:80]!r} in the NetworkSection")
        given = [("mac", mac(item.address, where))] if item.address else []
        return Nic(
            self._networks.get(item.connection),
            item.is_automatic,
            overrides.settings((*given, *extra), overrides.NIC, where),
        )


def appliance_id(text: str) -> str:
    """Raises BadRequest for what is no file name, or means an installation under way."""
    if text.startswith(TEMP):
        raise BadRequest(f"the appliance's id cannot begin with {TEMP!r}")
    return file_name(text, "the appliance's id")


def checked_products(system: System) -> tuple[Product, ...]:
    """Raises BadRequest for a property that the database cannot hold."""
    seen = set()
    for product in system.products:
        for one in product.properties:
            id = property_id(product.class_, one.key, product.instance)
            if "/" in id or "\0" in id or id in seen:
                raise BadRequest(
                    f"{system.id!r:.80}: product property {id[:80]!r} has a slash, or is there twice"
                )
            seen.add(id)
    return system.products
