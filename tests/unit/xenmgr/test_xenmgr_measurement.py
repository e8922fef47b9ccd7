# SPDX-License-Identifier: GPL-2.0-or-later
# ruff: noqa: PTH102, PTH115, PTH208, PTH211  (names are bytes here)
"""The number of a tree, against a second, naive reading of what `measurement` documents; hostile trees."""

import hashlib
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openxt_xenmgr.host.measurement import PIECE, entries, measure, opened

WORKERS = 2
IS_ROOT = os.geteuid() == 0


def number(tree: Path) -> str:
    return measure(os.fsencode(tree), WORKERS)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# The naive reading: recursive, everything in memory, one thread.


def naive(tree: Path) -> str:
    return sha256(b"openxt-measurement 1\0" + b"".join(naive_records(os.fsencode(tree), b".")))


def naive_records(real: bytes, path: bytes) -> list[bytes]:
    found = [naive_record(real, path)]
    if stat.S_ISDIR(os.lstat(real).st_mode):
        for name in sorted(os.listdir(real)):
            found += naive_records(real + b"/" + name, name if path == b"." else path + b"/" + name)
    return found


def naive_record(real: bytes, path: bytes) -> bytes:
    info = os.lstat(real)
    kind = stat.filemode(info.st_mode)[0].replace("-", "f")
    content = "-"
    if kind == "f":
        with open(real, "rb") as file:
            whole = file.read()
        pieces = [whole[at : at + 4194304] for at in range(0, len(whole), 4194304)]
        kind = "f" if len(whole) <= 4194304 else "F"
        joined = b"".join(hashlib.sha256(piece).digest() for piece in pieces)
        content = sha256(whole if kind == "f" else joined)
    elif kind == "l":
        content = sha256(os.readlink(real))
    elif kind in "bc":
        content = f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"
    text = b""
    for name in sorted(os.listxattr(real, follow_symlinks=False)):
        value = os.getxattr(real, name, follow_symlinks=False)
        text += name.encode() + b"\0" + str(len(value)).encode() + b" " + value
    attributes = sha256(text) if text else "-"
    mode = f"{info.st_mode & 0o7777:04o}"
    fields = f"{kind} {mode} {info.st_uid} {info.st_gid} {content} {attributes} "
    return fields.encode() + path + b"\0"


NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: not {0, 0x2F} & set(name) and name.strip(b"."))
LEAVES = st.one_of(
    st.binary(max_size=40).map(lambda content: ("file", content)),
    st.binary(min_size=1, max_size=20).filter(lambda text: 0 not in text).map(lambda text: ("link", text)),
    st.just(("pipe", b"")),
)
TREES = st.recursive(LEAVES, lambda inner: st.dictionaries(NAMES, inner, max_size=5), max_leaves=20)


def make(path: bytes, what: object) -> None:
    match what:
        case dict():
            os.mkdir(path)
            for name, inner in what.items():
                make(path + b"/" + name, inner)
        case "file", bytes(content):
            with open(path, "wb") as file:
                file.write(content)
        case "link", bytes(target):
            os.symlink(target, path)
        case _:
            os.mkfifo(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=st.dictionaries(NAMES, TREES, max_size=6))
def test_it_is_the_number_that_the_documented_order_gives(
    tree: dict[bytes, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tree") / "it"
    make(os.fsencode(folder), tree)
    assert number(folder) == naive(folder)


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 5 * PIECE + 77])
def test_files_of_any_size_are_read_whole(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    before = number(tmp_path)
    assert before == naive(tmp_path)
    (tmp_path / "file").write_bytes(content + b"\0")
    assert number(tmp_path) != before


def test_many_files_are_in_the_order_of_their_names_whoever_hashed_them(tmp_path: Path) -> None:
    for at in range(700):
        (tmp_path / f"{at * 7919 % 700}").write_bytes(os.urandom(at % 5 * 1000))
    (tmp_path / "350x").write_bytes(os.urandom(3 * PIECE))
    assert number(tmp_path) == naive(tmp_path)
    assert measure(os.fsencode(tmp_path), 1) == measure(os.fsencode(tmp_path), 7)


# What counts and what does not


def plain_tree(folder: Path) -> Path:
    (folder / "bin").mkdir()
    (folder / "bin/sh").write_bytes(b"#!")
    (folder / "bin/sh").chmod(0o755)
    (folder / "etc").mkdir()
    (folder / "etc/passwd").write_text("root")
    (folder / "etc/link").symlink_to("passwd")
    return folder


CHANGES: dict[str, Callable[[Path], object]] = {
    "one byte": lambda it: (it / "etc/passwd").write_text("toor"),
    "a name": lambda it: (it / "etc/passwd").rename(it / "etc/passwd-"),
    "a folder": lambda it: (it / "etc/passwd").rename(it / "bin/passwd"),
    "an empty folder": lambda it: (it / "etc/new").mkdir(),
    "an empty file": lambda it: (it / "etc/new").touch(),
    "one that is gone": lambda it: (it / "etc/passwd").unlink(),
    "permissions": lambda it: (it / "etc/passwd").chmod(0o666),
    "setuid": lambda it: (it / "bin/sh").chmod(0o4755),
    "the root's permissions": lambda it: it.chmod(0o777),
    "a link's target": lambda it: ((it / "etc/link").unlink(), (it / "etc/link").symlink_to("shadow")),
    "a link in place of a file": lambda it: ((it / "bin/sh").unlink(), (it / "bin/sh").symlink_to("#!")),
    "a pipe in place of a file": lambda it: ((it / "bin/sh").unlink(), os.mkfifo(it / "bin/sh")),
    "an attribute": lambda it: os.setxattr(it / "bin/sh", b"user.it", b"1"),
}
AS_ROOT: dict[str, Callable[[Path], object]] = {
    "an owner": lambda it: os.chown(it / "etc/passwd", 7, -1),
    "a group": lambda it: os.lchown(it / "etc/link", -1, 7),
    "a device": lambda it: os.mknod(it / "etc/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3)),
    "capabilities": lambda it: os.setxattr(
        it / "bin/sh", b"security.capability", bytes.fromhex("0100000200200000000000000000000000000000")
    ),
}


@pytest.mark.parametrize("name", [*CHANGES, *(AS_ROOT if IS_ROOT else ())])
def test_any_change_of_what_is_there_changes_the_number(tmp_path: Path, name: str) -> None:
    tree = plain_tree(tmp_path)
    before = number(tree)
    (CHANGES | AS_ROOT)[name](tree)
    assert number(tree) != before
    assert number(tree) == naive(tree)


@pytest.mark.skipif(not IS_ROOT, reason="only root makes devices")
def test_another_device_is_another_number(tmp_path: Path) -> None:
    found = set()
    for kind, minor in ((stat.S_IFCHR, 3), (stat.S_IFCHR, 5), (stat.S_IFBLK, 3)):
        os.mknod(tmp_path / "device", kind, os.makedev(1, minor))
        found.add(number(tmp_path))
        (tmp_path / "device").unlink()
    assert len(found) == 3


def test_times_and_the_order_of_making_do_not_count(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, names in ((one, "abcdef"), (other, "fedcba")):
        folder.mkdir()
        for name in names:
            (folder / name).write_text(name)
    os.utime(other / "c", (1, 1))
    assert number(one) == number(other)


def test_a_hole_is_the_same_as_zeros(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    size = 3 * PIECE + 5
    for folder in (one, other):
        folder.mkdir()
    with (one / "file").open("wb") as file:
        file.truncate(size)
        file.seek(PIECE + 100)
        file.write(b"x")
    content = bytearray(size)
    content[PIECE + 100] = ord("x")
    (other / "file").write_bytes(content)
    assert number(one) == number(other) == naive(other)


# Hostile trees


def test_a_huge_file_without_content_takes_no_time_to_speak_of(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    first = number(tmp_path)
    with (tmp_path / "huge").open("r+b") as file:
        file.seek((1 << 40) - 1)
        file.write(b"!")
    assert number(tmp_path) != first


def test_nothing_is_followed_or_waited_for(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("1")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "out").symlink_to(outside)
    (tree / "up").symlink_to("..")
    (tree / "self").symlink_to("self")
    (tree / "loop").symlink_to(".")
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tree / "socket"))
        before = number(tree)
    (outside / "secret").write_text("2")
    assert number(tree) == before == naive(tree)


def test_a_file_with_many_names_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0").write_bytes(os.urandom(PIECE + 1))
    for at in range(1, 300):
        (tmp_path / str(at)).hardlink_to(tmp_path / "0")
    opened = []
    real = os.open

    def counted(path: bytes, flags: int) -> int:
        opened.append(path)
        return real(path, flags)

    monkeypatch.setattr(os, "open", counted)
    assert number(tmp_path) == naive(tmp_path)
    assert len(opened) == 1


def test_odd_names_are_names(tmp_path: Path) -> None:
    for name in (b"\n", b"\xff\xfe", b"-rf", b"a b", b"\x1b[2J", b"x" * 255, "é".encode()):
        (tmp_path / os.fsdecode(name)).write_bytes(name)
    assert number(tmp_path) == naive(tmp_path)


def test_a_tree_deeper_than_a_path_is_refused_with_the_reason(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(20):
            os.mkdir("d" * 250, dir_fd=here)
            below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
    finally:
        os.close(here)
    with pytest.raises(OSError, match="File name too long"):
        number(tmp_path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad").write_bytes(b"1234")

    def fails(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fails)
    with pytest.raises(OSError, match=r"Input/output error.*bad"):
        number(tmp_path)


def test_a_file_is_never_taken_for_a_shorter_one(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345678")
    found = [entry for entry in entries(os.fsencode(tmp_path)) if entry.is_file]
    file.write_bytes(b"1234")
    with pytest.raises(OSError, match="changed while it was measured"):
        opened(found[0])
