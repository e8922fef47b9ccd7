# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps that start and end a stock QEMU, the device model of one domain.

It is found again by the path of its monitor's socket, which only its command line holds.
"""

import asyncio
import logging
import re
from dataclasses import dataclass, replace
from pathlib import Path

from openxt_core.ids import DOM0, Domid, Uuid
from openxt_xen.xenstore import paths
from openxt_xenvm.config.model import Disk, DomainConfig, Screen
from openxt_xenvm.devices.backing import Layer
from openxt_xenvm.devices.numbers import device_number
from openxt_xenvm.dm import qemu
from openxt_xenvm.dm.monitor_socket import Qmp, open_monitor
from openxt_xenvm.dm.qmp import QmpError
from openxt_xenvm.dom0 import processes
from openxt_xenvm.domain.hardware import Hardware
from openxt_xenvm.domain.nodes import Node, domain_name, model_figures
from openxt_xenvm.errors import DeviceModelFailed
from openxt_xenvm.log_end import last_bytes
from openxt_xenvm.plan.steps import Step, remove_model_nodes
from openxt_xenvm.site import Host, Site

log = logging.getLogger(__name__)

RUNNING = "running"
LOG_TAIL_BYTES = 2000
MAX_SOCKET_BYTES = 107  # of sockaddr_un.sun_path, with its NUL
_PTY = re.compile(r"pty:(/dev/pts/[0-9]+)\Z", re.ASCII)


@dataclass(frozen=True)
class StartQemu(Step):
    """Up to where it serves the domain's devices."""

    config: DomainConfig
    hardware: Hardware
    is_restored: bool = False  # an earlier step has laid out what its devices were

    async def do(self, site: Site) -> None:
        host, domid = site.host, site.created
        config = replace(self.config, disk=tuple(opened(disk, site) for disk in self.config.disk))
        words = qemu.command_line(config, self._place(site), qemu.boot_of(self.config, self.hardware))
        await host.write(model_figures(self.config, domid), first_remove=[paths.device_model(DOM0, domid)])
        await host.xen(_make_room, socket_of(host, site.uuid))
        pid = await host.xen(processes.start, (*self.hardware.model, *words), log_of(host, site.uuid))
        await self._until_running(host, domid, pid, log_of(host, site.uuid))
        await self._publish(site)
        await self._join_bridges(site)
        await host.xen(_remove, state_of(host, site.uuid))

    async def undo(self, site: Site) -> None:
        await site.host.xen(_remove, state_of(site.host, site.uuid))
        await stop_qemu(site)
        await remove_model_nodes(site)

    def _place(self, site: Site) -> qemu.QemuPlace:
        name = domain_name(self.config, site.created)
        socket = socket_of(site.host, site.uuid)
        incoming = str(state_of(site.host, site.uuid)) if self.is_restored else ""
        return qemu.QemuPlace(site.created, site.uuid, name, socket, self.hardware.nic_model, incoming)

    async def _until_running(self, host: Host, domid: Domid, pid: int, program_log: Path) -> None:
        limit_s = float(self.config.qemu_dm_timeout_s)
        state = paths.device_model_state(DOM0, domid)
        ready = asyncio.ensure_future(host.store.wait_until(state, lambda word: word == RUNNING, limit_s))
        over = asyncio.ensure_future(processes.ended(pid))
        try:
            await asyncio.wait((ready, over), return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                raise DeviceModelFailed(f"QEMU ended: {await host.xen(_tail, program_log)}")
            ready.result()
        except TimeoutError:
            said = await host.xen(_tail, program_log)
            raise DeviceModelFailed(f"QEMU does not serve after {limit_s:.0f} s: {said}") from None
        finally:
            for waiting in (ready, over):
                waiting.cancel()

    async def _publish(self, site: Site) -> None:
        """Where the guest's serial line and its screen are to be found."""
        async with open_monitor(socket_of(site.host, site.uuid), site.host.settings.model_answer_s) as qmp:
            found = {"serial/0/tty": await _serial_line(qmp)}
            if self.config.display.screen is Screen.VNC:
                found["console/vnc-port"] = await _vnc_port(qmp)
        domain = paths.domain(site.created)
        await site.host.write(Node(f"{domain}/{key}", value) for key, value in found.items() if value)

    async def _join_bridges(self, site: Site) -> None:
        """A card of a daemon's network is on none: only the daemon knows its bridge."""
        for nic in (nic for nic in qemu.emulated_nics(self.config) if nic.bridge):
            tap = qemu.tap_name(site.created, nic)
            await site.host.xen(site.host.keeper.join_bridge, tap, nic.bridge)


def opened(disk: Disk, site: Site) -> Disk:
    """What the guest's own drivers see of it, too; a raw file, as it is, is the same."""
    below = [made for made in site.below(device_number(disk.virtpath)) if made.layer != Layer.LOOP]
    return replace(disk, path=below[0].device) if below else disk


async def _serial_line(qmp: Qmp) -> str:
    """ "" unless QEMU made a terminal for it."""
    for line in await qmp.do("query-chardev"):
        match line:
            case {"label": "serial0", "filename": str(name)} if found := _PTY.match(name):
                return found[1]
    return ""


async def _vnc_port(qmp: Qmp) -> str:
    match await qmp.do("query-vnc"):
        case {"enabled": True, "service": str(port)} if port.isascii() and port.isdecimal():
            return port
    raise QmpError("QEMU has no VNC server, though it was told to")


async def stop_qemu(site: Site) -> None:
    """Nothing of it is left afterwards; one that never was is fine."""
    host = site.host
    socket = socket_of(host, site.uuid)
    await host.xen(processes.end, str(socket), host.settings.model_end_s)
    await host.xen(_remove, socket)


def socket_mistakes(socket: Path) -> tuple[str, ...]:
    """QEMU could neither be given its monitor's socket nor be asked at it."""
    if len(bytes(socket)) <= MAX_SOCKET_BYTES:
        return ()
    return (
        f"{socket} is longer than a socket's path can be ({MAX_SOCKET_BYTES} bytes): shorten OPENXT_ROOT",
    )


def socket_of(host: Host, uuid: Uuid) -> Path:
    return host.run / f"qemu-{uuid}"


def state_of(host: Host, uuid: Uuid) -> Path:
    """Where the state of its devices is while a guest is saved or restored."""
    return host.run / f"qemu-state-{uuid}"


def log_of(host: Host, uuid: Uuid) -> Path:
    return host.logs / f"qemu-dm-{uuid}.log"


def _make_room(socket: Path) -> None:
    socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove(socket)


def _remove(socket: Path) -> None:
    socket.unlink(missing_ok=True)


def _tail(program_log: Path) -> str:
    """The last that a program said, on one line."""
    try:
        said = last_bytes(program_log, LOG_TAIL_BYTES)
    except OSError:
        return f"see {program_log}"
    return "; ".join(said.decode(errors="replace").split("\n")).strip("; ") or f"see {program_log}"
