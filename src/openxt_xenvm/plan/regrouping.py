# SPDX-License-Identifier: GPL-2.0-or-later
"""One PCI device more, or one less, in a group whose others stay with the running guest.

Each device of a group has a number: `dev-N` is its address, `state-N` what shall become of it.  Who changes
them sets the backend to Reconfiguring.  The guest's pcifront gives up what is Closing and says Reconfiguring;
dom0's pciback lets go of that, takes up what is Initialising, and says Reconfigured; pcifront looks for what
is new.  Both end Connected.  Nobody can do that without the guest: one that does not answer keeps all.
Source: Linux, drivers/xen/xen-pciback/xenbus.c and drivers/pci/xen-pcifront.c.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from openxt_core.ids import DOM0
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.client import XenStore
from openxt_xenvm.config.model import PciAddress, PciDevice
from openxt_xenvm.devices.base import XenbusState
from openxt_xenvm.devices.pci import Pci, entry, entry_keys, must_bind
from openxt_xenvm.errors import DeviceError, DeviceTimeout
from openxt_xenvm.plan.closing import CLOSED, CLOSING, CONNECTED
from openxt_xenvm.plan.passing import GrantPci, HidePci, ResetPci
from openxt_xenvm.plan.plugging import reason
from openxt_xenvm.plan.steps import Reversed, Step
from openxt_xenvm.site import Site

INITIALISING, INITIALISED = str(XenbusState.INITIALISING), str(XenbusState.INITIALISED)
RECONFIGURING = str(XenbusState.RECONFIGURING)
GONE = frozenset({None, CLOSING, CLOSED})


@dataclass(frozen=True)
class AwaitTaken(Step):
    """Before anything is touched: a group can change only while its guest uses it.  Raises DeviceTimeout."""

    group: int

    async def do(self, site: Site) -> None:
        if await _settled(site, self.group) != CONNECTED:
            raise DeviceError(f"the guest has given up its pci {self.group}")


@dataclass(frozen=True)
class JoinGroup(Step):
    """Raises DeviceTimeout, DeviceError."""

    device: PciDevice

    @property
    def title(self) -> str:
        return f"JoinGroup {self.device.address}"

    async def do(self, site: Site) -> None:
        store, back = site.host.store, _backend(site, self.device.group)
        number = await store.transact(partial(_list, store, back, self.device))
        state = await _settled(site, self.device.group)
        if state != CONNECTED or await store.read(f"{back}/state-{number}") != INITIALISED:
            raise DeviceError(f"pciback refuses {self.device.address}{await reason(site, back)}")

    async def undo(self, site: Site) -> None:
        if site.domid is not None:
            await LeaveGroup(self.device.group, self.device.address).do(site)


@dataclass(frozen=True)
class LeaveGroup(Step):
    """Raises DeviceTimeout when the guest keeps it.  Can be repeated, also when the guest lets go later."""

    group: int
    address: PciAddress

    @property
    def title(self) -> str:
        return f"LeaveGroup {self.address}"

    async def do(self, site: Site) -> None:
        store, back = site.host.store, _backend(site, self.group)
        number = (await numbers_in(store, back)).get(str(self.address))
        if number is None or await store.transact(partial(_withdraw, store, back, number)):
            return
        is_used = await _settled(site, self.group) == CONNECTED
        if is_used and await store.read(f"{back}/state-{number}") != CLOSING:
            await store.transact(partial(_ask_for, store, back, number))
            await _settled(site, self.group)
        await store.transact(partial(_strike, store, back, number))


def _backend(site: Site, group: int) -> str:
    return paths.backend(DOM0, "pci", site.created, group)


async def numbers_in(store: XenStore, back: str) -> dict[str, int]:
    """The devices of a group by their addresses."""
    found = dict[str, int]()
    for name in await store.list(back):
        if name.startswith("dev-"):
            address = (await store.read(f"{back}/{name}") or "").partition("@")[0]
            found[address] = int(name.removeprefix("dev-"))
    return found


async def _settled(site: Site, group: int) -> str | None:
    """The state of a backend that changes nothing just now.  Raises DeviceTimeout."""
    state, limit_s = paths.state(_backend(site, group)), site.host.settings.unplug_s
    try:
        return await site.host.store.wait_until(
            state, lambda value: value == CONNECTED or value in GONE, limit_s
        )
    except TimeoutError:
        raise DeviceTimeout(
            f"the guest does not answer for pci {group} after {limit_s:.0f} s; it keeps what it has, "
            "and one device of several cannot be forced from it"
        ) from None


async def _list(store: XenStore, back: str, device: PciDevice, tx: int) -> int:
    """The number of the new one."""
    if await store.read(paths.state(back), tx) != CONNECTED:
        raise DeviceError(f"the guest has given up its pci {device.group}")
    number = int(await store.read(f"{back}/num_devs", tx) or 0)
    keys = {**entry(number, device), f"state-{number}": INITIALISING, "num_devs": str(number + 1)}
    for key, value in keys.items():
        await store.write(f"{back}/{key}", value, tx)
    await store.write(paths.state(back), RECONFIGURING, tx)
    return number


async def _ask_for(store: XenStore, back: str, number: int, tx: int) -> None:
    await store.write(f"{back}/state-{number}", CLOSING, tx)
    await store.write(paths.state(back), RECONFIGURING, tx)


async def _withdraw(store: XenStore, back: str, number: int, tx: int) -> bool:
    """Strike one that pciback has not looked at, as the guest has not answered.  False: it has."""
    is_waiting = await store.read(paths.state(back), tx) == RECONFIGURING
    if not is_waiting or await store.read(f"{back}/state-{number}", tx) != INITIALISING:
        return False
    await _strike(store, back, number, tx)
    return True


async def _strike(store: XenStore, back: str, number: int, tx: int) -> None:
    for key in entry_keys(number):
        await store.rm(f"{back}/{key}", tx)
    if await store.read(f"{back}/num_devs", tx) == str(number + 1):
        await store.write(f"{back}/num_devs", str(number), tx)


def plan_join(pci: Pci, device: PciDevice) -> Iterator[Step]:
    """`pci`: the group as it shall be; the others are not touched."""
    alone = replace(pci, members=(replace(device, bind=must_bind(pci.members)),))
    yield AwaitTaken(pci.devid)
    yield HidePci(alone)
    yield ResetPci(device.address)
    yield GrantPci(device.address)
    yield JoinGroup(device)


def plan_leave(group: int, address: PciAddress) -> Iterator[Step]:
    yield LeaveGroup(group, address)
    yield Reversed(GrantPci(address))
    yield ResetPci(address)
