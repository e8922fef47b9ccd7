# SPDX-License-Identifier: GPL-2.0-or-later
"""openxt-sim: run the simulated Xen host until SIGTERM."""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from openxt_core.places import Places
from openxt_sim.machine import Machine
from openxt_sim.server import Server


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "openxt-sim", description="A simulated Xen host, for tests and demonstrations."
    )
    made.add_argument("--dir", type=Path, required=True, help="folder for the sockets")
    made.add_argument("--memory-mib", type=int, default=4096, help="of the machine (4096)")
    made.add_argument("--cpus", type=int, default=4, help="of the machine (4)")
    made.add_argument("--iommu", action="store_true", help="PCI devices can be given to full machines")
    return made


def _ready(environ: Mapping[str, str]) -> None:
    """Say so on stdout, and to systemd where it started us."""
    print("ready", flush=True)
    if address := environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", address.replace("@", "\0", 1) if address.startswith("@") else address)


def _machine(arguments: argparse.Namespace) -> Machine:
    return Machine(arguments.memory_mib * 1024, arguments.cpus, iommu=arguments.iommu)


async def _run(arguments: argparse.Namespace, places: Places) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    server = Server(arguments.dir, places, _machine(arguments))
    await server.start()
    async with asyncio.TaskGroup() as group:
        follower = group.create_task(server.follow_domains())
        _ready(os.environ)
        await stopped.wait()
        follower.cancel()
        await server.stop()


def main(argv: list[str] | None = None) -> int:
    logging.basicConfig(format="openxt-sim: %(message)s")
    try:
        asyncio.run(_run(parser().parse_args(argv), Places.of(os.environ)))
    except OSError as error:
        print(f"openxt-sim: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
