# SPDX-License-Identifier: GPL-2.0-or-later
"""Which programs a host consists of, in the order they start.  A table; starts nothing."""

from dataclasses import dataclass

from openxt_house.layout import Layout

V4V_PORT = 5555


@dataclass(frozen=True)
class ServiceSpec:
    """One supervised program."""

    name: str
    argv: tuple[str, ...]
    restart: bool = True  # started again when it dies; False: its death ends the host
    notifies: bool = True  # tells readiness by sd_notify


def services(layout: Layout, memory_mib: int = 4096) -> tuple[ServiceSpec, ...]:
    """The programs of a host.  On real Xen the bus and xenstored are the system's own."""
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
            notifies=False,
        ),
        ServiceSpec(
            "openxt-sim",
            ("openxt-sim", "--dir", str(layout.sim), "--memory-mib", str(memory_mib)),
            restart=False,
        ),
    )
    proxy = (
        "rpc-proxy",
        "-o",
        layout.bus_address.replace("unix:path=", "unix:"),
        "-r",
        str(layout.places.rpc_rules),
    )
    ours = (
        ServiceSpec("dbd", ("dbd",)),
        ServiceSpec("xenvm-zygote", ("xenvm-zygote",)),
        ServiceSpec("xenmgr", ("xenmgr", "--no-daemonize", "--no-autostart")),
        ServiceSpec("rpc-proxy", (*proxy, "-s", "-i", f"v4v:{V4V_PORT}")),
        ServiceSpec("rpc-proxy-guest", (*proxy, "-i", "v4v:5556", *_ONE_NAME, "--translate-anonymous-dests")),
        ServiceSpec("rpc-proxy-websockets", (*proxy, "-i", "v4v:8080", *_BROWSER, *_ONE_NAME, "--auto-auth")),
    )
    return (*below, *ours) if layout.simulated else ours


# What a guest may export: one service, under a name that says which guest it is.
_ONE_NAME = ("-n", "com.citrix.xenclient.guest.uuid_$UUID")
_BROWSER = ("--json-in", "--websockets-in")
