# SPDX-License-Identifier: GPL-2.0-or-later
"""How simulated guests behave: boot, answer the toolstack, end.  No I/O: a clock and a console are given.

Words on the kernel's command line choose the behaviour:
`sim.boot=ok|hang|crash|reboot`   `sim.boot_s=0.05`       what happens so long after the first unpause
`sim.shutdown=obey|ignore|hang|crash`   `sim.shutdown_s=0.05`   ignore: no answer; hang: answers, stays
`sim.drivers=yes|no`              HVM: no: it knows nothing of Xen; it has booted all the same
`sim.button=obey|ignore|hang|off` HVM: the same for its power button; off: it does not want to hear of it
`sim.ready="text"`                printed on the console after `GUEST READY`
`sim.serves=no|yes`               yes: a driver domain; it has drivers for other domains' devices
`sim.ticks_s=0.05`                so often it counts on, and says `GUEST TICK n`; 0: never
A paused guest does nothing; what became due meanwhile happens when it goes on.
"""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from openxt_core.ids import Domid
from openxt_sim import dm_agent
from openxt_sim.devices import Backends, Frontends
from openxt_sim.peers import Peer
from openxt_sim.store import Store
from openxt_sim.tree import Failure
from openxt_xen.hypervisor import HvmParam, PowerButton, ShutdownReason
from openxt_xen.xenstore import paths
from openxt_xen.xenstore.wire import to_text

# What a request in control/shutdown makes of the domain.  Other words are not answered.
REASONS = {
    "poweroff": ShutdownReason.POWEROFF,
    "halt": ShutdownReason.POWEROFF,
    "reboot": ShutdownReason.REBOOT,
    "suspend": ShutdownReason.SUSPEND,
    "crash": ShutdownReason.CRASH,
    "hibernate": ShutdownReason.POWEROFF,  # it has written its memory to its own disk
}
SLEEP, ASLEEP = "s3", 3  # HVM with its own drivers: the word, and the ACPI state that follows
FEATURES = ("feature-poweroff", "feature-reboot", "feature-suspend")
BOOT_ENDS = {"crash": ShutdownReason.CRASH, "reboot": ShutdownReason.REBOOT}
WATCHED = ("control/shutdown", "control/sysrq", "memory/target", "device")


def _one_of(*words: str) -> Callable[[str], str]:
    def read(word: str) -> str:
        if word not in words:
            raise ValueError(f"{word!r} is not one of {', '.join(words)}")
        return word

    return read


_READ: dict[str, Callable[[str], object]] = {
    "boot": _one_of("ok", "hang", "crash", "reboot"),
    "boot_s": float,
    "shutdown": _one_of("obey", "ignore", "hang", "crash"),
    "shutdown_s": float,
    "drivers": _one_of("yes", "no"),
    "button": _one_of("obey", "ignore", "hang", "off"),
    "ready": str,
    "ticks_s": float,
    "serves": _one_of("no", "yes"),
}


@dataclass(frozen=True, slots=True)
class Behaviour:
    boot: str = "ok"
    boot_s: float = 0.05
    shutdown: str = "obey"
    shutdown_s: float = 0.05
    drivers: str = "yes"
    button: str = "obey"
    ready: str = ""
    ticks_s: float = 0.0
    serves: str = "no"

    def told(self, words: str) -> "Behaviour":
        """Changed by the `sim.…` words of a text; the rest of the text is ignored.

        ValueError for a `sim.` word that means nothing: it would be a test that tests nothing.
        """
        given = [word[4:].partition("=") for word in _split(words) if word.startswith("sim.")]
        if unknown := [name for name, _, _ in given if name not in _READ]:
            raise ValueError(f"unknown word sim.{unknown[0]}")
        changes: dict[str, Any] = {name: _READ[name](value) for name, _, value in given}
        return replace(self, **changes)


def _split(words: str) -> list[str]:
    try:
        return shlex.split(words)
    except ValueError:  # a quote without its partner
        return words.split()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a guest acts on."""

    store: Store
    later: Callable[[float, Callable[[], None]], None]
    print: Callable[[str], None]
    shutdown: Callable[[ShutdownReason], None]
    balloon: Callable[[int], object]
    set_param: Callable[[HvmParam, int], None]
    set_button: Callable[[PowerButton], None]


class Guest:
    """One built domain, from its first unpause to its end."""

    def __init__(
        self, domid: Domid, kind: str, cmdline: str, behaviour: Behaviour, around: Surroundings
    ) -> None:
        self.domid = domid
        self.kind = kind
        self.cmdline = cmdline
        self.behaviour = behaviour
        self.peer: Peer | None = None  # from INTRODUCE on
        self.is_paused = True
        self.is_over = False
        self._around = around
        self._has_started = False
        self._is_due = False  # booted as far as it can without XenStore
        self._is_up = False
        self._was_saved = False
        self._hears_button = False
        self._frontends: Frontends | None = None
        self._backends: Backends | None = None
        self._agent: dm_agent.DmAgent | None = None
        self._due: list[Callable[[], None]] = []
        self._ticks = 0
        self._clock = 0  # which chain of ticks goes on

    @property
    def _has_drivers(self) -> bool:
        """For Xen.  A full machine can do without."""
        return self.kind != "hvm" or self.behaviour.drivers == "yes"

    def saved(self) -> dict[str, Any]:
        """What its memory holds."""
        return {
            "cmdline": self.cmdline,
            "behaviour": asdict(self.behaviour),
            "ticks": self._ticks,
            "hears_button": self._hears_button,
        }

    def wake_up_as(self, saved: Mapping[str, Any]) -> None:
        """Instead of booting it goes on from here, once it runs and XenStore listens."""
        self._ticks = int(saved["ticks"])
        self._hears_button = bool(saved["hears_button"])
        self._has_started = self._was_saved = True
        self._is_due = self._has_drivers

    # What happens to it

    def go_on(self) -> None:
        self.is_paused = False
        if not self._has_started and not self.is_over:
            self._has_started = True
            self._around.print(f"GUEST UP {self.kind} cmdline={self.cmdline}")
            self._later(self.behaviour.boot_s, self._boot)
        due, self._due = self._due, []
        for action in due:
            self._act(action)

    def introduced(self, peer: Peer) -> None:
        """XenStore listens to it now.  After a re-introduction its watches are gone: it sets them again."""
        self.peer = peer
        self._is_up = False
        if self._is_due:
            self._act(self._come_up)

    def resumed(self) -> None:
        self.is_over = False
        self._act(self._go_on_counting)

    def _go_on_counting(self) -> None:
        self._around.print("GUEST RESUMED")
        self._start_clock()

    def button_pressed(self) -> None:
        self._act(self._take_press)

    def event(self, path: str, token: str) -> None:
        """A watch fired."""
        self._act(lambda: self._answer(path, token))

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        self._around.later(delay_s, lambda: self._act(action))

    def _act(self, action: Callable[[], None]) -> None:
        if self.is_paused:
            self._due.append(action)
        elif not self.is_over:
            action()

    # What it does

    def _boot(self) -> None:
        if self.behaviour.boot in BOOT_ENDS:
            self.end(BOOT_ENDS[self.behaviour.boot])
        elif self.behaviour.boot == "ok":
            self._hears_button = self.kind == "hvm" and self.behaviour.button != "off"
            if self._hears_button:
                self._around.set_button(PowerButton(is_heard=True))
            self._is_due = self._has_drivers
            if self._is_due and self.peer is not None:
                self._come_up()

    def _come_up(self) -> None:
        if self._is_up or self.peer is None:
            return
        self._is_up = True
        if self.kind != "pv":
            self._around.set_param(HvmParam.CALLBACK_IRQ, 1)
        for feature in FEATURES:
            self._write(f"control/{feature}", "1")
        self._begin_agent(self.peer)
        self._frontends = Frontends(self._around.store, self.peer)
        if self.behaviour.serves == "yes":
            self._backends = Backends(self._around.store, self.peer, self.domid)
        for path in WATCHED:
            watch = self._around.store.watch(self.peer, path, b"")
            self.peer.send_event(watch, watch.path)
        if self._was_saved:
            self._go_on_counting()
            return
        self._around.print(f"GUEST READY domid={self._read('domid')}")
        if self.behaviour.ready:
            self._around.print(self.behaviour.ready)
        self._start_clock()

    def _begin_agent(self, peer: Peer) -> None:
        target = dm_agent.target_in(self.cmdline)
        if target is not None:
            self._agent = dm_agent.DmAgent(target, self._write, self._rm)
            self._around.store.watch(peer, dm_agent.FOLDER, b"")
            self._agent.begin()

    def _start_clock(self) -> None:
        self._clock += 1
        if self.behaviour.ticks_s:
            chain = self._clock
            self._later(self.behaviour.ticks_s, lambda: self._tick(chain))

    def _tick(self, chain: int) -> None:
        if chain != self._clock:
            return
        self._ticks += 1
        self._around.print(f"GUEST TICK {self._ticks}")
        self._later(self.behaviour.ticks_s, lambda: self._tick(chain))

    def _answer(self, path: str, token: str) -> None:
        if self._agent is not None and path.startswith(dm_agent.FOLDER):
            self._agent.event(path)
            return
        if self._backends is not None and (token or path).startswith(self._backends.home):
            self._backends.event(path, token)
            return
        if token or path.startswith("device"):
            if self._frontends is not None:
                self._frontends.event(path, token)
            return
        value = self._read(path)
        if path == "control/shutdown" and value:
            self._stop(value)
        elif path == "control/sysrq" and value:
            self._write(path, "")
            self._around.print(f"GUEST sysrq {value}")
        elif path == "memory/target" and value.isdigit():
            self._around.balloon(int(value))

    def _stop(self, word: str) -> None:
        self._around.print(f"GUEST shutdown {word}")
        if self.behaviour.shutdown == "ignore":
            return
        if word == SLEEP and self.kind != "pv":
            self._write("control/shutdown", "")
            self._around.set_param(HvmParam.ACPI_S_STATE, ASLEEP)
            return
        reason = REASONS.get(word)
        if reason is None:
            return
        self._write("control/shutdown", "")
        if self.behaviour.shutdown == "crash":
            reason = ShutdownReason.CRASH
        if self.behaviour.shutdown != "hang":
            self._later(self.behaviour.shutdown_s, lambda: self.end(reason))

    def _take_press(self) -> None:
        if not self._hears_button or self.behaviour.button == "ignore":
            return
        self._around.print("GUEST power button")
        self._around.set_button(PowerButton(is_heard=True))
        if self.behaviour.button == "obey":
            self._later(self.behaviour.shutdown_s, lambda: self.end(ShutdownReason.POWEROFF))

    def end(self, reason: ShutdownReason) -> None:
        self.is_over = True
        self._around.shutdown(reason)

    def _read(self, path: str) -> str:
        if self.peer is None:
            return ""
        try:
            return to_text(self._around.store.read(self.peer, path, None).value)
        except Failure:
            return ""

    def _rm(self, path: str) -> None:
        if self.peer is not None:
            try:
                self._around.store.rm(self.peer, path, None)
            except Failure:
                pass

    def _write(self, path: str, value: str) -> None:
        """As far as the toolstack lets it."""
        if self.peer is not None:
            try:
                self._around.store.write(self.peer, path, value.encode(), None)
            except Failure:
                pass


def log_name(name: str) -> str:
    """File name of a domain's console log, as xenconsoled's, but safe for any name."""
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
    return f"guest-{safe[:100]}.log"


def name_path(domid: Domid) -> str:
    return paths.name(domid)
