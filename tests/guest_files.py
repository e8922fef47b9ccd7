# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that a test puts into a Linux guest: a second archive behind the bed's initrd, unpacked over it."""

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from disk_images import run

BED_INITRD = Path("/guest/initrd.gz")
PROGRAMS = Path("/openxt/guest")  # of native/guest, static

PRELUDE = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
cd "/lib/modules/$(uname -r)"
while read -r module; do insmod "$module"; done <load.order
mount -t xenfs xenfs /proc/xen
cd /
"""


def initrd_with(files: Mapping[str, bytes]) -> bytes:
    """The bed's initrd and these files, by their names from the root; all are executable.

    Ours are not compressed: Xen's library takes a file that ends like a gzip file for a single one, and would
    unpack the first part only.
    """
    return _padded(BED_INITRD.read_bytes()) + archive(files)


def archive(files: Mapping[str, bytes]) -> bytes:
    """A cpio archive.  Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst."""
    folders = {str(folder): None for name in files for folder in _folders(name)}
    parts = [_entry(folder, b"", 0o040755) for folder in folders]
    parts += [_entry(name, content, 0o100755) for name, content in files.items()]
    return b"".join(parts) + _entry("TRAILER!!!", b"", 0)


def _folders(name: str) -> Iterator[PurePosixPath]:
    """From the outermost to the nearest."""
    yield from list(PurePosixPath(name).parents)[-2::-1]


def _entry(name: str, content: bytes, mode: int) -> bytes:
    words = (1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % word for word in words) + name.encode() + b"\0"
    return _padded(head) + _padded(content)


def _padded(part: bytes) -> bytes:
    return part + bytes(-len(part) % 4)


def ours(*names: str) -> dict[str, bytes]:
    """Programs of ours for guests."""
    return {f"usr/bin/{name}": (PROGRAMS / name).read_bytes() for name in names}


def of_dom0(program: str) -> dict[str, bytes]:
    """A program of dom0, with the libraries that it needs."""
    path = shutil.which(program)
    assert path is not None, program
    libraries = re.findall(r"(/\S+) \(0x", run("ldd", path))
    return {name.lstrip("/"): Path(name).read_bytes() for name in (path, *libraries)}


def modules_of_dom0(*names: str) -> dict[str, bytes]:
    """Modules that the bed's initrd has not: the guest's kernel is dom0's.  They are /more/NAME.ko."""
    return {f"more/{name}.ko": Path(run("modinfo", "-n", name).strip()).read_bytes() for name in names}
