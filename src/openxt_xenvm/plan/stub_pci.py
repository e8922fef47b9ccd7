# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps that give PCI devices to a domain with a stub domain.

The devices are the guest's; but it is the stub domain's device model that shows them to it, and so the stub
domain that pciback serves.  Source: OpenXT xenops, 2015.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from openxt_xenvm.config.model import PciAddress
from openxt_xenvm.devices.base import Guest
from openxt_xenvm.devices.pci import Pci
from openxt_xenvm.plan.passing import GrantPci, PlugPci, plan_grant
from openxt_xenvm.plan.steps import PlugDevice, Step
from openxt_xenvm.site import Site


@dataclass(frozen=True)
class UnservedPci(Pci):
    """The guest's own ends tell what it has.  Without a state pciback leaves them alone."""

    def backend_keys(self, guest: Guest) -> dict[str, str]:
        return {key: value for key, value in super().backend_keys(guest).items() if key != "state"}


@dataclass(frozen=True)
class AllowInterrupts(Step):
    """Of the domain that pciback serves, which is no longer so once it is another."""

    address: PciAddress

    async def do(self, site: Site) -> None:
        await site.host.xen(site.host.keeper.pci.allow_interrupts, self.address)


def plan_guest_pci(pci: Pci) -> Iterator[Step]:
    yield from plan_grant(pci)
    yield PlugDevice(UnservedPci(**vars(pci)))


def plan_stub_pci(pci: Pci) -> Iterator[Step]:
    """In the stub domain: all but the way into its memory, which is the guest's."""
    for member in pci.members:
        yield GrantPci(member.address, is_assigned=False)
        yield AllowInterrupts(member.address)
    yield PlugPci(pci)
