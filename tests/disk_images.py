# SPDX-License-Identifier: GPL-2.0-or-later
"""Real disk images for tests: file systems made of folders, whole disks of them, other formats."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MIB = 1 << 20
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")


def tool(name: str) -> str:
    """Path of a program that may be outside a user's PATH."""
    found = shutil.which(name, path=PATH)
    assert found, f"{name} is not installed"
    return found


def run(name: str, *arguments: object) -> str:
    command = [tool(name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def ext4(image: Path, tree: Path, mib: int = 16, kind: str = "ext4") -> Path:
    """A new image with a copy of `tree`."""
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(mib * MIB)
    run("mke2fs", "-q", "-t", kind, "-d", tree, image)
    return image


def squashfs(image: Path, tree: Path, *options: str) -> Path:
    image.unlink(missing_ok=True)
    run("mksquashfs", tree, image, "-noappend", "-quiet", "-no-progress", *options)
    return image


def converted(image: Path, format: str, to: Path) -> Path:
    """The same disk in another of QEMU's formats."""
    run("qemu-img", "convert", "-f", "raw", "-O", format, image, to)
    return to


def disk_with(image: Path, *partitions: Path) -> Path:
    """A disk with an MBR table and these file systems, each after the other from the first MiB on."""
    table = bytearray(512)
    content = bytearray(MIB)
    for at, partition in enumerate(partitions):
        whole = partition.read_bytes()
        entry = bytes([0, 0, 0, 0, 0x83, 0, 0, 0])
        entry += (len(content) // 512).to_bytes(4, "little") + (len(whole) // 512).to_bytes(4, "little")
        table[446 + 16 * at : 462 + 16 * at] = entry
        content += whole
    table[510:] = b"\x55\xaa"
    content[:512] = table
    image.write_bytes(content)
    return image


def debugfs(image: Path, request: str) -> str:
    """Change an ext image from outside, as somebody who tampers would."""
    return run("debugfs", "-w", "-R", request, image)
