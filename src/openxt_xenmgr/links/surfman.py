# SPDX-License-Identifier: GPL-2.0-or-later
"""The display daemon surfman, in our words: what it can do for GPU VMs.  It may be absent."""

from dataclasses import dataclass

from openxt_xenmgr.links.presence import Peers

NAME = "com.citrix.xenclient.surfman"


@dataclass(frozen=True, slots=True)
class VgpuMode:
    """How many VMs can have the graphics card at once, and the devices to pass through for it."""

    max_vgpus: int
    msi_translate: bool
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Surfman:
    peers: Peers

    async def vgpu_mode(self) -> VgpuMode | None:
        """None when it does not answer."""
        answer = await self.peers.ask(NAME, NAME, "vgpu_mode")
        if answer is None or len(answer) != 4:
            return None
        max_vgpus, _, msi_translate, addresses = answer
        return VgpuMode(int(max_vgpus), bool(msi_translate), tuple(map(str, addresses)))

    async def before_sleep(self) -> None:
        await self.peers.ask(NAME, NAME, "pre_s3")

    async def after_sleep(self) -> None:
        await self.peers.ask(NAME, NAME, "post_s3")

    async def visible_domids(self) -> list[int]:
        answer = await self.peers.ask(NAME, NAME, "get_visible")
        return [int(domid) for domid in answer[0]] if answer else []
