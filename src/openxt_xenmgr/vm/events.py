# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens to a VM, as values, and how xenvm's words become them.  Pure.

xenvm tells `vm:state:running`, `power-state:3`, `rtc:3600`, `error:…` as one text.
Source: OpenXT xenvm, 2015.
"""

import enum
from dataclasses import dataclass

from openxt_xenmgr.vm.states import State, parse_state
from openxt_xenmgr.vm.tree import parse_int


@dataclass(frozen=True, slots=True)
class StateChanged:
    state: State


@dataclass(frozen=True, slots=True)
class PowerChanged:
    """The guest went to another ACPI state (0 awake, 3 sleeping, 4 hibernated, 5 off)."""

    acpi: int


@dataclass(frozen=True, slots=True)
class ClockChanged:
    """The guest set its clock; the offset is what xenvm told, in seconds."""

    guest_offset: str


@dataclass(frozen=True, slots=True)
class MeasurementFailed:
    """A disk of a measured VM does not hold what it should; `kind` is the sum's name."""

    path: str
    kind: str
    expected: str
    actual: str

    def in_words(self) -> str:
        return f"{self.path} has the {self.kind} {self.actual}, expected is {self.expected}"


class Written(enum.StrEnum):
    """What a guest may have written in XenStore."""

    ADDONS = "PV drivers"
    UNINSTALLED = "PV drivers uninstalled"
    DISCS = "CD drives"


@dataclass(frozen=True, slots=True)
class GuestWrote:
    """The guest, or who speaks for it, wrote something: it is to be looked at."""

    subject: Written


Event = StateChanged | PowerChanged | ClockChanged | MeasurementFailed | GuestWrote


class ShutdownReason(enum.Enum):
    """Why a VM is shut down now."""

    CREATION_FAILURE = "creation failed"
    HALT = "halted"
    REBOOT = "rebooted"
    HIBERNATE = "hibernated"
    POWEROFF = "powered off by ACPI"


_REASONS: dict[Event, ShutdownReason] = {
    StateChanged(State.PRE_CREATE): ShutdownReason.CREATION_FAILURE,
    StateChanged(State.CREATED): ShutdownReason.HALT,
    StateChanged(State.REBOOTED): ShutdownReason.REBOOT,
    PowerChanged(4): ShutdownReason.HIBERNATE,
    PowerChanged(5): ShutdownReason.POWEROFF,
}


def parse_notification(text: str) -> Event | None:
    """None for what concerns nobody, and for words that are no state."""
    match text.split(":", 2):
        case ["vm", "state", word]:
            state = parse_state(word)
            return None if state is None else StateChanged(state)
        case ["power-state", word]:
            number = parse_int(word)
            return None if number is None else PowerChanged(number)
        case ["rtc", offset]:
            return ClockChanged(offset)
    return None


def reason_after(event: Event, before: ShutdownReason) -> ShutdownReason:
    return _REASONS.get(event, before)


def in_words(event: Event) -> str:
    """One event for the log."""
    match event:
        case StateChanged(state):
            return f"state {state}"
        case PowerChanged(acpi):
            return f"guest in ACPI state {acpi}"
        case MeasurementFailed():
            return f"its measurement failed: {event.in_words()}"
        case GuestWrote(subject):
            return f"guest wrote: {subject}"
    return f"guest set its clock: offset {event.guest_offset!r:.30}"
