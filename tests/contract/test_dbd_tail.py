# SPDX-License-Identifier: GPL-2.0-or-later
"""The end of a journal in memory: the same by the module in C and by the one in Python."""

import importlib
import mmap
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effort import effort
from openxt_dbd import journal, record_file
from openxt_dbd.disk import Disk
from openxt_dbd.tail import encode

PATH = ("vm", "00000000-0000-0000-0000-000000000001", "config", "memory")
MODULES = ("openxt_dbd.tail", "_openxt_quick")


@pytest.fixture(params=MODULES)
def module(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(request.param)


def window(size: int = mmap.PAGESIZE) -> mmap.mmap:
    return mmap.mmap(-1, size)


def test_records_follow_each_other_as_long_as_there_is_room(module: ModuleType) -> None:
    memory = window()
    tail = module.Tail(memory, 10)
    assert tail.write(b"one")
    assert tail.write_text(7, PATH, "1024")
    line = encode(("s", 7, PATH, "1024"))
    assert memory[:200].strip(b"\0") == b"one" + line
    assert tail.at == 13 + len(line)
    assert not tail.write(bytes(len(memory) - tail.at + 1))
    assert tail.write(bytes(len(memory) - tail.at))
    assert not tail.write(b"x")
    assert not tail.write_text(8, PATH, "")
    assert tail.at == len(memory)


def test_a_closed_one_takes_nothing_and_lets_go_of_the_window(module: ModuleType) -> None:
    memory = window()
    tail = module.Tail(memory, 5)
    with pytest.raises(BufferError):
        memory.close()
    tail.close()
    tail.close()
    assert not tail.write(b"x")
    assert not tail.write_text(1, PATH, "x")
    assert tail.at == 5
    memory.close()
    with pytest.raises(ValueError, match="not in the window"):
        module.Tail(window(), mmap.PAGESIZE + 1)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.text(
    st.sampled_from('a"\\\x1f é')
)


@given(number=st.integers(0, 2**64 - 1), path=st.lists(TEXTS, min_size=1, max_size=6).map(tuple), text=TEXTS)
def test_a_text_leaf_is_the_line_that_a_replay_reads_or_is_left_alone(
    number: int, path: tuple[str, ...], text: str
) -> None:
    for name in MODULES:
        memory = window()
        tail = importlib.import_module(name).Tail(memory, 0)
        line = encode(("s", number, path, text)) if tail.write_text(number, path, text) else b""
        assert memory[: tail.at] == line
        is_usual = all(
            one.isascii() and one.isprintable() and not set(one) & {'"', "\\"} for one in (*path, text)
        )
        assert bool(line) >= is_usual


def test_long_lines_are_written_or_left_alone(module: ModuleType) -> None:
    for size in range(1900, 2100):
        memory = window()
        tail = module.Tail(memory, 0)
        if tail.write_text(1, PATH, "x" * size):
            assert memory[: tail.at] == encode(("s", 1, PATH, "x" * size))
        else:
            assert memory[:].strip(b"\0") == b""


@pytest.mark.parametrize(
    "arguments", [(), (1, PATH), (-1, PATH, ""), (2**64, PATH, ""), ("1", PATH, ""), (1, ["a"], "")]
)
def test_nonsense_is_refused(arguments: tuple[Any, ...]) -> None:
    memory = window()
    with pytest.raises((TypeError, OverflowError)):
        importlib.import_module("_openxt_quick").Tail(memory, 0).write_text(*arguments)
    assert memory[:].strip(b"\0") == b""


def test_what_several_threads_write_is_there_whole(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One makes room again and again, while the other writes where there is some."""
    monkeypatch.setattr(record_file, "Tail", module.Tail)
    monkeypatch.setattr(record_file, "ROOM_BYTES", 200)
    written = journal.Journal(Disk(tmp_path))
    times = effort(2_000, 50_000)

    def note() -> None:
        for number in range(times):
            written.note_saved(journal.Unit("vm", "a" * (number % 90)), b"digest", number)

    thread = threading.Thread(target=note)
    thread.start()
    for number in range(times):
        written.append_string(PATH, str(number))
    thread.join()
    written.close()
    replay = journal.Journal(Disk(tmp_path)).replay()
    assert [change.node for _, change in replay.changes] == [str(number) for number in range(times)]
    assert [number for number, _, _ in replay.saved] == list(range(times))
