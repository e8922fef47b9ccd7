# SPDX-License-Identifier: GPL-2.0-or-later
"""Looking into real disk images: sums and files come out, nothing stays mounted, nothing leads out."""

import asyncio
import hashlib
import os
import re
import shutil
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from disk_images import MIB, converted, debugfs, disk_with, ext4, needs_root, run, squashfs
from openxt_core.errors import BadRequest, IoError, NotSupported, OpenxtError, Unavailable
from openxt_xenmgr.host import inspection
from openxt_xenmgr.host.inspection import copy_out, propagation, sha1_of, sha256_of
from openxt_xenmgr.host.measurement import measure
from openxt_xenmgr.host.opened import Image

pytestmark = needs_root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "boot").mkdir(parents=True)
    (folder / "boot/vmlinuz-6.1").write_bytes(b"a kernel" * 1000)
    (folder / "boot/vmlinuz").symlink_to("vmlinuz-6.1")
    (folder / "vmlinuz").symlink_to("/boot/vmlinuz")  # absolute: of the guest's root
    (folder / "etc").mkdir()
    (folder / "etc/hostname").write_text("guest")
    (folder / "etc/out").symlink_to("../../../../../../../../etc/passwd")
    os.mkfifo(folder / "pipe")
    os.mknod(folder / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    return folder


@pytest.fixture
def image(tmp_path: Path, tree: Path) -> Path:
    return ext4(tmp_path / "disk.img", tree)


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No loop device stays before our images, and no process or folder of a helper."""
    mounts = Path("/proc/mounts").read_text()
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    yield
    loops = [one.read_text() for one in Path("/sys/block").glob("loop*/loop/backing_file")]
    assert [loop for loop in loops if loop.startswith(str(tmp_path))] == []
    assert helpers(tmp_path) == []
    assert list(folder.iterdir()) == []
    assert str(tmp_path) not in Path("/proc/mounts").read_text().replace(mounts, "")


def helpers(tmp_path: Path) -> list[int]:
    """Processes that look into an image of this test."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = command.read_bytes()
        except OSError:  # it ended
            continue
        if str(tmp_path).encode() in text:
            found.append(int(command.parent.name))
    return found


def raw(image: Path, partition: int | None = None) -> Image:
    return Image("file", str(image), (), partition)


# Sums


async def test_the_sum_is_that_of_the_tree_whatever_holds_it(tmp_path: Path, tree: Path) -> None:
    image = squashfs(tmp_path / "a.squashfs", tree)
    expected = measure(os.fsencode(tree), 2)
    assert await sha256_of(raw(image)) == expected
    assert await sha256_of(raw(squashfs(tmp_path / "b.squashfs", tree, "-noI", "-noD"))) == expected


async def test_the_sum_of_a_file_system_is_the_same_in_every_kind_of_disk(
    tmp_path: Path, tree: Path, image: Path
) -> None:
    expected = await sha256_of(raw(image))
    vhd = converted(image, "vpc", tmp_path / "disk,1.vhd")
    qcow = converted(image, "qcow2", tmp_path / "disk.qcow2")
    disk = disk_with(tmp_path / "whole.img", ext4(tmp_path / "other", tree / "etc"), image)
    assert await sha256_of(Image("vhd", str(vhd))) == expected
    assert await sha256_of(Image("qcow", str(qcow))) == expected
    assert await sha256_of(raw(disk, 2)) == expected
    assert await sha256_of(raw(disk, 1)) != expected


async def test_looking_at_an_image_does_not_change_it(image: Path) -> None:
    before = image.read_bytes()
    await sha256_of(raw(image))
    await sha256_of(Image("phy", str(image)))
    assert image.read_bytes() == before


async def test_a_changed_file_changes_the_sum_and_a_read_one_does_not(image: Path, tmp_path: Path) -> None:
    before = await sha256_of(raw(image))
    debugfs(image, "set_inode_field /etc/hostname atime 20300101")
    assert await sha256_of(raw(image)) == before
    evil = tmp_path / "evil"
    evil.write_text("Guest")
    debugfs(image, "rm /etc/hostname")
    debugfs(image, f"write {evil} /etc/hostname")
    assert await sha256_of(raw(image)) != before


async def test_the_old_sum_is_of_all_bytes_as_the_guest_sees_them(tmp_path: Path, image: Path) -> None:
    whole = hashlib.sha1(image.read_bytes()).hexdigest()
    assert await sha1_of(raw(image)) == whole
    qcow = converted(image, "qcow2", tmp_path / "disk.qcow2")
    assert await sha1_of(Image("qcow", str(qcow))) == whole


# What cannot be looked into


def swap(image: Path) -> Path:
    image.write_bytes(bytes(MIB))
    image.chmod(0o600)
    run("mkswap", image)
    return image


async def refused(image: Image) -> OpenxtError:
    with pytest.raises(OpenxtError, match=re.escape(image.path)) as found:
        await sha256_of(image)
    return found.value


async def test_what_cannot_be_mounted_is_said_with_the_reason(tmp_path: Path, image: Path) -> None:
    cases: dict[str, bytes] = {
        "no file system that is known": bytes(MIB),
        "partition table (dos), and no file system": disk_with(tmp_path / "whole", image).read_bytes(),
        "file system of type swap": swap(tmp_path / "swap").read_bytes(),
    }
    for words, content in cases.items():
        other = tmp_path / "other"
        other.write_bytes(content)
        error = await refused(raw(other))
        assert isinstance(error, NotSupported)
        assert words in str(error)


async def test_a_file_system_that_was_not_unmounted_is_refused_and_not_touched(image: Path) -> None:
    debugfs(image, "feature needs_recovery")
    before = image.read_bytes()
    error = await refused(raw(image))
    assert "not unmounted cleanly" in str(error)
    assert image.read_bytes() == before


async def test_damaged_cut_and_foreign_images_are_errors(tmp_path: Path, image: Path) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(image.read_bytes()[: MIB // 2])
    assert isinstance(await refused(raw(cut)), IoError)
    for type in ("vhd", "qcow"):
        assert isinstance(await refused(Image(type, str(cut))), OpenxtError)
    assert isinstance(await refused(Image("vdi", str(image))), NotSupported)
    assert isinstance(await refused(raw(tmp_path / "none")), IoError)
    assert isinstance(await refused(raw(image, 1)), BadRequest)


async def test_a_pipe_or_a_folder_in_place_of_an_image_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        assert "neither a file nor a block device" in str(await refused(raw(path)))


async def test_an_enciphered_image_is_not_taken_for_its_cipher(tmp_path: Path, image: Path) -> None:
    vhd = converted(image, "vpc", tmp_path / "disk.vhd")
    (tmp_path / "disk,aes-xts-plain,512.key").write_bytes(bytes(64))
    error = await refused(Image("vhd", str(vhd), (str(tmp_path),)))
    assert "enciphered" in str(error)


# Files out of an image


@pytest.mark.parametrize("path", ["/boot/vmlinuz-6.1", "boot/vmlinuz", "/vmlinuz", "/../vmlinuz"])
async def test_a_file_comes_out_through_links_of_the_guest(image: Path, tmp_path: Path, path: str) -> None:
    target = tmp_path / "kernel"
    target.write_text("an old one")
    await copy_out(raw(image), path, target)
    assert target.read_bytes() == b"a kernel" * 1000
    assert [one.name for one in tmp_path.glob("kernel*")] == ["kernel"]


@pytest.mark.parametrize("path", ["/etc/out", "/etc", "/pipe", "/null", "/none", "/etc/hostname/x", ""])
async def test_what_is_no_file_of_the_guest_does_not_come_out(image: Path, tmp_path: Path, path: str) -> None:
    target = tmp_path / "kernel"
    target.write_text("an old one")
    with pytest.raises(OpenxtError):
        await copy_out(raw(image), path, target)
    assert target.read_text() == "an old one"
    assert [one.name for one in tmp_path.glob("kernel*")] == ["kernel"]


async def test_a_full_or_missing_folder_is_an_io_error(image: Path, tmp_path: Path) -> None:
    with pytest.raises(IoError, match="none"):
        await copy_out(raw(image), "/vmlinuz", tmp_path / "none/kernel")
    full = tmp_path / "full"
    full.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", full)
    try:
        with pytest.raises(IoError, match="No space left"):
            await copy_out(raw(image), "/vmlinuz", full / "kernel")
        assert not list(full.iterdir())
    finally:
        run("umount", full)


# Ends


async def test_one_that_takes_too_long_is_ended_and_leaves_nothing(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "TIMEOUT_S", 0.05)
    with pytest.raises(Unavailable, match="did not end within"):
        await sha256_of(raw(image))
    with pytest.raises(Unavailable, match="did not end within"):
        await sha256_of(Image("vhd", str(converted(image, "vpc", tmp_path / "disk.vhd"))))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_killed_at_any_point_it_leaves_no_mount_device_or_process(
    tmp_path: Path, tree: Path, how: signal.Signals
) -> None:
    with (tree / "big").open("wb") as file:
        file.truncate(1 << 38)
    vhd = converted(ext4(tmp_path / "disk.img", tree, 64), "vpc", tmp_path / "disk.vhd")
    looking = asyncio.ensure_future(sha256_of(Image("vhd", str(vhd))))
    while len(helpers(tmp_path)) < 2:  # the inspector, and what serves it the image
        await asyncio.sleep(0.005)
    os.kill(min(helpers(tmp_path)), how)
    with pytest.raises(IoError):
        await looking
    while helpers(tmp_path):
        await asyncio.sleep(0.005)
    for left in (tmp_path / "temporary").iterdir():  # of a process that could not tidy up
        shutil.rmtree(left)


@pytest.mark.parametrize(
    ("point", "options"), [("/", ()), ("/proc", ("--propagation", "unchanged"))], ids=["usual", "in a chroot"]
)
def test_mounts_are_kept_from_spreading_where_that_is_possible(point: str, options: tuple[str, ...]) -> None:
    assert propagation(f"21 20 8:1 / {point} rw,relatime - ext4 /dev/vda rw\n") == options
