# SPDX-License-Identifier: GPL-2.0-or-later
"""What a new monitor does about what an earlier one left: decided from Xen's list and the record.  Pure.

Xen's list is the truth; the record only says what was under way.  Domains of other VMs never matter.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace

from openxt_core.ids import Domid
from openxt_xen.hypervisor import DomainInfo, ShutdownReason
from openxt_xenvm.config.model import Action
from openxt_xenvm.fate import Fate
from openxt_xenvm.record import START_AGAIN, Operation, Record
from openxt_xenvm.state import ALIVE, Event, VmState


class Course(enum.StrEnum):
    """What to do with what was found."""

    NOTHING = "nothing is left"
    CLEAN_UP = "destroy what is there and remove its nodes"
    ADOPT = "go on with the domain as it is"


@dataclass(frozen=True, slots=True)
class Decision:
    """`found` is what the state becomes by the course; None: just shut down."""

    course: Course
    domids: tuple[Domid, ...] = ()  # ADOPT: the one; CLEAN_UP: all that may have left something
    found: Event | None = None
    then: Operation | None = None  # to be run once the course is taken


def decide(domains: Sequence[DomainInfo], record: Record | None, *, is_whole: bool = False) -> Decision:
    """`domains`: those with the VM's uuid, ascending domid.  `is_whole`: the file of its suspend is."""
    operation = record.operation if record is not None else None
    if record is not None and operation is not None and operation.name in SAVINGS:
        return _go_on_saving(domains, record, operation, is_whole)
    if record is not None and operation is not None and _was_half_built(record):
        again = operation if operation.auto_start else None
        return replace(_clean_up(domains, record), then=again)
    if record is not None and _was_being_destroyed(record):
        return _clean_up(domains, record)
    living = [info for info in domains if not info.dying]
    if record is not None and operation is not None and operation.name in ENDINGS:
        return _go_on_ending(domains, record, operation)
    if living:
        return _adopt(living[-1], record)
    if record is not None and operation is None and record.state is VmState.SUSPENDED:
        return replace(_clean_up(domains, record), found=Event.FOUND_SUSPENDED)
    return _clean_up(domains, record) if domains or record else Decision(Course.NOTHING)


STARTS = ("start", "restore")

PLUGGINGS = ("plug", "unplug", "replace")
"""Changes of a device: what came half is taken away, what was to be replaced is put back."""

ENDINGS = ("halt", "reboot", "died")
"""Operations that can be taken up again at any point, whatever of the domain is left."""


SAVINGS = ("suspend", "checkpoint")
"""Operations that are finished when their file is whole, and undone when it is not."""


def _go_on_saving(
    domains: Sequence[DomainInfo], record: Record, operation: Operation, is_whole: bool
) -> Decision:
    living = [info for info in domains if not info.dying]
    is_saved = is_whole and operation.name == "suspend"
    if living and is_saved and living[-1].shutdown is ShutdownReason.SUSPEND:
        return Decision(Course.ADOPT, (living[-1].domid,), Event.FOUND_SUSPENDING, Operation("saved"))
    if living:
        return Decision(Course.ADOPT, (living[-1].domid,), _found(living[-1], record), operation)
    gone = _clean_up(domains, record)
    return replace(gone, found=Event.FOUND_SUSPENDED) if is_saved else gone


def _was_half_built(record: Record) -> bool:
    """Killed in the middle of a start: what stands cannot be trusted to be whole."""
    return record.operation is not None and record.operation.name in STARTS and record.state not in ALIVE


def _was_being_destroyed(record: Record) -> bool:
    return record.operation is not None and record.operation.name == "destroy"


def _go_on_ending(domains: Sequence[DomainInfo], record: Record, operation: Operation) -> Decision:
    living = [info for info in domains if not info.dying]
    domid = living[-1].domid if living else record.domid
    if domid is not None:
        ending = record.state in (VmState.SHUTTING_DOWN, VmState.REBOOTING) or not living
        found = Event.FOUND_ENDING if ending and operation.name != "died" else Event.FOUND_RUNNING
        return Decision(Course.ADOPT, (domid,), found, operation)
    dying = tuple(info.domid for info in domains)
    if operation.auto_start or operation.action == Action.RESTART:
        return Decision(Course.CLEAN_UP, dying, then=START_AGAIN)
    waits_for_start = operation.name == "reboot" or (
        operation.fate == Fate.REBOOTED and operation.action == Action.PRESERVE
    )
    return Decision(Course.CLEAN_UP, dying, Event.FOUND_REBOOTED if waits_for_start else None)


def _clean_up(domains: Sequence[DomainInfo], record: Record | None) -> Decision:
    domids = [info.domid for info in domains]
    if record is not None and record.domid is not None and record.domid not in domids:
        domids.append(record.domid)
    return Decision(Course.CLEAN_UP, tuple(domids))


def _adopt(info: DomainInfo, record: Record | None) -> Decision:
    """A start that was killed after its domain was complete is finished."""
    operation = record.operation if record is not None else None
    then = None
    if operation is not None and operation.name in PLUGGINGS:
        then = operation
    elif operation is not None and operation.name in STARTS:
        waits = not operation.paused and info.paused
        then = replace(operation, name="unpause") if waits or operation.delete else None
    return Decision(Course.ADOPT, (info.domid,), _found(info, record), then)


def _found(info: DomainInfo, record: Record | None) -> Event:
    """A domain that has shut down is found running: its end is told next."""
    if not info.paused or info.shutdown is not None:
        return Event.FOUND_RUNNING
    was_created = record is not None and record.state is VmState.CREATED
    return Event.FOUND_CREATED if was_created else Event.FOUND_PAUSED
