# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps that have dm-agents run a domain's device models, and what is read of agents.

What other domains write is believed as far as it goes: an agent that promises and does not keep it costs the
time-out and the start.  Not whom a stub domain serves: that is the toolstack's word.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from openxt_core.ids import Domid
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.client import XenStore
from openxt_xenvm.config.model import DomainConfig
from openxt_xenvm.dm.agent import DEFAULT_NIC_MODEL, Agent, Around, Request, requests
from openxt_xenvm.domain.nodes import Node, model_figures
from openxt_xenvm.errors import DeviceModelFailed
from openxt_xenvm.plan.device_model import opened
from openxt_xenvm.plan.steps import Step, remove_model_nodes
from openxt_xenvm.site import Site

RUNNING = "running"
MAX_NAMES = 256
"""Of anything that an agent lists: it may be a guest's program."""


@dataclass(frozen=True)
class AskAgents(Step):
    """Every device of the domain is asked of some agent; all models run then."""

    config: DomainConfig
    nic_model: str = ""

    async def do(self, site: Site) -> None:
        domid = site.created
        has_stubdom = self.config.stubdom is not None
        around = Around(domid, has_stubdom, self.nic_model or DEFAULT_NIC_MODEL)
        config = replace(self.config, disk=tuple(opened(disk, site) for disk in self.config.disk))
        wanted = requests(config, await agents(site.host.store), around)
        boot = Node(f"{paths.domain(domid)}/boot_order", self.config.boot)
        await site.host.write((boot,) if has_stubdom else (*model_figures(self.config, domid), boot))
        for number, request in enumerate(wanted):
            await self._ask(site, number, request)

    async def undo(self, site: Site) -> None:
        await stop_agents(site)
        await remove_model_nodes(site)

    async def _ask(self, site: Site, number: int, request: Request) -> None:
        store, limit_s = site.host.store, float(self.config.qemu_dm_timeout_s)
        model = f"{paths.agent_models(request.agent, site.created)}/{number}"
        await site.host.write(
            Node(f"{model}/infos/{device}/{key}", value)
            for device, keys in request.devices
            for key, value in keys
        )
        try:
            status = await store.wait_until(f"{model}/status", bool, limit_s)
        except TimeoutError:
            status = f"no answer within {limit_s:.0f} s"
        if status != RUNNING:
            raise DeviceModelFailed(
                f"{request.model} of the dm-agent in domain {request.agent}: {status!r:.100}"
            )


async def agents(store: XenStore) -> tuple[Agent, ...]:
    """All that there are, by domain."""
    found = []
    for name in await store.list(paths.DOMAINS):
        if name.isascii() and name.isdecimal():
            found.append(await _agent(store, Domid(int(name))))
    return tuple(agent for agent in sorted(found, key=lambda agent: agent.domid) if agent.capabilities)


async def _agent(store: XenStore, domid: Domid) -> Agent:
    capabilities = await _capabilities(store, domid)
    return Agent(domid, await _served(store, domid) if capabilities else None, capabilities)


async def _served(store: XenStore, domid: Domid) -> Domid | None:
    """The only domain that an agent serves; None: any.

    A stub domain serves its own guest, whatever its agent says: that may have been taken over by the guest.
    """
    text = await store.read(paths.target(domid)) or await store.read(paths.agent(domid, "target")) or ""
    return Domid(int(text)) if text.isascii() and text.isdecimal() else None


async def _capabilities(store: XenStore, domid: Domid) -> Mapping[str, frozenset[str]]:
    folder = paths.agent(domid, "capabilities")
    models = (await store.list(folder))[:MAX_NAMES]
    return {model: frozenset((await store.list(f"{folder}/{model}"))[:MAX_NAMES]) for model in models}


async def stop_agents(site: Site) -> None:
    """Nothing is left of the domain's models; an agent that does not answer is given up."""
    domid, store = site.domid, site.host.store
    if domid is None:
        return
    for name in await store.list(paths.DOMAINS):
        if not (name.isascii() and name.isdecimal()):
            continue
        models = paths.agent_models(Domid(int(name)), domid)
        if await store.read(models) is None or await _is_of_others(store, Domid(int(name)), domid):
            continue
        await store.write(f"{models}/destroy", "1")
        try:
            await store.wait_until(models, lambda value: value is None, site.host.settings.agent_end_s)
        except TimeoutError:
            await store.rm(models)


async def _is_of_others(store: XenStore, agent: Domid, domid: Domid) -> bool:
    """A stub domain of another guest was asked for nothing, and is not waited for."""
    return await store.read(paths.target(agent)) not in (None, str(domid))


async def are_there(store: XenStore) -> bool:
    """Whether some agent would serve any domain."""
    return any(agent.target is None for agent in await agents(store))
