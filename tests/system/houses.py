# SPDX-License-Identifier: GPL-2.0-or-later
"""Private hosts for tests: the programs that `make run` starts, or some of them, in a folder of their own."""

import contextlib
import tempfile
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from pathlib import Path

from openxt_bus.connection import Bus
from openxt_house.layout import Layout, lay_out
from openxt_house.services import services
from openxt_house.supervisor import Supervisor
from openxt_xen.xenstore.client import XenStore

PROJECT = Path(__file__).parents[2]
ALL = frozenset({"dbus-daemon", "openxt-sim", "dbd", "xenvm-zygote", "xenmgr", "rpc-proxy"})
LAST_LINES = 60

_open: list[Layout] = []  # hosts of the present test


@dataclass
class House:
    layout: Layout
    supervisor: Supervisor
    bus: Bus
    xenstore: XenStore

    def log(self, service: str) -> str:
        return self.layout.log(service).read_text()


def last_words() -> dict[str, str]:
    """The ends of the logs of all hosts that are up, by the name of the program: why a test failed."""
    logs = [log for layout in _open for log in sorted((layout.root / "log").glob("*.log"))]
    return {log.name: "".join(log.read_text(errors="replace").splitlines(True)[-LAST_LINES:]) for log in logs}


@contextlib.asynccontextmanager
async def house(programs: Collection[str] = ALL, *, simulated: bool = True) -> AsyncIterator[House]:
    """A running host with these programs; every process has ended afterwards.

    Not simulated: the host is the emulated dom0, with its own bus and XenStore.
    """
    with tempfile.TemporaryDirectory(prefix="house") as folder, contextlib.ExitStack() as stack:
        layout = Layout(Path(folder) / "r", simulated)
        stack.enter_context(lay_out(layout, PROJECT))
        supervisor = Supervisor(layout.environ(), layout.root, 30.0 if simulated else 120.0)
        _open.append(layout)
        try:
            await supervisor.start(tuple(one for one in services(layout) if one.name in programs))
            bus = await Bus.connect(layout.bus_address)
            xenstore = await XenStore.connect(str(layout.sim / "xenstored") if simulated else None)
            try:
                yield House(layout, supervisor, bus, xenstore)
            finally:
                bus.close()
                xenstore.close()
        except BaseException as error:
            for name, text in last_words().items():
                error.add_note(f"{name}:\n{text}")
            raise
        finally:
            _open.remove(layout)
            await supervisor.stop()
