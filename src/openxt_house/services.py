# SPDX-License-Identifier: GPL-2.0-or-later
"""Which programs a host consists of, in the order they start.  A table; starts nothing."""

from dataclasses import dataclass
from pathlib import Path

from openxt_house.layout import Layout

V4V_PORT = 5555


@dataclass(frozen=True)
class ServiceSpec:
    """One supervised program.  It tells by sd_notify that it is ready, as Debian's dbus-daemon does too."""

    name: str
    argv: tuple[str, ...]
    restart: bool = True  # started again when it dies; False: its death ends the host


@dataclass(frozen=True)
class UiPorts:
    """TCP ports on loopback of the browser UI: its pages, and the proxy that they talk to."""

    pages: int
    websocket: int


def ui_services(layout: Layout, share: Path, ports: UiPorts) -> tuple[ServiceSpec, ...]:
    """What a browser on this machine needs, beside the host itself."""
    proxy = (*_proxy(layout, layout.places.at("/etc/ui-local.rules")), "-d", "0", "--auto-auth", *_BROWSER)
    pages = ("openxt-uid", "--address", "127.0.0.1", "--http-port", str(ports.pages))
    where = ("--files-dir", str((share / "uivm").absolute()), "--websocket-port", str(ports.websocket))
    return (
        ServiceSpec("rpc-proxy-ui", (*proxy, "-i", f"tcp:127.0.0.1:{ports.websocket}")),
        ServiceSpec("openxt-uid", (*pages, *where)),
    )


def _proxy(layout: Layout, rules: Path) -> tuple[str, ...]:
    return ("rpc-proxy", "-o", layout.bus_address.replace("unix:path=", "unix:"), "-r", str(rules))


def services(layout: Layout, memory_mib: int = 4096) -> tuple[ServiceSpec, ...]:
    """The programs of a host.  On real Xen the bus and xenstored are the system's own.

    A simulated host runs on somebody's machine, whose kernel's settings are not ours to change.
    """
    below = (
        ServiceSpec(
            "dbus-daemon",
            (
                "dbus-daemon",
                "--nofork",
                "--nopidfile",
                f"--config-file={layout.bus_config}",
                "--print-address=1",
            ),
            restart=False,
        ),
        ServiceSpec(
            "openxt-sim",
            ("openxt-sim", "--dir", str(layout.sim), "--memory-mib", str(memory_mib)),
            restart=False,
        ),
    )
    proxy = _proxy(layout, layout.places.rpc_rules)
    ours = (
        ServiceSpec("dbd", ("dbd",)),
        ServiceSpec("xenvm-zygote", ("xenvm-zygote", *(("--no-merge",) if layout.simulated else ()))),
        ServiceSpec("xenmgr", ("xenmgr", "--no-daemonize", "--no-autostart")),
        ServiceSpec("rpc-proxy", (*proxy, "-s", "-i", f"v4v:{V4V_PORT}")),
        ServiceSpec("rpc-proxy-guest", (*proxy, "-i", "v4v:5556", *_ONE_NAME, "--translate-anonymous-dests")),
        ServiceSpec("rpc-proxy-websockets", (*proxy, "-i", "v4v:8080", *_BROWSER, *_ONE_NAME, "--auto-auth")),
    )
    return (*below, *ours) if layout.simulated else ours


# What a guest may export: one service, under a name that says which guest it is.
_ONE_NAME = ("-n", "com.citrix.xenclient.guest.uuid_$UUID")
_BROWSER = ("--json-in", "--websockets-in")
