# SPDX-License-Identifier: GPL-2.0-or-later
"""What a monitor knows of its VM.  Every change of state is told, and kept for the monitor after this one."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from openxt_core.errors import Unavailable
from openxt_core.ids import DOM0, Domid, Uuid
from openxt_xenvm import record
from openxt_xenvm.config.device_lines import device_lines
from openxt_xenvm.config.model import DomainConfig
from openxt_xenvm.devices.backing import Attachment
from openxt_xenvm.notify import Notice, state_is
from openxt_xenvm.record import STOPPING, Operation, Record
from openxt_xenvm.state import Event, VmState, next_state

log = logging.getLogger(__name__)


@dataclass
class Vm:
    uuid: Uuid
    record_path: Path
    tell: Callable[[Notice], None]
    active: DomainConfig  # what the domain was, or will be, made from
    config_path: str = ""
    pending: DomainConfig | None = None  # changes that wait for the next start
    state: VmState = VmState.SHUTDOWN
    domid: Domid | None = None
    backends: set[Domid] = field(default_factory=lambda: {DOM0})
    operation: Operation | None = None
    may_suspend: bool = False  # it was asked to, for an operation that may be over
    progress: Callable[[int], None] = lambda _: None  # of what is under way, in percent
    attached: set[Attachment] = field(default_factory=set)  # below the domain's disks
    stubdom: Uuid | None = None  # of the stub domain that the domain has, or may have
    changed: Callable[[], None] = lambda: None  # whoever goes by the state and by the domain's devices

    @property
    def next_config(self) -> DomainConfig:
        """What `get` reads and `set` changes."""
        return self.active if self.pending is None else self.pending

    def move(self, event: Event) -> None:
        """Raises VmBadState, and changes nothing, when the state does not allow it."""
        self.state = next_state(self.state, event)
        if self.state is VmState.SHUTDOWN and self.pending is not None:
            self.active = self.pending
        self.save()  # before it is told: who hears of it may look
        self.tell(state_is(self.state))
        self.changed()

    def conclude(self, event: Event) -> None:
        """The move that ends the operation."""
        next_state(self.state, event)
        self.operation = None
        self.move(event)

    def activate_pending(self) -> None:
        """Changed settings apply from now on."""
        if self.pending is not None:
            self.active, self.pending = self.pending, None

    def learn_domid(self, domid: Domid) -> None:
        self.domid = domid
        self.save()

    def forget_domain(self) -> None:
        self.domid = None
        self.save()

    def learn_stubdom(self, uuid: Uuid | None) -> None:
        self.stubdom = uuid
        self.save()

    @property
    def has_remains(self) -> bool:
        """Something of a domain must still be ended."""
        return self.domid is not None or bool(self.attached) or self.stubdom is not None

    def begin(self, operation: Operation) -> None:
        """A later monitor finishes or undoes it, should this one die before `end`.

        Raises Unavailable where that cannot be noted: then nothing may begin.  What ends a domain goes on.
        """
        self.operation = operation
        try:
            self._note()
        except OSError as error:
            if operation.name not in STOPPING:
                self.operation = None
                raise Unavailable(f"{operation.name} cannot be noted: {error}") from error
            log.error("%s is not noted: %s", operation.name, error)

    def end(self) -> None:
        self.operation = None
        self.save()

    def save(self) -> None:
        """What cannot be noted is lost only if this process is killed."""
        try:
            self._note()
        except OSError as error:
            log.error("the record is out of date: %s", error)

    def _note(self) -> None:
        is_over = self.operation is None and not self.has_remains
        if is_over and self.state is not VmState.SUSPENDED:
            record.remove(self.record_path)
        else:
            record.save(self.record_path, self._record())
        log.debug("record: %s, domain %s, %s", self.state, self.domid, self.operation)

    def _record(self) -> Record:
        return Record(
            self.uuid,
            os.getpid(),
            self.config_path,
            self.state,
            self.domid,
            tuple(sorted(self.backends)),
            self.operation,
            tuple(sorted(self.attached, key=lambda made: (made.devid, made.level))),
            () if self.domid is None else device_lines(self.active),
            self.stubdom,
        )
