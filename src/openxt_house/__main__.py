# SPDX-License-Identifier: GPL-2.0-or-later
"""`openxt-house`: a whole host in one folder, with all daemons; shows a VM's life, or stays up.

Simulated by default: a private bus and the simulated Xen host, no root and no Xen needed.  `--xen`: in a real
dom0, on its own bus and xenstored.
"""

import argparse
import asyncio
import contextlib
import os
import shlex
import signal
import socket
import sys
import tempfile
import zlib
from pathlib import Path

from openxt_house.layout import MAX_ROOT_LENGTH, Layout, lay_out
from openxt_house.life import Guest, LifeFailed, show_lives
from openxt_house.services import V4V_PORT, UiPorts, services, ui_services
from openxt_house.supervisor import StartFailed, Supervisor

UI_PORT = 8800  # the pages; the proxy they talk to is on the next one


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "openxt-house", description="A whole host in one folder, with all daemons."
    )
    made.add_argument("--dir", type=Path, default=Path("run"), help="folder of the host; made anew (./run)")
    made.add_argument(
        "--share", type=Path, default=Path(), help="project folder: templates/ rules/ etc/ (the current one)"
    )
    made.add_argument("--keep", action="store_true", help="stay up until Ctrl-C or SIGTERM; show no life")
    made.add_argument("--xen", action="store_true", help="real Xen: use the system's bus and xenstored")
    made.add_argument("--kinds", default="pvh", help="kinds of guests to show, comma separated (pv,pvh)")
    made.add_argument("--kernel", type=Path, help="guest kernel (simulated hosts make a stand-in)")
    made.add_argument("--initrd", type=Path, help="guest's initial RAM disk")
    made.add_argument(
        "--start-timeout", type=float, default=30.0, metavar="S", help="seconds a daemon has to start (30)"
    )
    return made


def _root(wanted: Path) -> Path:
    """The folder asked for, or a short one: socket paths are limited."""
    root = wanted.absolute()
    if len(str(root)) <= MAX_ROOT_LENGTH:
        return root
    short = Path(tempfile.gettempdir()) / f"openxt-{os.getuid()}-{zlib.crc32(bytes(root)):08x}"
    print(f"{root} is too long for sockets; using {short}")
    return short


def _guests(args: argparse.Namespace, layout: Layout) -> list[Guest]:
    kernel, initrd = args.kernel, args.initrd
    if kernel is None:
        kernel, initrd = layout.root / "storage/vmlinuz", layout.root / "storage/initrd"
        kernel.write_text("stand-in for a kernel: the simulated host runs no code\n")
        initrd.write_text("stand-in for an initrd\n")
    cmdline = "console=hvc0 quiet" if args.xen else "console=hvc0"
    return [Guest(f"demo-{kind}", kind, kernel, initrd, cmdline) for kind in args.kinds.split(",")]


def _announce(layout: Layout, ui: UiPorts) -> None:
    """Lines that other tools can use, each on its own; then `ready`."""
    for name, value in layout.environ().items():
        print(f"export {name}={shlex.quote(value)}")
    print(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH")
    print(f"rpc-proxy={layout.places.v4v}/0/{V4V_PORT}")
    print(f"ui=http://127.0.0.1:{ui.pages}/")
    print("ready", flush=True)


def _ui_ports() -> UiPorts:
    """The usual ports, or free ones where those are taken."""
    return UiPorts(_free_port(UI_PORT), _free_port(UI_PORT + 1))


def _free_port(wanted: int) -> int:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("127.0.0.1", wanted))
        return wanted
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _work(args: argparse.Namespace, layout: Layout, supervisor: Supervisor) -> None:
    await supervisor.start(services(layout))
    if args.keep:
        ui = _ui_ports()
        await supervisor.start(ui_services(layout, args.share, ui))
        _announce(layout, ui)
        await supervisor.broken.wait()
        raise StartFailed("a program of the host cannot be kept running; see the logs")
    await show_lives(layout, supervisor.environ, _guests(args, layout))


async def _run(args: argparse.Namespace) -> int:
    layout = Layout(_root(args.dir), simulated=not args.xen)
    try:
        mark = lay_out(layout, args.share)
    except OSError as error:
        print(f"openxt-house: {error}", file=sys.stderr)
        return 1
    with mark:
        return await _live(args, layout)


async def _live(args: argparse.Namespace, layout: Layout) -> int:
    supervisor = Supervisor(layout.environ(), layout.root, args.start_timeout)
    work = asyncio.create_task(_work(args, layout, supervisor))
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sig, work.cancel)
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await work
    except (StartFailed, LifeFailed, TimeoutError) as error:
        print(f"openxt-house: {error}\nlogs: {layout.root / 'log'}", file=sys.stderr)
        return 1
    finally:
        await supervisor.stop()
    return 0


def main() -> int:
    return asyncio.run(_run(parser().parse_args(sys.argv[1:])))


if __name__ == "__main__":
    sys.exit(main())
