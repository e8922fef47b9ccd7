# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a VM cannot start now: a list of reasons.  Pure; whoever starts it finds the facts out first."""

from collections.abc import Sequence
from dataclasses import dataclass

from openxt_core.errors import (
    BadRequest,
    CannotStartAmtPtRunning,
    CannotStartHdxRunning,
    CannotStartHdxWithoutVtD,
    NetworkDomainNotRunning,
    OemFeaturesRunning,
    OpenxtError,
    Refused,
    RemoteError,
    RuleParseError,
)
from openxt_xenmgr.properties.vm import HDX
from openxt_xenmgr.vm.model import VmConfig

IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Situation:
    """What speaks for or against a start besides the configuration."""

    host_state: str = IDLE
    missing_backends: Sequence[str] = ()
    missing_needed: Sequence[str] = ()  # named as needed, but there is no such VM
    not_running: Sequence[str] = ()  # dependencies
    running: Sequence[VmConfig] = ()  # the other VMs that run, if the configuration makes them rivals
    max_vgpus: int | None = None  # how many VMs can have the graphics card; None: nobody says
    has_vtd: bool = True
    has_kernel: bool = True
    devices: Sequence[OpenxtError] = ()  # what its PCI devices have against it
    broken_v4v_rules: Sequence[str] = ()  # that cannot be read, while the v4v firewall is on
    disks: Sequence[
        OpenxtError
    ] = ()  # what is known against those that are measured, hold the kernel, or are made


def reasons(config: VmConfig, now: Situation) -> list[OpenxtError]:
    """Everything that speaks against a start, the gravest first; empty when nothing does."""
    found: list[OpenxtError] = []
    if config["notify"].partition(",")[0] != "dbus":
        found.append(BadRequest("config/notify must be 'dbus', or nobody hears of what the VM does"))
    if config["memory"] <= 0:
        found.append(BadRequest(f"config/memory is {config['memory']} MiB: no VM can start with that"))
    if not now.has_kernel:
        found.append(BadRequest("no kernel is set: a guest that is not hvm needs kernel, or kernel-extract"))
    if now.host_state != IDLE:
        found.append(Refused(f"the host is {now.host_state}: no VM starts"))
    if now.missing_needed:
        found.append(BadRequest(f"VMs that it needs do not exist: {', '.join(now.missing_needed)}"))
    if now.not_running:
        found.append(BadRequest(f"VMs that it needs do not run: {', '.join(now.not_running)}"))
    if now.missing_backends:
        names = ", ".join(now.missing_backends)
        found.append(NetworkDomainNotRunning(f"the network backend is not running: {names}"))
    for rule in now.broken_v4v_rules:
        found.append(RuleParseError(f"cannot read its v4v rule {rule[:80]!r}"))
    return found + _rivals(config, now) + list(now.devices) + list(now.disks)


def _rivals(config: VmConfig, now: Situation) -> list[OpenxtError]:
    """What only so many VMs can have at a time.  Of AMT and OEM features user VMs alone count."""
    found: list[OpenxtError] = []
    with_card = 1 + sum(other["gpu"] == HDX for other in now.running)
    if config["gpu"] == HDX and now.max_vgpus is not None and with_card > now.max_vgpus:
        found.append(CannotStartHdxRunning())
    if config["gpu"] == HDX and not now.has_vtd:
        found.append(CannotStartHdxWithoutVtD())
    for key, refusal in (("amt-pt", CannotStartAmtPtRunning), ("oem-acpi-features", OemFeaturesRunning)):
        if config[key] and any(other.is_user_vm and other[key] for other in now.running):
            found.append(refusal())
    return found


def need_none(found: Sequence[OpenxtError]) -> None:
    """Raises the first reason; the others stand in its text."""
    if len(found) > 1:
        others = "; ".join(str(error) for error in found[1:])
        raise type(found[0])(f"{found[0]}; also: {others}")
    if found:
        raise found[0]


def of_needed(config: VmConfig, error: OpenxtError) -> OpenxtError:
    """What keeps a VM that is needed from starting, for whoever needs it: the same error, naming the VM."""
    text = f"it needs VM {config.name} ({config.uuid}), which cannot start: {error}"
    return RemoteError(error.name, text) if isinstance(error, RemoteError) else type(error)(text)
