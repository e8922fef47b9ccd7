# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that take a guest's writes, made and read by the real qemu-img, qemu-nbd and qemu-io."""

import shutil
import subprocess
from pathlib import Path

import pytest

from openxt_xenvm.dom0 import overlays

MIB = 1 << 20
SECRET = b"\xa7" * MIB
CONTENT = b"b" * MIB + b"\0" * MIB

pytestmark = pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-utils")


@pytest.fixture(autouse=True)
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(overlays, "KEYS", tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    file = tmp_path / "base"
    file.write_bytes(CONTENT)
    return file


def io(overlay: Path, *commands: str, enciphered: bool) -> str:
    """As the guest reads and writes it."""
    if enciphered:
        *words, image = overlays.served_as(str(overlay), enciphered=True)
    else:
        words, image = ["-f", "qcow2"], str(overlay)
    order = [flag for command in commands for flag in ("-c", command)]
    done = subprocess.run(["qemu-io", *words, *order, image], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_an_overlay_takes_the_writes_and_the_base_stays(base: Path, keys: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "disk.snap.tmp.qcow2"
    overlays.make(str(overlay), str(base), "raw", enciphered=False)
    takes_writes(overlay, enciphered=False)
    assert SECRET in overlay.read_bytes()
    assert base.read_bytes() == CONTENT
    assert not keys.exists()


def takes_writes(overlay: Path, *, enciphered: bool) -> None:
    told = io(
        overlay, "read -P 0x62 0 1M", "write -P 0xa7 1M 1M", "read -P 0xa7 1M 1M", enciphered=enciphered
    )
    assert told.count("1 MiB, 1 ops") == 3, told
    assert "Pattern verification failed" not in told


@pytest.mark.parametrize("enciphered", [False, True])
def test_who_serves_an_overlay_is_known_by_its_command_line(enciphered: bool) -> None:
    words = ("qemu-nbd", *overlays.served_as("/a, b/disk", enciphered=enciphered))
    assert overlays.is_served("/a, b/disk", words)
    assert not overlays.is_served("/disk", words)
    assert not overlays.is_served(" b/disk", words)


def test_an_enciphered_overlay_is_read_with_its_key_alone(base: Path, keys: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "disk, with a comma.snap.tmp.qcow2"
    overlays.make(str(overlay), str(base), "raw", enciphered=True)
    (key,) = keys.iterdir()
    assert key.stat().st_mode & 0o777 == 0o600
    takes_writes(overlay, enciphered=True)
    assert SECRET not in overlay.read_bytes()
    assert base.read_bytes() == CONTENT
    overlays.forget_key(str(overlay))
    assert list(keys.iterdir()) == []
    assert "1 ops" not in io(overlay, "read 0 1M", enciphered=True)
    for _ in range(2):
        overlays.forget(str(overlay))
        assert not overlay.exists()
