# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps that put a running domain into a file, and a file into an empty domain.

Writing ends with the guest suspended and the file whole and in its place; undone, the guest runs on and
there is no file.  What follows, the domain's end or its going on, is the caller's plan.
"""

import asyncio
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Protocol

from openxt_xenvm.plan.device_model import state_of
from openxt_xenvm.plan.steps import Step
from openxt_xenvm.saved import file as saved_file
from openxt_xenvm.saved.file import Draft
from openxt_xenvm.saved.header import Machine
from openxt_xenvm.saved.transfer import Talk, transfer
from openxt_xenvm.site import Site
from openxt_xenvm.target import target_kib


class Running(Protocol):
    """The guest that is to be saved."""

    async def wait_suspended(self) -> bool:
        """True once it is suspended; False when it ended otherwise."""

    async def log_dirty(self, enable: bool) -> None:
        """Its device model, if it has one, tells which pages it writes."""

    async def save_model(self) -> Path | None:
        """The state of its device model in a file of its own; None for a guest without one."""

    async def go_on(self) -> None:
        """It runs on where it is, suspended or not."""


@dataclass(frozen=True)
class WriteSaved(Step):
    """Memory and vcpus to the file; `machine` becomes its description."""

    may_be_cancelled: ClassVar[bool] = True

    path: Path
    machine: Machine
    live: bool
    guest: Running = field(compare=False)

    async def do(self, site: Site) -> None:
        draft = await site.host.xen(Draft.create, self.path)
        try:
            await self._save(site, draft)
            machine, stream_bytes = await self._with_target(site), draft.written()
            if state := await self.guest.save_model():
                await transfer(partial(draft.append, state), draft.descriptor)
            await transfer(partial(draft.commit, machine, stream_bytes), draft.descriptor)
        finally:
            await site.host.xen(draft.close)

    async def _save(self, site: Site, draft: Draft) -> None:
        talk = Talk(asyncio.get_running_loop(), self.guest.wait_suspended, self.guest.log_dirty)
        save = site.host.hypervisor.save
        call = partial(save, site.created, draft.descriptor, talk, live=self.live)
        telling = asyncio.create_task(self._tell_progress(site, draft))
        try:
            await transfer(call, draft.descriptor, talk.call_off)
        finally:
            telling.cancel()

    async def _tell_progress(self, site: Site, draft: Draft) -> None:
        """About: a page that the guest changes meanwhile is written again, an empty one is not."""
        while True:
            await asyncio.sleep(site.host.settings.progress_s)
            site.progress(min(99, draft.written() // 1024 * 100 // self.machine.static_max_kib))

    async def _with_target(self, site: Site) -> Machine:
        """The balloon's target may have moved while the guest ran."""
        found = await target_kib(site.host.store, site.created)
        return self.machine if found is None else self.machine.with_target(found)

    async def undo(self, site: Site) -> None:
        await site.host.xen(saved_file.discard, self.path, self.machine.mark)
        await self.guest.go_on()


@dataclass(frozen=True)
class GoOn(Step):
    """The guest runs on where it is."""

    guest: Running = field(compare=False)

    async def do(self, site: Site) -> None:
        await self.guest.go_on()


@dataclass(frozen=True)
class ReadSaved(Step):
    """Memory and vcpus from the file, which has been checked."""

    may_be_cancelled: ClassVar[bool] = True

    path: str
    has_model: bool = False  # its device model's state is laid out, too

    async def do(self, site: Site) -> None:
        if self.has_model:
            header = await site.host.xen(saved_file.look, Path(self.path))
            state = state_of(site.host, site.uuid)
            await site.host.xen(saved_file.extract, Path(self.path), header, state)
        descriptor = await site.host.xen(saved_file.open_stream, Path(self.path))
        restore = site.host.hypervisor.restore
        try:
            call = partial(restore, site.created, descriptor, site.store_port, site.console_port)
            site.rings = await transfer(call, descriptor)
        finally:
            os.close(descriptor)

    async def undo(self, site: Site) -> None:
        await site.host.xen(partial(state_of(site.host, site.uuid).unlink, missing_ok=True))
