# SPDX-License-Identifier: GPL-2.0-or-later
"""xec-vm --wait: after a power action, until the VM is where the action leads, with progress on a terminal.

The state is looked at once after the action, and then followed by vm_state_changed, which is listened for
before the action begins: no change is missed.
"""

from __future__ import annotations

import os
from time import monotonic

from openxt_core.errors import BadRequest, Refused, Unavailable
from openxt_xec import grammar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from openxt_bus.blocking import BlockingBus

TIMEOUT_S = 300.0
SLEEPING, HIBERNATED = 3, 4  # ACPI states
_PROPERTIES = "org.freedesktop.DBus.Properties"
_VM = "com.citrix.xenclient.xenmgr.vm"
_CHANGED = f"type='signal',sender='{grammar.XENMGR}',interface='{grammar.XENMGR}',member='vm_state_changed'"


class Goal:
    """Where an action leads: a state, or an ACPI state; `passing` is left and reached again on the way."""

    __slots__ = ("acpi", "passing", "states")

    def __init__(self, *states: str, acpi: int = -1, passing: str = "") -> None:
        self.states = states
        self.acpi = acpi
        self.passing = passing


# method: where it leads
GOALS = {
    "start": Goal("running"),
    "start_internal": Goal("running"),
    "resume_from_file": Goal("running"),
    "unpause": Goal("running"),
    "pause": Goal("paused"),
    "shutdown": Goal("stopped"),
    "destroy": Goal("stopped"),
    "reboot": Goal("running", passing="running"),
    "sleep": Goal(acpi=SLEEPING),
    "hibernate": Goal("stopped", acpi=HIBERNATED),
}
UPWARDS = frozenset(
    {"start", "start_internal", "resume_from_file", "reboot"}
)  # "stopped" in the end: it failed


class State:
    """What xenmgr says of the VM at one moment."""

    __slots__ = ("acpi", "name")

    def __init__(self, name: str, acpi: int) -> None:
        self.name = name
        self.acpi = acpi


def goal_of(words: list[str] | tuple[str, ...]) -> tuple[str, Goal]:
    """The method of a command line, and where it leads.  Raises BadRequest when it leads nowhere."""
    method = words[0].replace("-", "_") if words else ""
    if method not in GOALS:
        known = ", ".join(sorted(name.replace("_", "-") for name in GOALS))
        raise BadRequest(f"--wait goes with {known}; not with {method.replace('_', '-') or 'nothing'}")
    return method, GOALS[method]


def seconds(text: str) -> float:
    """Raises BadRequest unless it is a number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e6:
        raise BadRequest(f"--timeout {text!r:.40} is no number of seconds")
    return value


class Waiter:
    """Follows one VM.  To be made before the action."""

    def __init__(self, bus: BlockingBus, path: str, timeout_s: float = TIMEOUT_S) -> None:
        self._bus = bus
        self._path = path
        self._deadline = monotonic() + timeout_s
        self._timeout_s = timeout_s
        bus.listen(f"{_CHANGED},arg1='{path}'")

    def wait(self, method: str, goal: Goal, say: Callable[[str], None]) -> None:
        """Returns at the goal.  Raises Refused when the VM went the other way, Unavailable in the end."""
        has_left = not goal.passing
        last = ""
        for state in self._states():
            last = state.name
            say(state.name)
            has_left = has_left or state.name != goal.passing
            if has_left and (state.name in goal.states or state.acpi == goal.acpi):
                return
            if method in UPWARDS and state.name == "stopped" and has_left and not self._is_first:
                raise Refused(f"the VM stopped instead: see the log of xenmgr, and xec-vm -o {self._path}")
        raise Unavailable(f"the VM is still {last or 'unknown'} after {self._timeout_s:g} s")

    def _states(self) -> Iterator[State]:
        self._is_first = True
        yield self._now()
        self._is_first = False
        while (left_s := self._deadline - monotonic()) > 0:
            for message in self._bus.signals(left_s):
                _, path, name, acpi = message.body
                if path == self._path:
                    yield State(name, acpi)
                    break

    def _now(self) -> State:
        answers = [
            self._bus.call(grammar.XENMGR, self._path, _PROPERTIES, "Get", "ss", (_VM, name))
            for name in ("state", "acpi-state")
        ]
        return State(*(answer[0].value for answer in answers))


def progress() -> Callable[[str], None]:
    """Shows states in one line of a terminal; nothing where there is none."""
    if not os.isatty(2):
        return lambda _: None
    seen: list[str] = []

    def say(state: str) -> None:
        if not seen or seen[-1] != state:
            seen.append(state)
            os.write(2, f"\r\033[K{' → '.join(seen)}".encode())

    return say


def end_of_progress() -> None:
    if os.isatty(2):
        os.write(2, b"\n")
