# SPDX-License-Identifier: GPL-2.0-or-later
"""The database: the tree in memory, the journal behind it, and which files are behind both.

All of it is called on one thread.  When to save is not decided here.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from sys import intern
from time import time
from typing import Final, TypeAlias

from openxt_dbd import json_text, placement, tree
from openxt_dbd.draft import Draft, decide
from openxt_dbd.files import NO_FILE, Files, Loaded
from openxt_dbd.history import History
from openxt_dbd.journal import Author, Journal, Replay
from openxt_dbd.leases import Leases
from openxt_dbd.path import ROOT, Path, parse
from openxt_dbd.path import text as text_of
from openxt_dbd.placement import Unit
from openxt_dbd.quick import Tail, rewrite
from openxt_dbd.quota import TOP, Quotas
from openxt_dbd.recent import Event, Recent, Seen, without_values
from openxt_dbd.save import Save
from openxt_dbd.tree import ABSENT, Absent, Change, FilePtr, Node, Nodes, Owner, Repeated

log = logging.getLogger(__name__)

SIGN_AGAIN_S: Final = 1.0
"""So exact is the time of a change that only the journal knows."""
MAX_FRESH: Final = 1024
LARGE: Final = 1024
"""Characters of values that are not kept longer than the history needs them."""
BRANCHES: Final = (Nodes, Repeated)

MAX_SPOTS: Final = 8192
MAX_SPOT_TEXT: Final = 256
Spot: TypeAlias = tuple[Nodes, str, Path]
"""The node above an entry, the entry's name in it, and the whole path."""
NOWHERE: Final = Nodes()


def _length(leaf: Node | Absent) -> int:
    """What a leaf takes, in characters; an array may take anything."""
    if type(leaf) is tuple:
        return LARGE + 1
    return len(leaf) if type(leaf) is str else 0


class Database:
    """All eight operations on the whole tree, and the way from and to the files."""

    def __init__(self, files: Files, journal: Journal, history: History | None = None) -> None:
        self._files = files
        self._journal = journal
        self.history = history
        """None: former states are not remembered."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when something is dirty after nothing was."""
        self.on_news: Callable[[bool], None] = lambda _is_guests: None
        """Called when something has changed since the last `news`; True: only by guests."""
        self.recent = Recent()
        self.who: Callable[[str], str] = str
        """Names the owner of a unique bus name, for the history."""
        self.is_limited: Callable[[str], bool] = lambda _: False
        """Whether quotas hold for the owner of a unique bus name."""
        self.leases = Leases()
        self._quotas = Quotas()
        self._fresh: list[Event] = []
        self._has_guests_news = False
        self._patience = 0
        """How many fresh changes may wait until somebody is told of them; 0: nobody is yet."""
        self._told = 0
        self._signer: str | None = None  # None: not known, or some time ago
        self._signed_s = 0.0
        self._remembered = 0  # the last revision that the history's files tell of
        self._root: Node = Nodes()
        self._owner = Owner()
        self._tail: Tail | None = None  # of the journal, or of what it was
        self._spots: dict[str, Spot] = {}  # emptied by every change but the usual one, and guests'
        self._lent = Owner(), Owner()
        """Who owned the tree when the last save began, and who owns what that took."""
        self._digests: dict[Unit, bytes] = {}
        self.sizes: dict[Unit, int] = {}
        """Bytes of the units' files."""
        self._dirty: dict[Unit, int] = {}
        """Unit → the first journal that holds a change which the unit's file does not."""
        self._saving: dict[Unit, int] = {}

    @property
    def root(self) -> Node:
        """The tree as it is now.  Changes when an operation changes it: `freeze` gives one to keep."""
        return self._root

    @property
    def revision(self) -> int:
        """Of the last change; grows for ever."""
        return self._journal.number

    @property
    def dirty(self) -> tuple[Unit, ...]:
        """What no durable file holds yet; what waits longest comes first."""
        return tuple(self._saving | self._dirty)

    @property
    def journal_bytes(self) -> int:
        """What a new process would replay."""
        return self._journal.size

    def freeze(self) -> Node:
        """The tree as it is now, for ever: later changes copy what they touch."""
        self._owner = Owner()
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

    def lease(self, path: Path) -> str:
        """As `dump`; the next change there, below or above is told to `leases` while it is made.

        Raises BadRequest for a path of more than two names.
        """
        self.leases.grant(path)
        self.freeze()  # so it cannot be made by the short ways, which ask for no leases
        return self.dump(path)

    def write(self, path: Path, value: str, writer: str = "") -> None:
        """Raises BadRequest, Refused, Unavailable; the tree is then as before."""
        if path[:1] == (TOP,) and self._put(path, value, writer):
            return
        changes = decide(self._root, "write", path, value)
        if not changes and tree.names(self._root, path):
            log.debug("a write over the entries of %r is ignored", text_of(path))
        self._make(changes, writer)

    def read_at(self, text: str) -> str:
        """`read` of a path as its text, for callers who see the whole tree."""
        spot = self._spots.get(text) or self._spot(text)
        value = spot[0].get(spot[1])
        return value if type(value) is str else tree.read(self._root, spot[2])

    def write_at(self, text: str, value: str, writer: str = "") -> None:
        """`write` of a path as its text, for callers who see the whole tree."""
        journal, event = self._journal, None
        if writer == self._signer:
            number = journal.number + 1
            event = rewrite(self._spots, text, value, self._owner, self._tail, number, writer, self._signed_s)
        if event is not None:
            journal.number = number
        elif (event := self._exchange(text, value, writer)) is None:
            return
        fresh = self._fresh
        fresh.append(event)
        if len(fresh) > self._patience:
            self._wake()

    def _exchange(self, text: str, value: str, writer: str) -> Event | None:
        """One short text for another, in a node that nobody else looks at: what nobody was told of yet.

        None: all is done; there was nothing to do, or it was done the long way.  `rewrite` does the same for
        a unit that has to be saved already.
        """
        holder, name, path = self._spots.get(text) or self._spot(text)
        old = holder.get(name)
        if old == value:
            return None
        is_short = type(old) is str and len(old) + len(value) <= LARGE
        if not is_short or not (holder.owner is self._owner or self._takes(holder, path)):
            self.write(path, value, writer)
            return None
        if writer != self._signer:
            self._sign(writer, time())
        number = self._journal.append_string(path, value)
        self._tail = self._journal.tail
        holder[name] = value
        return (number, path, False, writer, self._signed_s, old, value)

    def _takes(self, holder: Nodes, path: Path) -> bool:
        """The first change since the last save of what nobody else looks at: the unit has to be saved."""
        if not self._owner.owns(holder):
            return False
        self._soil(placement.unit_of(path))
        holder.owner = self._owner
        return True

    def _spot(self, text: str) -> Spot:
        """Where a path leads for now; NOWHERE in it for what is not written the short way."""
        path = tuple(map(intern, parse(text)))  # most names are the same in each VM: they stay near
        holder = tree.find(self._root, path[:-1]) if len(path) > 2 and path[0] != TOP else None
        spot = (holder, path[-1], path) if type(holder) is Nodes else (NOWHERE, "", path)
        if len(text) <= MAX_SPOT_TEXT:
            if len(self._spots) >= MAX_SPOTS:
                self._spots.clear()
            self._spots[text] = spot
        return spot

    def _put(self, path: Path, value: str, writer: str) -> bool:
        """The usual write in a dom-store: a text, for another or new, in a node that nobody else looks at.

        It does what the long way does, with less work.  False: nothing is done yet, that way has to be gone.
        Raises QuotaExceeded, Unavailable.
        """
        holder = tree.find(self._root, path[:-1]) if 2 < len(path) <= tree.MAX_DEPTH else None
        if type(holder) is not Nodes or not self._owner.owns(holder):
            return False
        old = holder.get(path[-1], ABSENT)
        if (type(old) is not str and old is not ABSENT) or old == value:
            return False
        is_guests = self.is_limited(writer)
        sizes = self._quotas.exchange(self._root, path, old, value, is_limited=is_guests)
        if sizes is None:
            return False
        self._sign(writer, now_s := time())
        number = self._journal.append_string(path, value)
        holder.owner = self._owner
        holder[path[-1]] = value
        self._quotas.grow(path[1], sizes)
        self._keep((number, path, False, writer, now_s, old, value), sum(sizes))
        self._soil(placement.Unit(TOP, path[1]))
        self._wake(is_guests=is_guests)
        return True

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
        self.settle()
        self.recent.need_unchanged(unchanged)
        self._make(draft.rebased(self._root).changes, writer)
        return self.revision

    def _make(self, changes: Sequence[Change], writer: str) -> None:
        if not changes:
            return
        is_guests = changes[0].path[:1] == (TOP,) and self.is_limited(writer)
        if is_guests:
            self._quotas.check(self._root, changes)
        self._sign(writer, now_s := time())
        self._journal.append(changes)
        for change in changes:
            unit = placement.unit_of(change.path)
            parts = ((unit, change),) if unit is not None else tuple(placement.split(self._root, change))
            for part, one in parts:
                if self.leases:
                    self.leases.lapse(one.path)
                if part is not None:
                    self._note(*tree.step(self._root, one, len(part.path)), writer, now_s)
                self._apply(part, one)
        self._wake(is_guests=is_guests)

    def _sign(self, writer: str, now_s: float) -> None:
        """The journal knows whose the next change is, and when that was.  Raises Unavailable."""
        if writer != self._signer or not 0 <= now_s - self._signed_s < SIGN_AGAIN_S:
            self._journal.note_author(Author(self.who(writer), int(now_s * 1000)))
            self._signer, self._signed_s = writer, now_s

    def _note(self, path: Path, old: Node | Absent, new: Node | Absent, writer: str, now_s: float) -> None:
        is_tree = type(old) in BRANCHES or type(new) in BRANCHES
        event = (self._journal.number, path, is_tree, writer, now_s, old, new)
        size = sum(self._quotas.note(path, old, new)) if path[0] == TOP else _length(old) + _length(new)
        self._keep(event, size)

    def _keep(self, event: Event, size: int) -> None:
        """For history, signals and preconditions; `size`: of what was and what is."""
        if event[2] or size > LARGE:
            self.settle()
            self.recent.extend((without_values(event),))
            if self.history is not None:
                self.history.add_large(event, size)
        else:
            self._fresh.append(event)

    def _wake(self, *, is_guests: bool = False) -> None:
        if len(self._fresh) > MAX_FRESH:
            self.settle()
        if not (self._patience or (is_guests and self._has_guests_news)):
            self._has_guests_news = True
            self._patience = 0 if is_guests else MAX_FRESH
            self.on_news(is_guests)

    def settle(self) -> None:
        """What was made goes to where it is asked for."""
        if self._fresh:
            fresh, self._fresh = self._fresh, []
            self.recent.extend(fresh)
            if self.history is not None:
                self.history.extend(fresh)

    def bad_files(self) -> list[tuple[str, str]]:
        """Files that were set aside, and why if this process did it."""
        return self._files.bad_files()

    def news(self) -> Sequence[Event] | None:
        """What was made since the last question; None if that is not known in detail."""
        self.settle()
        self._has_guests_news, self._patience = False, 0
        self._signer = None  # so what is made until the next question bears the time of the first of it
        made = self.recent.since(self._told)
        self._told = self.revision
        return made

    def _apply(self, unit: Unit | None, change: Change) -> None:
        if unit is None:
            self._apply_to_top(change)
            return
        self._grow(change)
        self._soil(unit)

    def _grow(self, change: Change) -> None:
        root = tree.apply(self._root, change.path, change.node, self._owner)
        assert root is not ABSENT
        self._root = root
        if change.path[:1] != (TOP,):  # no spot is there, and guests write there all the time
            self._spots.clear()

    def _soil(self, unit: Unit | None) -> None:
        """The unit has to be saved."""
        if unit is not None:
            if not self._dirty:
                self.on_change()
            self._dirty.setdefault(unit, self._journal.generation)

    def _apply_to_top(self, change: Change) -> None:
        """Make `/vm` an object, or drop it if it is bare; no file is concerned."""
        found = tree.find(self._root, change.path)
        is_branch = isinstance(found, Nodes | Repeated)
        if (change.node is ABSENT and not tree.names(self._root, change.path)) or not is_branch:
            self._grow(change)

    # Files

    def load(self) -> None:
        """What the files and the journals hold becomes the tree.  Raises OSError."""
        loaded = self._files.load()
        self._own(loaded.root)
        self._digests, self.sizes, self._dirty = loaded.digests, loaded.sizes, {}
        self._spots.clear()
        replay = self._journal.replay()
        self._remembered = self._last_remembered()
        self._journal.number = max(self._journal.number, self._remembered)
        self._replay(replay, loaded)
        self._forget_the_past()
        self._dirty = dict.fromkeys((*self._dirty, *loaded.strays), self._journal.oldest)
        if self._dirty:
            self.on_change()

    def _own(self, root: Node) -> None:
        """The tree that was read, without a copy of each level at the first change there."""
        reader, self._owner = Owner(), Owner()
        tree.give(root, reader)
        self._owner.inherit(reader)  # as what a save has let go
        self._root = root

    def _forget_the_past(self) -> None:
        """The files may say anything: nothing that was seen before them counts as unchanged."""
        self._journal.number += 1
        self._fresh = []
        self.recent = Recent(self.revision)
        self._quotas.forget()
        self.leases.lapse(ROOT)
        self._wake()

    def _last_remembered(self) -> int:
        try:
            return self.history.last_revision() if self.history is not None else 0
        except OSError as error:
            log.warning("the history cannot be read: %s", error)
            return 0

    def _replay(self, replay: Replay, loaded: Loaded) -> None:
        base = {}
        for number, unit, content in replay.saved:
            if loaded.digests.get(unit, NO_FILE) == content:
                base[unit] = number
        for number, change in replay.changes:
            for part, one in tuple(placement.split(self._root, change)):
                if part is None or number > base.get(part, 0):
                    self._remember(number, part, one, replay.authors[number])
                    self._apply(part, one)
        if replay.changes:
            log.warning("%d changes of a process that did not end well taken over", len(replay.changes))

    def _remember(self, number: int, part: Unit | None, change: Change, author: Author) -> None:
        """A change of a process that did not live to write its history."""
        if self.history is None or part is None or number <= self._remembered:
            return
        path, old, new = tree.step(self._root, change, len(part.path))
        if not tree.same(old, new):
            is_tree = type(old) in BRANCHES or type(new) in BRANCHES
            self.history.extend([(number, path, is_tree, author.who, author.time_ms / 1000, old, new)])

    def close(self) -> None:
        """Nothing is done with the database after this; a journal that nobody needs goes."""
        self._journal.close()
        self._close_history()
        if not self.dirty:
            try:
                self._journal.drop(self._journal.generation)
            except OSError as error:
                log.warning("an old journal stays: %s", error)

    def _close_history(self) -> None:
        try:
            if self.history is not None:
                self.history.close()
        except OSError as error:
            log.warning("the history's file does not close: %s", error)

    def start_save(self, units: Iterable[Unit] | None = None) -> Save:
        """Freeze what is dirty, or these units of it, for a save, and begin a new journal.

        What waits keeps its journals; they become durable by this save all the same.
        """
        self.settle()
        units = tuple(self._dirty if units is None else units)
        self._saving = {unit: self._dirty.pop(unit) for unit in units}
        self._signer = None  # the new journal has nobody's name yet
        self._lent = self._owner, Owner()
        return Save(
            files=self._files,
            journal=self._journal,
            parts={unit: self._frozen(unit) for unit in units},
            number=self._journal.number,
            generation=min((self._journal.rotate(), *(first - 1 for first in self._dirty.values()))),
            digests=self._digests,
            sizes=self.sizes,
            waiting=bool(self._dirty),
            history=self.history,
            events=self.history.take() if self.history is not None else (),
        )

    def _frozen(self, unit: Unit) -> Node | Absent:
        """What the unit's file shall hold: until the save ends, changes copy what they touch of it."""
        node = placement.part(self._root, unit)
        tree.lend(node, *self._lent)
        return node

    def end_save(self, save: Save) -> None:
        """Take note of how a save went: what failed is dirty still, and the journal has stayed for it."""
        saving, self._saving = self._saving, {}
        owner, borrower = self._lent
        if owner is self._owner:  # else somebody keeps the tree as it was meanwhile
            borrower.inherit(owner)
        for unit in save.failed:
            self._dirty[unit] = saving[unit]
        if save.is_remembered and self.history is not None:
            self.history.taken()
