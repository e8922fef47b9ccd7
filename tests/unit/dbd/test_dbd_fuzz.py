# SPDX-License-Identifier: GPL-2.0-or-later
"""Random and mutated paths, JSON texts and database files: refused or served, never more than that, and
nothing grows.

Not by hypothesis: so many inputs at its price would take hours, and none needs to be made small.
"""

import gc
import logging
import pathlib
import random
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from fault_work import plain
from sim_disk import SimDisk

from effort import effort
from openxt_core.errors import BadRequest
from openxt_dbd import json_text, path
from openxt_dbd.disk import Disk
from openxt_dbd.files import Files
from openxt_dbd.history import History
from openxt_dbd.journal import Journal, change_record, encode
from openxt_dbd.store import Database
from openxt_dbd.tree import ABSENT, Change, Nodes

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]

INPUTS = effort(1_000, 100_000)
JOURNALS = INPUTS // 10  # each is a whole life of a database
GROWTH_BYTES = 256 * 1024

# fmt: off
TOKENS = [
    b"/", b"..", b"\0", b'"', b"\\", b"\\u0000", b"\\ud800", b"{", b"}", b"[", b"]", b",", b":", b"null",
    b"1e999", b"-", b"0x1", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\r\n", b"\x7f",
    b"9" * 40, b"a" * 300, b"[" * 200, b'{"a":' * 200, b" " * 50, b"vm", b"dom-store", b"true", b"NaN",
    b"00000000 ", b"\n00000000 \n",
]
PATHS = [
    b"/", b"", b"/vm/x/config/memory", b"vm//x/", b"/dom-store/u/k", b"/a/b/c/d/e/f", b"/vm", b"/../../x",
]
# fmt: on
JSON = [
    b'{"vm": {"x": {"name": "n", "config": {"disk": {"0": {"path": "/x"}}}}}, "list": [1, 2.5, true, null]}',
    b'"text \\u00e9 \\/ \\n"',
    b"-12.5e3",
    b'{"a": {}, "a": {"b": []}, "": ""}',
    b"  [ [ ], { } ]  ",
]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


class Inputs:
    """Mutations of seeds, and now and then pure noise.  The same in every run."""

    def __init__(self, seeds: Sequence[bytes]) -> None:
        self._seeds = seeds
        self._random = random.Random(2015)

    def one(self) -> bytes:
        dice = self._random
        if dice.random() < 0.05:
            return dice.randbytes(dice.randrange(60))
        content = dice.choice(self._seeds)
        for _ in range(dice.randrange(4)):
            content = self._mutated(content)
        return content

    def _mutated(self, content: bytes) -> bytes:
        dice = self._random
        at = dice.randrange(len(content) + 1)
        to = min(len(content), at + dice.randrange(1, 9))
        match dice.randrange(6):
            case 0:
                return content[:at]
            case 1:
                return content[:at] + content[to:]
            case 2:
                return content[:at] + dice.choice(TOKENS) + content[at:]
            case 3:
                return content[:at] + dice.randbytes(to - at) + content[to:]
            case 4:
                return content[:at] + content[at:to] * 3 + content[to:]
        return content[:at] + dice.choice(self._seeds)[at:]


def fed(seeds: Sequence[bytes], eat: Callable[[bytes], None], count: int = INPUTS) -> int:
    """Feed so many inputs, and give the bytes that are kept of all but the first tenth."""
    inputs = Inputs(seeds)
    for _ in range(count // 10):
        eat(inputs.one())
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(count - count // 10):
            eat(inputs.one())
        gc.collect()
        return _traced_bytes()
    finally:
        tracemalloc.stop()


def _traced_bytes() -> int:
    """Without the interpreter's table of known strings, which grows by doubling and never shrinks."""
    kept = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, pathlib.__file__)])
    return sum(trace.size for trace in kept.traces)


def report(capsys: pytest.CaptureFixture[str], what: str, kept: int, count: int = INPUTS) -> None:
    with capsys.disabled():
        print(f"\n  {count} {what}: no exception escaped, {kept // 1024} KiB kept")
    assert kept < GROWTH_BYTES


def test_any_path_is_served_or_refused(capsys: pytest.CaptureFixture[str]) -> None:
    databases = [Database(Files(SimDisk()), Journal(SimDisk()))]
    calls = 0

    def eat(content: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls % 500 == 0:  # what was written would be growth
            databases[0] = Database(Files(SimDisk()), Journal(SimDisk()))
        _try_all(databases[0], path.parse(content.decode(errors="replace").replace("\0", "?")))

    report(capsys, "paths", fed(PATHS, eat))


def _try_all(database: Database, steps: path.Path) -> None:
    for change in (lambda: database.write(steps, "v"), lambda: database.inject(steps, '{"k": "v"}')):
        try:
            change()
        except BadRequest:
            continue
        assert database.exists(steps)
        assert path.parse(path.text(steps)) == steps
    database.read(steps)
    database.dump(steps)
    try:
        database.rm(steps)
    except BadRequest:
        return
    assert not steps or not database.exists(steps)


def test_any_json_is_refused_or_comes_back_as_it_went_in(capsys: pytest.CaptureFixture[str]) -> None:
    def eat(content: bytes) -> None:
        try:
            node = json_text.loads(content)
        except json_text.BadText:
            return
        text = json_text.dumps(node)
        assert json_text.dumps(json_text.loads(text)) == text

    report(capsys, "JSON texts", fed(JSON, eat))


def test_any_database_file_is_read_or_set_aside(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever one file holds: the start goes on, the others are served, and no content is lost."""
    names = ("db", "vms/x.db", "vms/x.db.tmp", "vms/d/y.db", "dom-store/u.db", "vms/picture")
    count = 0

    def eat(content: bytes) -> None:
        nonlocal count
        count += 1
        name = names[count % len(names)]
        disk = disk_with({"vms/good.db": b'{"k": "v"}', name: content})
        database = Database(Files(disk), Journal(disk), History(disk))
        database.load()
        assert database.read(("vm", "good", "k")) == "v"
        assert content in [inode.content() for inode in disk.names.values()]
        json_text.loads(database.dump(()))

    report(capsys, "database files", fed([*JSON, b"", b"\n"], eat))


def test_any_journal_is_read_as_far_as_it_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    good = b"".join(encode(change_record(number, change)) for number, change in enumerate(CHANGES, 1))
    history = b'["x", 1]\n' + good

    def eat(content: bytes) -> None:
        disk = disk_with({"vms/good.db": b'{"k": "v"}', "db.journal.1": content, "history/1": content})
        database = Database(Files(disk), Journal(disk), History(disk))
        database.load()
        database.write(("a",), "1")
        database.end_save(database.start_save().run())
        assert not database.dirty
        again = Database(Files(disk), Journal(disk), History(disk))
        again.load()
        assert plain(again.root) == plain(database.root)

    report(capsys, "journals", fed([good, history, good + bytes(100)], eat, JOURNALS), JOURNALS)


CHANGES = [
    Change(("vm", "x", "name"), "n"),
    Change(("vm", "x"), Nodes({"a": "b"})),
    Change(("m",), None),
    Change(("vm", "x", "a"), ABSENT),
    Change((), Nodes()),
]


def disk_with(contents: dict[str, bytes]) -> SimDisk:
    disk = SimDisk()
    for name, content in contents.items():
        folder = name.rpartition("/")[0]
        if folder:
            disk.make_folder(folder)
        fd = disk.open_new(name)
        disk.write(fd, content)
        disk.close(fd)
    return disk


def test_a_real_disk_behaves_like_the_simulated_one(tmp_path: Path) -> None:
    """What the file tests rest on: both disks answer alike, errors included."""
    real, sim = Disk(tmp_path), SimDisk()
    answers = [list(_exercise(disk)) for disk in (real, sim)]
    assert answers[0] == answers[1]


def _exercise(disk: Disk) -> Iterator[object]:
    yield _answer(lambda: disk.entries("none"))
    yield _answer(lambda: disk.read("none"))
    yield _answer(lambda: disk.open_new("no/file"))
    disk.make_folder("a/b")
    yield disk.entries(""), disk.entries("a")
    fd = disk.open_new("a/f")
    yield disk.write(fd, b"one"), disk.write(fd, b"two")
    disk.sync(fd)
    disk.close(fd)
    yield disk.read("a/f"), disk.is_file("a/f"), disk.is_file("a")
    disk.rename("a/f", "a/g")
    yield disk.entries("a"), _answer(lambda: disk.rename("a/f", "a/h"))
    fd = disk.open_mapped("a/g")
    yield disk.write_at(fd, bytes(5000), 0)
    window = disk.map(fd, 4096, 904)
    window[0:3] = b"abc"
    yield disk.read("a/g")[4090:4100]
    yield disk.write_at(fd, b"X", 4097)
    yield window[0:3], disk.read("a/g")[4090:4100]
    window.close()
    disk.close(fd)
    disk.remove("a/g")
    disk.remove("a/g")
    disk.sync_folder("a")
    yield disk.entries("a")


def _answer(call: Callable[[], object]) -> object:
    try:
        return call()
    except OSError as error:
        return error.errno
