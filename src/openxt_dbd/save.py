# SPDX-License-Identifier: GPL-2.0-or-later
"""One save: the journal is synced, due units go to the files, the history beside them; old journals go."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from openxt_dbd import json_text
from openxt_dbd.files import NO_FILE, Files, digest
from openxt_dbd.history import History
from openxt_dbd.journal import Journal
from openxt_dbd.placement import Unit
from openxt_dbd.recent import Event
from openxt_dbd.tree import ABSENT, Absent, Node

log = logging.getLogger(__name__)


@dataclass
class Save:
    """Frozen parts of the tree on their way to the files; `run` may be called on another thread."""

    files: Files
    journal: Journal
    parts: Mapping[Unit, Node | Absent]
    """What each file shall hold."""
    number: int
    generation: int
    """The last one of which nothing is needed once this save is done."""
    digests: dict[Unit, bytes]
    sizes: dict[Unit, int]
    history: History | None = None
    events: Sequence[Event] = ()
    waiting: bool = False
    """Whether units are left out, whose changes are durable only with the journal."""
    is_remembered: bool = False
    failed: dict[Unit, OSError] = field(default_factory=dict)
    written: int = 0
    failure: str = ""
    """What is not durable, and why; empty if all is."""

    def run(self) -> "Save":
        """Save each unit; one that fails does not stop the others."""
        fresh: list[Unit] = []
        self._sync_journal()
        self._remember()
        for unit, node in self.parts.items():
            try:
                if self._save(unit, node):
                    fresh.append(unit)
            except OSError as error:
                self.failed[unit] = error
        self.written = len(fresh)
        self._sync_folders(fresh)
        self._drop_journals()
        return self

    def _sync_journal(self) -> None:
        try:
            self.journal.make_durable()
        except OSError as error:
            log.warning("the journal: %s", error)
            if self.waiting:
                self.failure = f"the journal: {error}"

    def _drop_journals(self) -> None:
        if self.failed:
            unit, error = next(iter(self.failed.items()))
            self.failure = f"{unit.file}: {error}"
            return
        try:
            self.journal.drop(self.generation)
        except OSError as error:
            log.warning("an old journal stays: %s", error)

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

    def _save(self, unit: Unit, node: Node | Absent) -> bool:
        """Whether the file had to be touched."""
        content = b"" if node is ABSENT else json_text.dumps(node)
        new = NO_FILE if node is ABSENT else digest(content)
        if self.digests.get(unit, NO_FILE) == new:
            return False
        self.journal.note_saved(unit, new, self.number)
        if node is ABSENT:
            self.files.remove(unit)
        else:
            self.files.save(unit, content)
        self.digests[unit], self.sizes[unit] = new, len(content)
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
