# SPDX-License-Identifier: GPL-2.0-or-later
"""openxt_ovf.archive and slices: archives from outside are read where they lie, or refused."""

import bz2
import gzip
import io
import lzma
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openxt_core.errors import BadRequest, OpenxtError, Refused
from openxt_ovf.archive import open_archive
from openxt_ovf.slices import Slice, write_all

MEMBERS = {"a.ovf": b"descriptor", "folder/b": bytes(range(256)) * 9, "empty": b""}


def tar(format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for name, data in {**MEMBERS, "long/" + "x" * 150: b"long"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in MEMBERS.items():
            archive.writestr(name, data)
    return buffer.getvalue()


KINDS: dict[str, Callable[[], bytes]] = {
    "pax": tar,
    "gnu": lambda: tar(tarfile.GNU_FORMAT),
    "gzip": lambda: gzip.compress(tar()),
    "bzip2": lambda: bz2.compress(tar()),
    "xz": lambda: lzma.compress(tar()),
    "zip": zipped,
}


@pytest.mark.parametrize("kind", KINDS)
def test_members_are_found_with_their_content(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.ova"
    path.write_bytes(KINDS[kind]())
    found = open_archive(path, tmp_path)
    for name, data in MEMBERS.items():
        part = found.find(name)
        assert part is not None
        assert (part.size, b"".join(part.chunks()), part.open().read()) == (len(data), data, data)
        assert part.head(5) + part.tail(0) == data[:5]
    assert set(MEMBERS) <= set(found.names())
    assert found.find("nothing") is None


def test_a_plain_archive_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "x.ova"
    path.write_bytes(tar())
    part = open_archive(path, tmp_path).find("folder/b")
    assert part is not None
    assert part.path == path
    assert list(tmp_path.iterdir()) == [path]


@given(st.sampled_from(sorted(KINDS)), st.data())
def test_a_damaged_archive_is_read_or_refused(kind: str, data: st.DataObject) -> None:
    content = bytearray(KINDS[kind]())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=20))
        content = content or bytearray(b"x")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.ova"
        path.write_bytes(content)
        try:
            found = open_archive(path, Path(folder))
            for name in found.names():
                assert ".." not in name.split("/")
                part = found.find(name)
                assert part is not None
                assert len(b"".join(part.chunks())) == part.size
        except OpenxtError:
            pass


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_bytes(b"kept")
    with pytest.raises(Refused, match="already exists and would be overwritten, aborting!"):
        write_all(target, [b"new"])
    assert target.read_bytes() == b"kept"


def test_what_fails_while_it_is_written_leaves_no_file(tmp_path: Path) -> None:
    part = Slice(tmp_path / "absent", 0, 10)
    with pytest.raises(OpenxtError):
        write_all(tmp_path / "x", part.chunks())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BadRequest, match="has more than"):
        Slice(tmp_path, 0, 10 << 20).read(1 << 20, "it")
