# SPDX-License-Identifier: GPL-2.0-or-later
"""Run programs of the host: found by PATH, words and never a shell, their complaints in the error."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import IO

from openxt_core.errors import NotSupported, Unavailable

ALSO_SEARCHED = "/usr/local/sbin:/usr/sbin:/sbin"
COMPLAINT_LIMIT = 400
READS_WHAT_COMES = ("qemu-img", "bsdtar")  # images and archives from outside, which may claim any size
MEMORY_LIMIT = 4 << 30  # of address space, threads' stacks included
PACKAGES = {
    "qemu-img": "Debian's qemu-utils",
    "genisoimage": "Debian's genisoimage",
    "bsdtar": "Debian's libarchive-tools",
    "mke2fs": "Debian's e2fsprogs",
    "tune2fs": "Debian's e2fsprogs",
    "mkfs.ntfs": "Debian's ntfs-3g",
    "mkfs.minix": "Debian's util-linux",
    "mkswap": "Debian's util-linux",
    "openssl": "Debian's openssl",
    "vhd-util": "OpenXT's blktap (Debian 12 has no package of it)",
    "tap-ctl": "OpenXT's blktap (Debian 12 has no package of it)",
}

_PERCENT = re.compile(rb"\((\d{1,3}(?:\.\d+)?)/100%\)")


def found(name: str) -> str | None:
    """Path of a program; None where it is not installed."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{ALSO_SEARCHED}")


def needed(name: str) -> str:
    """Path of a program.  Raises NotSupported naming the package that has it."""
    path = found(name)
    if path is None:
        raise NotSupported(f"{name} is not installed on this host: install {PACKAGES.get(name, 'it')}")
    return path


def run(
    name: str,
    *words: str,
    more: Mapping[str, str] | None = None,
    percent: Callable[[float], None] | None = None,
) -> str:
    """What the program prints; `more` is added to its environment, `percent` told qemu-img's progress.

    The program ends with us: what interrupts this ends it first.  Raises Unavailable when it fails.
    """
    environ = {**os.environ, "LC_ALL": "C.UTF-8", **(more or {})}
    limit = ("prlimit", f"--as={MEMORY_LIMIT}", "--") if name in READS_WHAT_COMES else ()
    command = (*limit, needed(name), *words)
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ
        )
    except OSError as error:
        raise Unavailable(f"{name} cannot be run: {error.strerror}") from error
    with process:
        try:
            output, complaint = _conversation(process, percent)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        text = (complaint or output).decode(errors="replace").strip()[-COMPLAINT_LIMIT:] or "no reason given"
        raise Unavailable(f"{name} failed with exit status {process.returncode}: {text}")
    return output.decode(errors="replace")


def _conversation(
    process: "subprocess.Popen[bytes]", percent: Callable[[float], None] | None
) -> tuple[bytes, bytes]:
    if percent is not None and process.stdout is not None:
        for figure in _figures(process.stdout):
            percent(figure)
    return process.communicate()


def _figures(stream: IO[bytes]) -> Iterator[float]:
    """The percentages that qemu-img -p prints, each followed by a carriage return."""
    rest = b""
    while data := os.read(stream.fileno(), 4096):
        *lines, rest = (rest + data).split(b"\r")
        for line in lines:
            if (found := _PERCENT.search(line)) is not None:
                yield float(found[1])
        rest = rest[-100:]
