# SPDX-License-Identifier: GPL-2.0-or-later
"""VHD images: what qemu-img makes and measures, and the command lines of vhd-util and tap-ctl."""

import json
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from openxt_core.errors import BadRequest, CryptoKeyAlreadyExists, IoError, NotSupported, VhdKeyAlreadySet
from openxt_core.places import Places
from openxt_xenmgr.host import images, programs

QEMU_IMG = shutil.which("qemu-img") or "qemu-img"

# Keeps vhd-util's promises on keys: a file beside the image holds what `-k` named.
VHD_UTIL = """#!/bin/sh
echo "$@" >> {log}
case "$1" in
    key) [ "$4" = -p ] && {{ cat "$3.key" 2>/dev/null || echo none; exit 0; }}
         [ -e {broken} ] && {{ echo "no header" >&2; exit 22; }}
         cp "$5" "$3.key" ;;
esac
"""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


@pytest.fixture
def bin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(programs, "ALSO_SEARCHED", "")
    return folder


@pytest.fixture
def vhd_util(bin: Path, tmp_path: Path) -> Path:
    """The log of what it was asked."""
    log = tmp_path / "log"
    (bin / "vhd-util").write_text(VHD_UTIL.format(log=log, broken=tmp_path / "broken"))
    (bin / "vhd-util").chmod(0o755)
    return log


@pytest.mark.parametrize("size_mb", [1, 81920, images.MAX_MB])
async def test_qemu_img_makes_an_image_of_exactly_that_size(bin: Path, places: Places, size_mb: int) -> None:
    image = await images.create(places, size_mb)
    told = subprocess.run(
        [QEMU_IMG, "info", "--output=json", image], capture_output=True, check=True, text=True
    )
    known = json.loads(told.stdout)
    assert (known["format"], known["virtual-size"]) == ("vpc", size_mb << 20)
    assert image.parent == places.storage / "disks"
    assert stat.S_IMODE(image.stat().st_mode) == 0o600
    assert await images.virtual_mb(image) == size_mb
    assert 0 < await images.used_bytes(image) <= 8 << 20


@pytest.mark.parametrize("size_mb", [-1, 0, images.MAX_MB + 1])
async def test_a_size_out_of_range_is_refused_and_leaves_nothing(places: Places, size_mb: int) -> None:
    with pytest.raises(BadRequest, match="size_mb cannot be"):
        await images.create(places, size_mb)
    assert not places.storage.exists()


async def test_a_host_without_either_program_is_told_the_package(
    bin: Path, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(bin))
    with pytest.raises(NotSupported, match="install Debian's qemu-utils"):
        await images.create(places, 1)


async def test_a_storage_that_is_no_folder_is_an_io_error(bin: Path, places: Places) -> None:
    places.storage.write_text("")
    with pytest.raises(IoError, match="IO error: "):
        await images.create(places, 1)


async def test_vhd_util_is_preferred(vhd_util: Path, places: Places) -> None:
    with pytest.raises(IoError):  # the stand-in makes no file to give to root alone
        await images.create(places, 7)
    words = vhd_util.read_text().split()
    assert words[:4] == ["create", "-s", "7", "-n"]


async def test_what_is_no_image_has_no_size(bin: Path, tmp_path: Path) -> None:
    for image in (tmp_path / "none.vhd", tmp_path):
        assert (await images.virtual_mb(image), await images.used_bytes(image)) == (0, 0)
        assert await images.has_key(image) is False


@pytest.mark.parametrize("bits", images.KEY_BITS)
async def test_a_key_is_made_once_for_root_alone(vhd_util: Path, tmp_path: Path, bits: int) -> None:
    image = tmp_path / "disk.vhd"
    key = await images.make_key(image, bits, tmp_path)
    assert key.name == f"disk,aes-xts-plain,{bits}.key"
    assert len(key.read_bytes()) == bits // 8
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert vhd_util.read_text().splitlines()[-1] == f"key -n {image} -k {key} -s"
    with pytest.raises(CryptoKeyAlreadyExists):
        await images.make_key(image, bits, tmp_path)
    key.unlink()
    with pytest.raises(VhdKeyAlreadySet):
        await images.make_key(image, bits, tmp_path)


async def test_a_key_that_the_image_does_not_take_is_gone_again(vhd_util: Path, tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    with pytest.raises(IoError, match="no header"):
        await images.make_key(tmp_path / "disk.vhd", 512, tmp_path)
    assert not list(tmp_path.glob("*.key"))


async def test_another_key_size_is_refused(vhd_util: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="256 and 512"):
        await images.make_key(tmp_path / "disk.vhd", 128, tmp_path)


async def test_keys_and_attaching_need_blktap(bin: Path, tmp_path: Path) -> None:
    with pytest.raises(NotSupported, match="vhd-util is not installed"):
        await images.make_key(tmp_path / "disk.vhd", 256, tmp_path)
    with pytest.raises(NotSupported, match="tap-ctl is not installed"):
        await images.attach(tmp_path / "disk.vhd", readonly=True, key_folders=())
