# SPDX-License-Identifier: GPL-2.0-or-later
"""Cards that another domain serves, which has not booted yet, never does, or ends, on the simulated host."""

import asyncio
from dataclasses import dataclass

import pytest
from xenvm_house import OTHER, START, UUID, House

from openxt_core.errors import RemoteError
from openxt_core.ids import Domid
from openxt_xen.hypervisor import DomainSpec, Kind, Rings
from openxt_xen.xenstore import paths
from openxt_xenvm.config.model import Nic
from openxt_xenvm.errors import DeviceTimeout
from openxt_xenvm.plan.plugging import PlugNic
from openxt_xenvm.plan.steps import Reversed
from openxt_xenvm.settings import Settings
from openxt_xenvm.site import Host, Site

DOM0_WAIT_S = "0.2"  # what a backend of dom0 has; one of another domain has more
NETWORK, MAC = "/wired/0/bridged", "00:16:3e:00:00:01"


@dataclass
class Network:
    """A VM that serves the cards of others, once it runs."""

    house: House
    domid: Domid

    async def boots(self) -> None:
        await self.house.call("unpause", OTHER)

    async def ends(self) -> None:
        await self.house.call("destroy", OTHER)

    async def is_asked(self, domid: Domid) -> None:
        """The card of that guest waits for it."""
        state = paths.state(paths.backend(self.domid, "vif", domid, 0))
        await self.house.store.wait_until(state, lambda value: value == "1", 10)


@pytest.fixture
async def network(house: House) -> Network:
    """It stands still so far."""
    config = house.config("name = ndvm", "startup = paused", uuid=OTHER, cmdline="sim.serves=yes")
    house.launch("--config", str(config))
    await house.until(lambda: house.domids(OTHER))
    await house.until(lambda: _is_created(house))
    (domid,) = house.domids(OTHER)
    return Network(house, domid)


async def _is_created(house: House) -> bool:
    try:
        return await house.call("get_status", OTHER) == "created"
    except RemoteError:  # not on the bus yet
        return False


async def starting(house: House, network: Network) -> tuple[Domid, "asyncio.Task[str | None]"]:
    """A guest whose card waits for the network VM, which dom0's backends would not be given time for."""
    card = f"vif = id=0,backend-domid={network.domid},network={NETWORK}"
    await house.monitor(house.config(card), XENVM_BACKEND_S=DOM0_WAIT_S)
    start = asyncio.create_task(house.call("start"))
    await house.until(house.domids)
    (domid,) = house.domids()
    await network.is_asked(domid)
    return domid, start


async def test_a_start_waits_for_a_network_vm_that_still_boots(house: House, network: Network) -> None:
    _, start = await starting(house, network)
    await asyncio.wait([start], timeout=2 * float(DOM0_WAIT_S))  # the event would be its failure
    await network.boots()
    await start
    await house.hear_states(*START)


async def test_a_start_that_waits_for_a_network_vm_is_called_off_by_destroy(
    house: House, network: Network
) -> None:
    before = await house.nodes()
    _, start = await starting(house, network)
    await house.call("destroy")
    with pytest.raises(RemoteError, match="overtaken"):
        await start
    assert house.domids() == []
    assert await house.nodes() == before


async def test_a_start_fails_when_the_network_vm_that_it_waits_for_ends(
    house: House, network: Network
) -> None:
    _, start = await starting(house, network)
    await network.ends()
    with pytest.raises(RemoteError, match=f"domain {network.domid} ended before vif 0|refuses it"):
        await start
    assert house.domids() == []


async def test_a_guest_whose_card_waits_for_a_network_vm_may_end(house: House, network: Network) -> None:
    house.bridge("br0")
    await house.monitor(house.config("vif = id=0,bridge=br0"))
    await house.call("start")
    (domid,) = house.domids()
    await house.guest_is_up(domid)
    moving = asyncio.create_task(house.call("set_nic_backend_dom", id="0", domid=str(network.domid)))
    await network.is_asked(domid)
    house.xen.crash(domid)
    with pytest.raises(RemoteError, match=f"domain {domid} ended before vif 0"):
        await moving
    await house.hear_states(*START, "shutdown")


async def test_a_card_that_is_put_back_waits_for_no_network_vm_to_boot(
    house: House, network: Network
) -> None:
    settings = Settings(backend_s=0.05, closed_s=0.05)
    host = Host(house.xen, house.store, house.root / "lock", house.keeper, settings)
    domid = house.xen.create_domain(DomainSpec(UUID, Kind.PVH, 1))
    site = Site(host, UUID, lambda _: None, lambda _: None, domid, rings=Rings(1, 2))
    card = PlugNic(
        Nic(id=0, mac="00:16:3e:00:00:01", backend_domid=network.domid, network="/wired/0/bridged")
    )
    with pytest.raises(DeviceTimeout, match="no backend for vif 0"):
        await Reversed(card).undo(site)
    await card.undo(site)
