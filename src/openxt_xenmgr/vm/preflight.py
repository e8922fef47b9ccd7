# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a VM cannot start now: a list of reasons.  Pure; whoever starts it finds the facts out first."""

from collections.abc import Sequence
from dataclasses import dataclass

from openxt_core.errors import BadRequest, NetworkDomainNotRunning, NotSupported, OpenxtError
from openxt_xenmgr.properties.vm import HDX
from openxt_xenmgr.vm.model import VmConfig
from openxt_xenmgr.vm.passthrough import rules_of


@dataclass(frozen=True, slots=True)
class Situation:
    """What speaks for or against a start besides the configuration."""

    missing_backends: Sequence[str] = ()
    not_running: Sequence[str] = ()  # dependencies
    has_suspend_image: bool = False
    needs_extraction: bool = False  # the kernel is in a disk and not taken out of it yet


def reasons(config: VmConfig, now: Situation) -> list[OpenxtError]:
    """Everything that speaks against a start, the gravest first; empty when nothing does."""
    found: list[OpenxtError] = []
    if config["notify"].partition(",")[0] != "dbus":
        found.append(BadRequest("config/notify must be 'dbus', or nobody hears of what the VM does"))
    if config["memory"] <= 0:
        found.append(BadRequest(f"config/memory is {config['memory']} MiB: no VM can start with that"))
    if now.not_running:
        found.append(BadRequest(f"VMs that it needs do not run: {', '.join(now.not_running)}"))
    if now.missing_backends:
        names = ", ".join(now.missing_backends)
        found.append(NetworkDomainNotRunning(f"the network backend is not running: {names}"))
    return found + _not_built(config, now)


def _not_built(config: VmConfig, now: Situation) -> list[OpenxtError]:
    """What the configuration asks for that this toolstack cannot do yet, by its key."""
    asked = (
        ("config/pci (PCI passthrough rules)", bool(rules_of(config.tree))),
        ("gpu (GPU passthrough)", config["gpu"] not in ("", HDX)),
        ("measured (measured start)", config["measured"]),
        ("ovf-transport-iso", config["ovf-transport-iso"]),
        ("config/kernel-extract (taking a kernel out of a disk)", now.needs_extraction),
    )
    return [NotSupported(f"{what} is not built yet") for what, wanted in asked if wanted]


def need_none(found: Sequence[OpenxtError]) -> None:
    """Raises the first reason; the others stand in its text."""
    if len(found) > 1:
        others = "; ".join(str(error) for error in found[1:])
        raise type(found[0])(f"{found[0]}; also: {others}")
    if found:
        raise found[0]
