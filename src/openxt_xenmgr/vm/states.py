# SPDX-License-Identifier: GPL-2.0-or-later
"""The states of a VM: xenvm's words, ours, and what clients see.  Pure.

Source: OpenXT xenvm and xenmgr, 2015.
"""

import enum


class State(enum.StrEnum):
    """Internal state.  Values are the words on the wire and in xenstore."""

    PRE_CREATE = "pre-create"  # ours alone, before xenvm is asked
    CREATING_DOMAIN = "creating-domain"
    CREATING_DEVICES = "creating-devices"
    CREATED = "created"
    RUNNING = "running"
    SHUTTING_DOWN = "shutdowning"  # sic
    SHUTDOWN = "shutdown"
    REBOOTING = "rebooting"
    REBOOTED = "rebooted"
    SUSPENDING = "suspending"
    SUSPENDED = "suspended"
    RESTORING = "restoring"
    PAUSED = "paused"


_PUBLIC = {
    State.PRE_CREATE: "creating",
    State.CREATING_DOMAIN: "creating",
    State.CREATING_DEVICES: "creating",
    State.CREATED: "creating",
    State.SHUTTING_DOWN: "stopping",
    State.SHUTDOWN: "stopped",
}

# No domain, or one that is only kept for its remains: these count as not running.
AT_REST = frozenset({State.SHUTDOWN, State.REBOOTED})

# A start is under way, in this order.  What comes after counts as "later".
START_ORDER = (
    State.PRE_CREATE,
    State.CREATING_DOMAIN,
    State.CREATING_DEVICES,
    State.CREATED,
    State.RUNNING,
)
STARTING = frozenset(START_ORDER[:4])

ACPI_S0, ACPI_S3, ACPI_S4, ACPI_S5 = 0, 3, 4, 5


def public(state: State) -> str:
    """The word that clients see."""
    return _PUBLIC.get(state, state.value)


def parse_state(word: str) -> State | None:
    """None for a word that is no state."""
    return next((state for state in State if state.value == word), None)


def reached(state: State, wanted: State) -> bool:
    """True when a start that is in `state` has come to `wanted` or passed it."""
    if state not in START_ORDER:
        return state is State.PAUSED
    return START_ORDER.index(state) >= START_ORDER.index(wanted)


def acpi_state(state: State, *, hibernated: bool, hardware_state: int) -> int:
    """The ACPI state that clients see.  `hardware_state` is xenvm's, 0 for a PV or PVH domain.

    Before xenvm is asked for a domain there is none: the VM is as it was when it ended.
    """
    if state in (State.SHUTDOWN, State.PRE_CREATE):
        return ACPI_S4 if hibernated else ACPI_S5
    return ACPI_S3 if hardware_state == ACPI_S3 else ACPI_S0
