# SPDX-License-Identifier: GPL-2.0-or-later
"""How a promise of speed is measured: against a reference, in one run, on one CPU, with everything private.

Every process of a measurement (bus, service, client) is pinned to one CPU, so that a ratio does not depend
on what the other CPUs do.  In a round both services are new and are loaded in turn for short times, so that
both see the same noise; what counts is the median of the round-by-round ratios.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
PROGRAMS = Path(sys.executable).parent
READY_TIMEOUT_S = 60.0
LOAD_TIMEOUT_S = 120.0
TURNS = 7

BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
    <allow own="*"/>
    <allow user="*"/>
  </policy>
</busconfig>
"""


class Missing(Exception):
    """Something that this measurement needs is not on the host; the text says what to install."""


@dataclass(frozen=True)
class Promise:
    """`measure` gives one ratio a round (ours to the reference; more is better)."""

    name: str
    floor: float
    measure: Callable[["Room", int], list[float]]


@dataclass(frozen=True)
class Result:
    name: str
    floor: float
    ratios: list[float]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def is_kept(self) -> bool:
        return self.ratio >= self.floor

    def line(self) -> str:
        return f"{self.name} {self.ratio:.2f} {self.floor:.2f} {'ok' if self.is_kept else 'below'}"


@dataclass(frozen=True)
class Load:
    """What the client calls, how often, and how many calls are under way at a time."""

    destination: str
    path: str
    interface: str
    member: str
    arguments: Sequence[str] = ()
    calls: int = 10_000
    depth: int = 1


@dataclass
class Room:
    """A folder, a CPU, and the programs built for the measurements."""

    folder: Path
    cpu: int
    built: dict[str, Path] = field(default_factory=dict)

    def build(self, name: str, *libraries: str) -> Path:
        """The C program of that name.  Raises Missing."""
        if name not in self.built:
            target = self.folder / name
            source = HERE / "c" / f"{name}.c"
            command = ["gcc", "-O2", "-o", target, source, *(f"-l{library}" for library in libraries)]
            try:
                done = subprocess.run(command, capture_output=True, text=True, check=False)
            except FileNotFoundError as error:
                raise Missing("gcc is needed to build the references: apt install gcc") from error
            if done.returncode:
                hint = "apt install libsystemd-dev" if "systemd" in done.stderr else done.stderr
                raise Missing(f"{source.name} does not build: {hint}")
            self.built[name] = target
        return self.built[name]

    def pinned(self, *command: str | Path) -> list[str]:
        return ["taskset", "-c", str(self.cpu), *map(str, command)]

    def elsewhere(self) -> list[str]:
        """What keeps a program away from this CPU, if there is another: the scheduler would bring it here."""
        others = sorted(os.sched_getaffinity(0) - {self.cpu})
        return ["taskset", "-c", ",".join(map(str, others))] if others else []

    @contextmanager
    def bus(self) -> Iterator[Path]:
        """A message bus for the length of a `with` block; gives its socket."""
        if not shutil.which("dbus-daemon"):
            raise Missing("dbus-daemon is needed: apt install dbus")
        folder = Path(tempfile.mkdtemp(prefix="bus", dir=self.folder))
        (folder / "conf").write_text(BUS_CONFIG.format(socket=folder / "bus"))
        options = (f"--config-file={folder}/conf", "--nofork", "--nopidfile", "--print-address")
        with self.service("dbus-daemon", *options, ready="unix:"):
            yield folder / "bus"

    @contextmanager
    def service(
        self, *command: str | Path, ready: str, environ: Mapping[str, str] | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        """A pinned program for a `with` block; it has started when a line begins with `ready`."""
        log = self.folder / "log"
        with log.open("a") as errors:
            process = subprocess.Popen(
                self.pinned(*command),
                env={**os.environ, "OPENXT_LOG": "stderr", **(environ or {})},
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        try:
            assert process.stdout is not None
            if not any(line.startswith(ready) for line in process.stdout):
                raise RuntimeError(f"{command[0]} did not start: {log.read_text()[-500:]}")
            yield process
        finally:
            process.terminate()
            process.wait(READY_TIMEOUT_S)

    def rate(self, bus: Path, load: Load) -> float:
        """Calls per second."""
        return self._loaded(bus, load)[0]

    def median_us(self, bus: Path, load: Load) -> float:
        """What a call takes."""
        return self._loaded(bus, load)[1]

    def late_us(self, bus: Path, load: Load) -> float:
        """What no more than one call in a hundred takes longer than."""
        return self._loaded(bus, load)[2]

    def page_rate(self, server: Path, calls: int, depth: int, first: str, text: str) -> float:
        """Answers per second of a WebSocket server."""
        words = (server, str(calls), str(depth), first, text)
        return self._printed(self.build("page_client"), *words)[0]

    def _loaded(self, bus: Path, load: Load) -> list[float]:
        return self._printed(
            self.build("load_client"), bus, str(load.calls), str(load.depth),
            load.destination, load.path, load.interface, load.member, *load.arguments,
        )  # fmt: skip

    def _printed(self, *client: str | Path) -> list[float]:
        """The numbers that a pinned client prints."""
        done = subprocess.run(
            self.pinned(*client), capture_output=True, text=True, check=False, timeout=LOAD_TIMEOUT_S
        )
        if done.returncode:
            raise RuntimeError(f"{Path(client[0]).name}: {done.stderr.strip()}")
        return [float(word) for word in done.stdout.split()]


@contextmanager
def room() -> Iterator[Room]:
    if not shutil.which("taskset"):
        raise Missing("taskset is needed: apt install util-linux")
    cpus = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench"))
        yield Room(Path(folder), cpus[-1])


def side_by_side(room: Room, bus: Path, reference: Load, ours: Load) -> float:
    """The ratio of two services on one bus that are loaded in turn, for short times."""
    rates = [(room.rate(bus, reference), room.rate(bus, ours)) for _ in range(TURNS)]
    return statistics.median(one for _, one in rates) / statistics.median(one for one, _ in rates)


def on_bus(bus: Path) -> dict[str, str]:
    return {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={bus}"}
