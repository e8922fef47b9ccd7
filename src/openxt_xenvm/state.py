# SPDX-License-Identifier: GPL-2.0-or-later
"""The life of one VM as its monitor tells it: a table of moves and one function.  Pure.

A move that is not in the table changes nothing and is refused.  Source of the words: OpenXT xenvm, 2015.
"""

import enum

from openxt_xenvm.errors import VmBadState


class VmState(enum.StrEnum):
    """Values are the words on the wire."""

    CREATING_DOMAIN = "creating-domain"
    CREATING_DEVICES = "creating-devices"
    CREATED = "created"
    SHUTDOWN = "shutdown"
    SHUTTING_DOWN = "shutdowning"  # sic: clients compare with this word
    REBOOTING = "rebooting"
    REBOOTED = "rebooted"
    PAUSED = "paused"
    SUSPENDING = "suspending"
    SUSPENDED = "suspended"
    RESTORING = "restoring"
    RUNNING = "running"


class Event(enum.StrEnum):
    """What can happen to a VM."""

    STARTED = "start began"
    DOMAIN_BUILT = "the domain is built"
    DEVICES_READY = "the devices are there"
    PAUSED = "pause"
    UNPAUSED = "unpause"
    SHUTDOWN_ACKNOWLEDGED = "the guest begins to shut down"
    SHUTDOWN_GIVEN_UP = "the guest did not shut down in time"
    ENDED_FOR_REBOOT = "the guest ended, to be rebooted"
    REBOOT_STOPPED = "the domain is gone, to be rebooted"
    RESTARTED = "restart after the guest ended"
    GUEST_REBOOTED = "the guest rebooted by itself"
    FOUND_CREATED = "a created domain was found"
    FOUND_RUNNING = "a running domain was found"
    FOUND_PAUSED = "a paused domain was found"
    FOUND_ENDING = "a domain was found that is shutting down"
    FOUND_REBOOTED = "the domain of a VM that is to be rebooted is gone"
    SUSPEND_BEGAN = "suspend"
    GUEST_GOES_ON = "the guest goes on in its domain"
    SAVED = "the domain is saved and gone"
    RESTORE_BEGAN = "restore"
    FOUND_SUSPENDING = "a domain was found that is saved already"
    FOUND_SUSPENDED = "the file of a suspended VM was found"
    NOT_STARTED = "start was refused"
    DESTROYED = "the domain is gone"


S, E = VmState, Event

ALIVE = (S.CREATED, S.RUNNING, S.PAUSED)
STARTABLE = (S.SHUTDOWN, S.REBOOTED, S.SUSPENDED)

TRANSITIONS: dict[tuple[VmState, Event], VmState] = {
    **{(state, E.STARTED): S.CREATING_DOMAIN for state in STARTABLE},
    (S.CREATING_DOMAIN, E.DOMAIN_BUILT): S.CREATING_DEVICES,
    (S.CREATING_DEVICES, E.DEVICES_READY): S.CREATED,
    (S.CREATED, E.UNPAUSED): S.RUNNING,
    (S.PAUSED, E.UNPAUSED): S.RUNNING,
    (S.RUNNING, E.UNPAUSED): S.RUNNING,
    (S.CREATED, E.PAUSED): S.PAUSED,
    (S.RUNNING, E.PAUSED): S.PAUSED,
    (S.PAUSED, E.PAUSED): S.PAUSED,
    **{(state, E.SHUTDOWN_ACKNOWLEDGED): S.SHUTTING_DOWN for state in ALIVE},
    (S.SHUTTING_DOWN, E.SHUTDOWN_GIVEN_UP): S.RUNNING,
    (S.SHUTTING_DOWN, E.ENDED_FOR_REBOOT): S.REBOOTING,
    (S.REBOOTING, E.REBOOT_STOPPED): S.REBOOTED,
    (S.REBOOTING, E.STARTED): S.CREATING_DOMAIN,
    **{(state, E.RESTARTED): S.CREATING_DOMAIN for state in (*ALIVE, S.SHUTTING_DOWN, S.REBOOTED)},
    **{(state, E.GUEST_REBOOTED): S.REBOOTED for state in (*ALIVE, S.SHUTTING_DOWN)},
    (S.RUNNING, E.SUSPEND_BEGAN): S.SUSPENDING,
    (S.SUSPENDING, E.GUEST_GOES_ON): S.RUNNING,
    (S.SUSPENDING, E.SAVED): S.SUSPENDED,
    **{(state, E.RESTORE_BEGAN): S.RESTORING for state in STARTABLE},
    (S.RESTORING, E.STARTED): S.CREATING_DOMAIN,
    (S.RESTORING, E.NOT_STARTED): S.SHUTDOWN,
    (S.SHUTDOWN, E.FOUND_SUSPENDING): S.SUSPENDING,
    (S.SHUTDOWN, E.FOUND_SUSPENDED): S.SUSPENDED,
    (S.SHUTDOWN, E.FOUND_CREATED): S.CREATED,
    (S.SHUTDOWN, E.FOUND_RUNNING): S.RUNNING,
    (S.SHUTDOWN, E.FOUND_PAUSED): S.PAUSED,
    (S.SHUTDOWN, E.FOUND_ENDING): S.SHUTTING_DOWN,
    (S.SHUTDOWN, E.FOUND_REBOOTED): S.REBOOTED,
    (S.REBOOTED, E.NOT_STARTED): S.SHUTDOWN,
    (S.REBOOTING, E.NOT_STARTED): S.SHUTDOWN,
    **{(state, E.DESTROYED): S.SHUTDOWN for state in VmState},
}


def next_state(state: VmState, event: Event) -> VmState:
    """Raises VmBadState if the table has no such row."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise VmBadState(f"{event.value} is not possible in state {state}") from None


def may(state: VmState, event: Event) -> bool:
    return (state, event) in TRANSITIONS
