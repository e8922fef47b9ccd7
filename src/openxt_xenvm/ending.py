# SPDX-License-Identifier: GPL-2.0-or-later
"""What follows when a domain has ended by itself: the note of a crash, and what the config says to it.

Who calls holds the VM's lock.  A guest that ends again and again right after its start is not started for
ever: it would keep the host busy with nothing else.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from openxt_core.errors import OpenxtError
from openxt_core.ids import Domid
from openxt_xenvm import crash
from openxt_xenvm.config.model import Action
from openxt_xenvm.fate import Fate, action_for
from openxt_xenvm.lifecycle import Lifecycle
from openxt_xenvm.notify import CRASHED, failed
from openxt_xenvm.record import START_AGAIN
from openxt_xenvm.state import Event

log = logging.getLogger(__name__)

SHORT_LIVES = 5
"""So many in a row are too many."""


@dataclass(frozen=True)
class Logs:
    """Folders: of xenconsoled's logs, and of our notes."""

    consoles: Path
    notes: Path


@dataclass
class Ending:
    life: Lifecycle
    logs: Logs
    reload: Callable[[], None]
    _short_lives: int = 0

    async def follow_up(self, fate: Fate) -> None:
        vm = self.life.vm
        if fate is Fate.CRASHED:
            if vm.domid is not None:
                await self._note(vm.domid)
            vm.tell(CRASHED)
        if fate is Fate.REBOOTED:
            await self.life.stop()
            vm.move(Event.GUEST_REBOOTED)
        await self._end(action_for(fate, vm.active))

    async def _note(self, domid: Domid) -> None:
        """Before the domain goes.  Without a note it goes all the same, whatever went wrong."""
        vm, host = self.life.vm, self.life.host
        look = partial(crash.look, host.hypervisor, vm.uuid, domid, vm.active, self.logs.consoles)
        try:
            found = await host.xen(look)
            path = await host.xen(crash.write, self.logs.notes, found)
        except (OpenxtError, OSError) as error:
            log.warning("no note of the crash: %s", error)
            return
        except Exception:  # a bug of ours, or no memory: what the guest left must not keep its domain alive
            log.exception("no note of the crash")
            return
        log.error("domain %s crashed (%s): see %s", domid, found.reason, path)

    async def _end(self, action: Action) -> None:
        if action is Action.PRESERVE:
            return
        lived_s = self.life.lived_s()
        await self.life.stop()
        if action is Action.RESTART and self._may_restart(lived_s) and self._reload():
            await self.life.start(paused=False, begin_with=Event.RESTARTED, operation=START_AGAIN)
        else:
            self.life.vm.conclude(Event.DESTROYED)

    def _may_restart(self, lived_s: float) -> bool:
        limit_s = self.life.host.settings.short_life_s
        self._short_lives = self._short_lives + 1 if lived_s < limit_s else 0
        if self._short_lives < SHORT_LIVES:
            return True
        self._short_lives = 0
        text = f"it ended {SHORT_LIVES} times in a row within {limit_s:.0f} s of its start"
        log.error("no restart: %s", text)
        self.life.vm.tell(failed(text))
        return False

    def _reload(self) -> bool:
        """Changed settings apply to a restart.  False when the file cannot be used."""
        try:
            self.reload()
        except OpenxtError as error:
            log.error("no restart: %s", error)
            return False
        return True
