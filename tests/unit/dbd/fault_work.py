# SPDX-License-Identifier: GPL-2.0-or-later
"""The work that the fault harness does on a simulated disk, and what may be found after each way to end.

A database of so many VMs is changed everywhere: values, new VMs, removed ones, other parts, and while the
files are written as well.  Of each part every state it ever had is noted.  After a kill the last one must
be there; after a power cut one that is not older than the last save that had ended.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from sim_disk import SimDisk

from openxt_dbd.files import Files
from openxt_dbd.history import History
from openxt_dbd.journal import Journal
from openxt_dbd.store import Database
from openxt_dbd.tree import ABSENT, find, names, pairs

VMS = 50
FILLER = "x" * 5000
"""Makes a file larger than a page."""

Parts = dict[tuple[str, ...], Any]
"""Each part's values; order of names is left out, a power cut may change it."""


def opened(disk: SimDisk) -> Database:
    database = Database(Files(disk, now=lambda: 0.0), Journal(disk), History(disk))
    database.load()
    return database


def save(database: Database, *, every: int = 1) -> bool:
    """All that is unsaved, or every other unit of it, so that the rest waits for its turn."""
    if not database.dirty:
        return True
    attempt = database.start_save(database.dirty[::every]).run()
    database.end_save(attempt)
    return not attempt.failure


def parts(database: Database) -> Parts:
    found: Parts = {}
    for top in names(database.root, ()):
        if top in ("vm", "dom-store"):
            found |= {(top, name): plain(node) for name, node in pairs(find(database.root, (top,)))}
    rest = {name: plain(node) for name, node in pairs(database.root) if name not in ("vm", "dom-store")}
    return {**found, ("",): rest}


def plain(node: Any) -> Any:
    return {name: plain(inner) for name, inner in pairs(node)} if isinstance(node, dict) else node


def vm(number: int) -> str:
    return f"0000-{number:04}"


class Work:
    """Changes a database, and notes the states of each part."""

    def __init__(self, disk: SimDisk, vms: int = VMS, every: int = 1) -> None:
        self.disk = disk
        self.every = every
        self.database = opened(disk)
        self.vms = vms
        self.states: dict[tuple[str, ...], list[Any]] = defaultdict(lambda: [ABSENT])
        self.saved: dict[tuple[str, ...], int] = defaultdict(int)
        self._counts = itertools.count(1)
        self.is_changing = False
        """An operation is under way: what is found may hold it or not."""
        self.on_changed: Callable[[], None] = lambda: None

    def begin(self) -> None:
        """All VMs as they are before the save that is looked at; safe on the disk."""
        for number in range(self.vms):
            for key in ("name", "filler", "config/memory"):
                self.write(f"vm/{vm(number)}/{key}", f"{key} {FILLER if key == 'filler' else ''}")
        self.write("db-version", "9")
        self.write("dom-store/u1/k", "1")
        self.save()
        assert self.every > 1 or not self.database.dirty

    def change(self, *, main: bool = True) -> None:
        """Every VM twice, in turn, so that a mix of two states is none that ever was."""
        for _ in range(2):
            count = next(self._counts)
            for number in range(self.vms):
                self.write(f"vm/{vm(number)}/name", f"changed {count}")
                self.write(f"vm/{vm(number)}/config/memory", f"{count}{FILLER}")
        self.write(f"vm/{vm(self.vms)}/name", "new")
        self.write("dom-store/u2/k", "new")
        if main:
            self.write("db-version", f"{next(self._counts)}")
        self.do("inject", f"vm/{vm(1)}/config", '{"memory": "64", "disk": {"0": {"path": "/x"}}}')
        self.do("rm", f"vm/{vm(2)}")
        self.do("rm", "dom-store/u1")
        self.do("rm", f"vm/{vm(3)}/config")

    def write(self, path: str, value: str) -> None:
        self.do("write_at", path, value)

    def do(self, operation: str, path: str, *values: str) -> None:
        steps = tuple(path.split("/"))
        self.is_changing = True
        getattr(self.database, operation)(path if operation == "write_at" else steps, *values)
        self._note(steps[:2] if steps[0] in ("vm", "dom-store") else ("",))
        self.is_changing = False
        self.on_changed()

    def touch_some(self) -> None:
        """A change from a caller while files are written."""
        count = next(self._counts)
        self.write(f"vm/{vm(4 + count * 7 % (self.vms - 4))}/during/{count % 3}", str(count))

    def _note(self, part: tuple[str, ...]) -> None:
        node = plain(find(self.database.root, part)) if part != ("",) else parts(self.database)[part]
        if node != self.states[part][-1]:
            self.states[part].append(node)

    def save(self) -> bool:
        self.frozen = {part: len(states) - 1 for part, states in self.states.items()}
        done = save(self.database, every=self.every)
        if done:
            self.saved.update(self.frozen)
        return done

    # What may be found

    def lost_by_kill(self, found: Parts, may_be: int = 1) -> Iterator[str]:
        """Each part that is in none of its last states, so many of them."""
        for part, states in self.states.items():
            if found.get(part, ABSENT) not in states[-may_be:]:
                yield f"{part}: {_short(found.get(part, ABSENT))} instead of {_short(states[-1])}"

    def lost_by_power_cut(self, found: Parts) -> Iterator[str]:
        for part, states in self.states.items():
            mine = found.get(part, {} if part == ("",) else ABSENT)
            allowed = states[self.saved[part] :]
            if mine not in allowed and not (part == ("",) and mine == {} and ABSENT in allowed):
                kind = "too old" if mine in states else "never was"
                yield f"{part}: {kind}: {_short(mine)}"
        for part in found.keys() - self.states.keys() - {("",)}:
            yield f"{part}: came out of nowhere"


def _short(value: Any) -> str:
    return repr(value).replace(FILLER, "…")[:200]
