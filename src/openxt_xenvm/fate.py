# SPDX-License-Identifier: GPL-2.0-or-later
"""How domains end, as Xen tells it, and what the config says to that.  Pure.

A domain that dies without having shut down was destroyed by somebody else; the original took it for
crashed or for vanished, by chance.
"""

import enum

from openxt_core.ids import Uuid
from openxt_xen.hypervisor import DomainInfo, ShutdownReason
from openxt_xenvm.config.model import Action, DomainConfig


class Fate(enum.StrEnum):
    """How a domain ended."""

    HALTED = "halted"
    REBOOTED = "rebooted"
    SUSPENDED = "suspended"
    CRASHED = "crashed"
    VANISHED = "vanished"  # destroyed by somebody else


FATES = {
    ShutdownReason.POWEROFF: Fate.HALTED,
    ShutdownReason.REBOOT: Fate.REBOOTED,
    ShutdownReason.SUSPEND: Fate.SUSPENDED,
    ShutdownReason.CRASH: Fate.CRASHED,
    ShutdownReason.WATCHDOG: Fate.CRASHED,
    ShutdownReason.SOFT_RESET: Fate.HALTED,  # not supported: the domain ends
}


def action_for(fate: Fate, config: DomainConfig) -> Action:
    """What the config says to do about it.  Nothing is left to keep of a domain that vanished."""
    if fate is Fate.VANISHED:
        return Action.DESTROY
    return {Fate.REBOOTED: config.on_restart, Fate.CRASHED: config.on_crash}.get(fate, config.on_halt)


def fate_of(info: DomainInfo | None, uuid: Uuid) -> Fate | None:
    """None while the domain lives."""
    if info is None or info.uuid != uuid:
        return Fate.VANISHED
    if info.shutdown is not None:
        return FATES[info.shutdown]
    return Fate.VANISHED if info.dying else None
