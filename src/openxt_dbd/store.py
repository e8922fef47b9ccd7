# SPDX-License-Identifier: GPL-2.0-or-later
"""The database: the tree in memory, the journal behind it, and which files are behind both.

Everything but `Save.run` is called on one thread.  When to save is not decided here.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from openxt_dbd import json_text, placement, tree
from openxt_dbd.draft import Draft, decide
from openxt_dbd.files import NO_FILE, Files, Loaded, digest
from openxt_dbd.journal import Journal, Replay
from openxt_dbd.path import Path
from openxt_dbd.path import text as text_of
from openxt_dbd.placement import Unit
from openxt_dbd.recent import Made, Recent, Seen
from openxt_dbd.tree import ABSENT, Absent, Change, FilePtr, Node, Nodes, Repeated

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
    failed: dict[Unit, OSError] = field(default_factory=dict)
    written: int = 0

    def run(self) -> "Save":
        """Save each unit; one that fails does not stop the others."""
        fresh: list[Unit] = []
        self._guard(self.journal.make_durable)
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


class Database:
    """All eight operations on the whole tree, and the way from and to the files."""

    def __init__(self, files: Files, journal: Journal) -> None:
        self._files = files
        self._journal = journal
        self.on_change: Callable[[], None] = lambda: None
        """Called when something is dirty after nothing was."""
        self.on_news: Callable[[], None] = lambda: None
        """Called when something has changed since the last `news`."""
        self.recent = Recent()
        self._has_news = False
        self._told = 0
        self._root: Node = Nodes()
        self._owner = object()
        self._digests: dict[Unit, bytes] = {}
        self._dirty: dict[Unit, None] = {}
        self._saving: tuple[Unit, ...] = ()

    @property
    def root(self) -> Node:
        """The tree as it is now.  Changes when an operation changes it: `freeze` gives one to keep."""
        return self._root

    @property
    def revision(self) -> int:
        """Of the last change; grows for ever."""
        return self._journal.number

    @property
    def dirty(self) -> frozenset[Unit]:
        """What no durable file holds yet."""
        return frozenset((*self._dirty, *self._saving))

    def freeze(self) -> Node:
        """The tree as it is now, for ever: later changes copy what they touch."""
        self._owner = object()
        return self._root

    # Operations

    def read(self, path: Path) -> str:
        return tree.read(self._root, path)

    def binary(self, path: Path) -> FilePtr:
        """The binary node at `path`.  Raises BadRequest."""
        return tree.binary(self._root, path)

    def exists(self, path: Path) -> bool:
        return tree.exists(self._root, path)

    def names(self, path: Path) -> list[str]:
        return tree.names(self._root, path)

    def dump(self, path: Path) -> str:
        node = tree.find(self._root, path)
        return json_text.dumps(None if node is ABSENT else node).decode()

    def write(self, path: Path, value: str, writer: str = "") -> None:
        """Raises BadRequest, Unavailable; the tree is then as before."""
        holder = tree.find(self._root, path[:-1]) if len(path) > 2 else None
        # A node of our own was made since the last save, by a change of the same part: that is dirty already.
        if type(holder) is Nodes and holder.owner is self._owner and type(old := holder.get(path[-1])) is str:
            if old != value:
                self._journal.append_string(path, value)
                holder[path[-1]] = value
                self._note(path, old, value, writer)
        else:
            self._write_anywhere(path, value, writer)

    def _write_anywhere(self, path: Path, value: str, writer: str) -> None:
        changes = decide(self._root, "write", path, value)
        if not changes and tree.names(self._root, path):
            log.debug("a write over the entries of %r is ignored", text_of(path))
        self._make(changes, writer)

    def inject(self, path: Path, text: str, writer: str = "") -> None:
        """Raises BadRequest, Unavailable; the tree is then as before."""
        self._make(decide(self._root, "inject", path, text), writer)

    def rm(self, path: Path, writer: str = "") -> None:
        """Raises BadRequest, Unavailable; the tree is then as before."""
        self._make(decide(self._root, "rm", path, ""), writer)

    def commit(self, draft: Draft, unchanged: Iterable[Seen] = (), writer: str = "") -> int:
        """Carry out a draft as one operation; the revision after it.

        Raises Conflict if something that it rests on has changed, BadRequest, Refused, Unavailable; the tree
        is then as before.
        """
        self.recent.need_unchanged(unchanged)
        self._make(draft.rebased(self._root).changes, writer)
        return self.revision

    def _make(self, changes: Sequence[Change], writer: str) -> None:
        if not changes:
            return
        self._journal.append(changes)
        for change in changes:
            unit = placement.unit_of(change.path)
            parts = ((unit, change),) if unit is not None else tuple(placement.split(self._root, change))
            for part, one in parts:
                if part is not None:
                    self._note(*tree.step(self._root, one, len(part.path)), writer)
                self._apply(part, one)

    def _note(self, path: Path, old: Node | Absent, new: Node | Absent, writer: str) -> None:
        is_tree = isinstance(old, Nodes | Repeated) or isinstance(new, Nodes | Repeated)
        self.recent.add(Made(self._journal.number, path, is_tree, writer))
        if not self._has_news:
            self._has_news = True
            self.on_news()

    def bad_files(self) -> list[tuple[str, str]]:
        """Files that were set aside, and why if this process did it."""
        return self._files.bad_files()

    def news(self) -> Sequence[Made] | None:
        """What was made since the last question; None if that is not known in detail."""
        self._has_news = False
        made = self.recent.since(self._told)
        self._told = self.revision
        return made

    def _apply(self, unit: Unit | None, change: Change) -> None:
        if unit is None:
            self._apply_to_top(change)
            return
        root = tree.apply(self._root, change.path, change.node, self._owner)
        assert root is not ABSENT
        self._root = root
        if not self._dirty:
            self.on_change()
        self._dirty[unit] = None

    def _apply_to_top(self, change: Change) -> None:
        """Make `/vm` an object, or drop it if it is bare; no file is concerned."""
        found = tree.find(self._root, change.path)
        is_branch = isinstance(found, Nodes | Repeated)
        if (change.node is ABSENT and not tree.names(self._root, change.path)) or not is_branch:
            root = tree.apply(self._root, change.path, change.node, self._owner)
            assert root is not ABSENT
            self._root = root

    # Files

    def load(self) -> None:
        """What the files and the journals hold becomes the tree.  Raises OSError."""
        loaded = self._files.load()
        self._root, self._owner, self._digests = loaded.root, object(), loaded.digests
        self._dirty = {}
        self._replay(self._journal.replay(), loaded)
        self._forget_the_past()
        for unit in loaded.strays:
            self._dirty[unit] = None
        if self._dirty:
            self.on_change()

    def _forget_the_past(self) -> None:
        """The files may say anything: nothing that was seen before them counts as unchanged."""
        self._journal.number += 1
        self.recent = Recent(self.revision)
        self._has_news = True
        self.on_news()

    def _replay(self, replay: Replay, loaded: Loaded) -> None:
        base = {}
        for number, unit, content in replay.saved:
            if loaded.digests.get(unit, NO_FILE) == content:
                base[unit] = number
        for number, change in replay.changes:
            for part, one in tuple(placement.split(self._root, change)):
                if part is None or number > base.get(part, 0):
                    self._apply(part, one)
        if replay.changes:
            log.warning("%d changes of a process that did not end well taken over", len(replay.changes))

    def close(self) -> None:
        """Nothing is done with the database after this; a journal that nobody needs goes."""
        self._journal.close()
        if not self.dirty:
            try:
                self._journal.drop(self._journal.generation)
            except OSError as error:
                log.warning("an old journal stays: %s", error)

    def start_save(self) -> Save:
        """Freeze what is dirty for a save, and begin a new journal."""
        self._saving, self._dirty = tuple(self._dirty), {}
        return Save(
            files=self._files,
            journal=self._journal,
            root=self.freeze(),
            units=self._saving,
            number=self._journal.number,
            generation=self._journal.rotate(),
            digests=self._digests,
        )

    def end_save(self, save: Save) -> None:
        """Take note of how a save went: what failed is dirty still, and the journal has stayed for it."""
        self._saving = ()
        for unit in save.failed:
            self._dirty.setdefault(unit)
