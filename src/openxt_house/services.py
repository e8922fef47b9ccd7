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
    bus = layout.bus_address.replace("unix:path=", "unix:")
    ours = (
        ServiceSpec("dbd", ("dbd",)),
        ServiceSpec("xenvm-zygote", ("xenvm-zygote",)),
        ServiceSpec("xenmgr", ("xenmgr", "--no-daemonize", "--no-autostart")),
        ServiceSpec(
            "rpc-proxy",
            ("rpc-proxy", "-s", "-i", f"v4v:{V4V_PORT}", "-o", bus, "-r", str(layout.places.rpc_rules)),
        ),
    )
    return (*below, *ours) if layout.simulated else ours
