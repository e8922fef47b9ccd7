# SPDX-License-Identifier: GPL-2.0-or-later
"""The input daemon, in our words: focus and slots.  It may be absent."""

from dataclasses import dataclass

from openxt_core.ids import Domid, Uuid
from openxt_xenmgr.links.presence import Peers

NAME = "com.citrix.xenclient.input"
# Who the remote user is, and that the name is a hash of it.  Source: OpenXT xenmgr, 2015.
AUTH_FLAGS = 1 << 19 | 1 << 23


@dataclass(frozen=True, slots=True)
class InputDaemon:
    peers: Peers

    async def switch_focus(self, domid: Domid) -> bool:
        """Give keyboard, mouse and screen to a domain; False when that did not work."""
        answer = await self.peers.ask(NAME, NAME, "switch_focus", "ib", domid, False)
        return bool(answer and answer[0])

    async def has_focus(self) -> bool:
        """Whether any domain has keyboard and mouse."""
        answer = await self.peers.ask(NAME, NAME, "get_focus_domid")
        return answer is not None and int(answer[0]) > 0

    async def set_slot(self, domid: Domid, slot: int) -> None:
        await self.peers.ask(NAME, NAME, "set_slot", "ii", domid, slot)

    async def lock_screen(self) -> None:
        """If the host asks for a login when it starts, it does so when it wakes."""
        if await self._asks_for_login():
            await self.peers.ask(NAME, NAME, "lock", "b", True)

    async def begin_login(self) -> None:
        """The host has started: whoever wants to use it logs in first, if that is set."""
        if await self._asks_for_login():
            await self.peers.ask(NAME, NAME, "auth_begin")

    async def _asks_for_login(self) -> bool:
        answer = await self.peers.ask(NAME, NAME, "get_auth_on_boot")
        return bool(answer and answer[0])

    async def idle_s(self) -> int:
        """How long nobody has touched anything; 0 when the daemon does not say."""
        answer = await self.peers.ask(NAME, NAME, "get_idle_time")
        return int(answer[0]) if answer else 0

    async def update_seamless_mouse(self, uuid: Uuid) -> None:
        await self.peers.ask(NAME, NAME, "update_seamless_mouse_settings", "s", uuid)

    async def ask_to_authenticate(self, user: str) -> None:
        await self.peers.ask(NAME, NAME, "auth_set_context_flags", "ssi", user, "", AUTH_FLAGS)
