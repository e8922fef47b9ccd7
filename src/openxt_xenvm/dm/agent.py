# SPDX-License-Identifier: GPL-2.0-or-later
"""dm-agents: programs in dom0, a stub domain or a service domain that run device models on request.  Pure.

Which devices a domain needs, who provides each, and what is written for it.
Source: OpenXT xenops, 2015 (the dm-agent protocol).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from openxt_core.ids import Domid
from openxt_xen.hypervisor import Kind
from openxt_xenvm.config.model import Disk, DomainConfig, Nic, Pair
from openxt_xenvm.errors import DeviceModelFailed

EXCLUSIVE = ("cdrom-pt-exclusive", "cdrom-pt-ro-exclusive")
DEFAULT_NIC_MODEL = "rtl8139"

_IDE = re.compile(r"hd([a-t])\Z", re.ASCII)
_BSG = re.compile(r"/dev/bsg/([0-9]+):([0-9]+):([0-9]+):([0-9]+)\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Agent:
    """What one domain's agent offers: per device model the devices that it has."""

    domid: Domid
    target: Domid | None = None  # the only domain that it serves; None: any
    capabilities: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """One device model to run: the devices by name, each with its keys."""

    agent: Domid
    model: str
    devices: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]


@dataclass(frozen=True, slots=True)
class Around:
    """What the config alone does not tell."""

    domid: Domid
    has_stubdom: bool = False
    nic_model: str = DEFAULT_NIC_MODEL


def needed(config: DomainConfig, has_stubdom: bool) -> Iterator[str]:
    """The devices, by the names that agents give them."""
    if config.kind is not Kind.HVM:
        yield from ("xenfb", "input")
        return
    options = {option.name for option in config.model_options}
    yield from ("xenmou", "xen_acpi_pm", "xen_pci_pt")
    wanted = (
        ("svga", "std-vga" in options),
        ("xengfx", "xengfx" in options),
        ("vgpu", "vgpu" in options),
        ("gfx", "gfx_passthru" in options),
        ("acpi", config.acpi),
        ("audio", config.sound is not None),
        ("serial", bool(config.serial)),
        ("net", bool(nics(config, has_stubdom))),
        ("drive", any(not disk.is_cdrom for disk in config.disk)),
        ("cdrom", bool(options & set(EXCLUSIVE))),
    )
    yield from (name for name, is_wanted in wanted if is_wanted)


def nics(config: DomainConfig, has_stubdom: bool) -> tuple[Nic, ...]:
    return tuple(nic for nic in config.nic if has_stubdom or nic.backend_domid == 0)


def requests(config: DomainConfig, agents: Sequence[Agent], around: Around) -> tuple[Request, ...]:
    """Who is asked for what, in order of agent and model.  Raises DeviceModelFailed: a device nobody has."""
    groups: dict[tuple[Domid, str], list[str]] = {}
    lacking = []
    for device in needed(config, around.has_stubdom):
        provider = _provider(device, agents, around.domid)
        if provider is None:
            lacking.append(device)
        else:
            groups.setdefault(provider, []).append(device)
    if lacking:
        raise DeviceModelFailed(f"no dm-agent provides {', '.join(lacking)}")
    return tuple(
        Request(
            agent, model, tuple(entry for device in devices for entry in _entries(device, config, around))
        )
        for (agent, model), devices in sorted(groups.items())
    )


def _provider(device: str, agents: Sequence[Agent], domid: Domid) -> tuple[Domid, str] | None:
    """One that serves this domain alone wins over one that serves all; among equals the first."""
    ours = (agent for agent in agents if agent.target == domid)
    anybodys = (agent for agent in agents if agent.target is None)
    for agent in (*ours, *anybodys):
        for model, devices in sorted(agent.capabilities.items()):
            if device in devices:
                return agent.domid, model
    return None


def _entries(
    device: str, config: DomainConfig, around: Around
) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    for name, keys in _options(device, config, around):
        yield name, (("type", device), *keys.items())


def _options(device: str, config: DomainConfig, around: Around) -> Iterator[tuple[str, dict[str, str]]]:
    match device:
        case "audio":
            silent = any(option.name == "disable-audio-rec" for option in config.model_options)
            yield device, {"device": config.sound or "", "recorder": "0" if silent else "1"}
        case "serial":
            yield device, {"device": config.serial}
        case "drive":
            for number, disk in enumerate(config.disk):
                yield f"{_media(disk)}{number}", _drive(disk, around.has_stubdom)
        case "cdrom":
            yield from filter(None, map(_cdrom, config.model_options))
        case "net":
            for nic in nics(config, around.has_stubdom):
                yield f"net{nic.id}", _net(nic, around.nic_model)
        case "xen_pci_pt":
            for number, entry in enumerate(config.pci):
                yield f"xen_pci_pt-{number}", {"hostaddr": str(entry.address)}
        case _:
            yield device, {}


def _media(disk: Disk) -> str:
    return "cdrom" if disk.is_cdrom else "disk"


def _drive(disk: Disk, has_stubdom: bool) -> dict[str, str]:
    """A stub domain sees the disk as its own, and none in an empty drive.

    Raises DeviceModelFailed for a name that is not IDE's.
    """
    match = _IDE.match(disk.virtpath)
    if match is None:
        raise DeviceModelFailed(f"disk {disk.virtpath}: dm-agents know only disks hda to hdt")
    return {
        "file": f"/dev/xvd{match[1]}" if has_stubdom and disk.path else disk.path,
        "media": _media(disk),
        "format": "file" if disk.type == "file" else "raw",
        "index": str(ord(match[1]) - ord("a")),
        "readonly": "off" if disk.writable else "on",
    }


def _cdrom(option: Pair) -> tuple[str, dict[str, str]] | None:
    match = _BSG.match(option.value)
    if option.name not in EXCLUSIVE or match is None:
        return None
    mode = option.name.removeprefix("cdrom-")
    return f"{option.name}-{'_'.join(match.groups())}", {"device": option.value, "option": mode}


def _net(nic: Nic, default_model: str) -> dict[str, str]:
    return {
        "model": nic.model or default_model,
        "mac": nic.mac,
        "bridge": nic.bridge,
        "id": str(nic.id),
        "name": f"{'vwif' if nic.is_wireless else 'vif'}{nic.id}",
    }
