# SPDX-License-Identifier: GPL-2.0-or-later
"""One save: what is dirty goes to the files, the history beside them, and then the old journal goes."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from openxt_dbd import json_text, placement
from openxt_dbd.files import NO_FILE, Files, digest
from openxt_dbd.history import History
from openxt_dbd.journal import Journal
from openxt_dbd.placement import Unit
from openxt_dbd.recent import Event
from openxt_dbd.tree import ABSENT, Node

log = logging.getLogger(__name__)


@dataclass
class Save:
    """A frozen tree on its way to the files; `run` may be called on another thread."""

    files: Files
    journal: Journal
    root: Node
    units: tuple[Unit, ...]
    number: int
    generation: int
    digests: dict[Unit, bytes]
    history: History | None = None
    events: Sequence[Event] = ()
    is_remembered: bool = False
    failed: dict[Unit, OSError] = field(default_factory=dict)
    written: int = 0

    def run(self) -> "Save":
        """Save each unit; one that fails does not stop the others."""
        fresh: list[Unit] = []
        self._guard(self.journal.make_durable)
        self._remember()
        for unit in self.units:
            try:
                if self._save(unit):
                    fresh.append(unit)
            except OSError as error:
                self.failed[unit] = error
        self.written = len(fresh)
        self._sync_folders(fresh)
        if not self.failed:
            self._guard(lambda: self.journal.drop(self.generation))
        return self

    def _remember(self) -> None:
        """Before the files change: until then a new process finds it all in the journal.

        What fails is tried again with the next save.
        """
        try:
            if self.history is not None:
                self.history.append(self.events)
            self.is_remembered = True
        except OSError as error:
            log.warning("the history is not written: %s", error)

    @staticmethod
    def _guard(step: Callable[[], None]) -> None:
        """What the journal cannot do now leaves it longer than needed, or less than a power cut needs."""
        try:
            step()
        except OSError as error:
            log.warning("the journal: %s", error)

    def _save(self, unit: Unit) -> bool:
        """Whether the file had to be touched."""
        node = placement.part(self.root, unit)
        content = b"" if node is ABSENT else json_text.dumps(node)
        new = NO_FILE if node is ABSENT else digest(content)
        if self.digests.get(unit, NO_FILE) == new:
            return False
        self.journal.note_saved(unit, new, self.number)
        if node is ABSENT:
            self.files.remove(unit)
        else:
            self.files.save(unit, content)
        self.digests[unit] = new
        return True

    def _sync_folders(self, units: Sequence[Unit]) -> None:
        for top in {unit.top for unit in units}:
            mine = [unit for unit in units if unit.top == top]
            try:
                self.files.sync_folder_of(mine[0])
            except OSError as error:
                self.failed |= dict.fromkeys(mine, error)
                # What a crash may undo has to be written again.
                self.digests |= dict.fromkeys(mine, b"not durable")
