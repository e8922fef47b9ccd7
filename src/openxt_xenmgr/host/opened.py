# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk image, opened for reading in this process: as raw bytes, and as a mounted file system.

To be used in a mount namespace of one's own (`inspector`), where all of it goes with the process: the loop
device frees itself, and so does the mount.  What the image holds is hostile: its kind is looked for, its
file system must be one of a few, and it is mounted read-only, without programs and devices, in a root that
no link leads out of.  Blocking.  Sources: mount(8), blkid(8), partx(8), qemu-storage-daemon(1); tap-ctl as
OpenXT used it in 2015.
"""

import contextlib
import ctypes
import os
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from openxt_core.errors import BadRequest, IoError, NotSupported, Unavailable
from openxt_xenmgr.host.images import BLKTAP, KEY_FOLDERS
from openxt_xenmgr.host.programs import needed

RAW_TYPES = frozenset({"phy", "file", "aio"})
QEMU_DRIVERS = {"vhd": "vpc", "qcow": "qcow2"}
READER = "qemu-storage-daemon"
READER_PACKAGE = "Debian's qemu-system-common"
READY_TIMEOUT_S = 30.0
POLL_S = 0.005
SECTOR = 512
PR_SET_PDEATHSIG = 1  # linux/prctl.h

# As blkid calls them.  Others are refused: each is code of dom0's kernel that a guest's bytes would reach.
FILE_SYSTEMS = ("ext2", "ext3", "ext4", "squashfs", "xfs", "btrfs", "erofs", "iso9660", "vfat")
MOUNT_OPTIONS = "ro,loop,nosuid,nodev,noexec"


@dataclass(frozen=True, slots=True)
class Image:
    """A disk of a VM as its configuration names it."""

    type: str
    path: str
    key_folders: tuple[str, ...] = ()
    partition: int | None = None  # None: the file system is on the whole disk

    @property
    def words(self) -> str:
        where = "" if self.partition is None else f"partition {self.partition} of "
        return f"{where}the disk image {self.path}"


@contextlib.contextmanager
def raw(image: Image) -> Iterator[str]:
    """Path of a file or device that reads as the disk's content.

    Raises NotSupported for types and ciphers that this host cannot read, IoError (223).
    """
    _need_readable(image)
    if image.type in RAW_TYPES:
        yield image.path
    elif image.type not in QEMU_DRIVERS:
        raise NotSupported(f"{image.words} is of type {image.type}, which cannot be read here")
    elif image.type == "vhd" and _found("tap-ctl"):
        with _tapped(image) as device:
            yield device
    else:
        with _exported(image) as file:
            yield file


def _need_readable(image: Image) -> None:
    """Raises IoError for what is neither a file nor a block device: a pipe would never end."""
    try:
        mode = Path(image.path).stat().st_mode
    except OSError as error:
        raise IoError(f"IO error: {image.words}: {error.strerror}") from error
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        raise IoError(f"IO error: {image.words} is neither a file nor a block device")


def _found(name: str) -> bool:
    with contextlib.suppress(NotSupported):
        return bool(needed(name, ""))
    return False


@contextlib.contextmanager
def _tapped(image: Image) -> Iterator[str]:
    tap_ctl = needed("tap-ctl", BLKTAP)
    more = {KEY_FOLDERS: ",".join(image.key_folders)}
    device = _output(tap_ctl, "create", "-R", "-a", f"vhd:{image.path}", more=more).strip()
    try:
        yield device
    finally:
        _output(tap_ctl, "destroy", "-d", device)


@contextlib.contextmanager
def _exported(image: Image) -> Iterator[str]:
    """A file of FUSE, served by a process of QEMU's that dies with this one."""
    if _has_key(image):
        raise NotSupported(f"{image.words} is enciphered, and reading it needs {BLKTAP}")
    with tempfile.TemporaryDirectory(prefix="openxt-image-") as folder:
        file, ready = Path(folder) / "raw", Path(folder) / "ready"
        file.touch()
        driver = QEMU_DRIVERS[image.type]
        command = (
            needed(READER, READER_PACKAGE),
            *("--blockdev", f"driver=file,node-name=file,read-only=on,filename={_escaped(image.path)}"),
            *("--blockdev", f"driver={driver},node-name=disk,read-only=on,file=file"),
            *("--export", f"type=fuse,id=it,node-name=disk,writable=off,mountpoint={_escaped(str(file))}"),
            *("--pidfile", str(ready)),
        )
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_dying_with(os.getpid()),  # safe: the inspector has one thread
        )
        try:
            _wait_until_served(server, ready, image)
            yield str(file)
        finally:
            if server.poll() is None:
                server.terminate()
                server.communicate()


def _has_key(image: Image) -> bool:
    stem = Path(image.path).stem
    return any(next(Path(folder).glob(f"{stem},*.key"), None) for folder in image.key_folders)


def _escaped(path: str) -> str:
    """A comma ends a value of QEMU's options unless it is doubled."""
    return path.replace(",", ",,")


def _dying_with(parent: int) -> Callable[[], None]:
    """For a child before it becomes a program: it is killed when `parent` ends.

    If that is dead already, it ends at once: setpriv(1) does not look at that, and its program would live on.
    """
    libc = ctypes.CDLL(None)

    def prepare() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def _wait_until_served(server: "subprocess.Popen[str]", ready: Path, image: Image) -> None:
    end = time.monotonic() + READY_TIMEOUT_S
    while not ready.exists():
        if server.poll() is not None:
            complaint = server.communicate()[1].strip()[-300:]
            raise IoError(f"IO error: {image.words} cannot be read: {complaint}")
        if time.monotonic() > end:
            raise Unavailable(f"{READER} did not serve {image.path} within {READY_TIMEOUT_S:g} s")
        time.sleep(POLL_S)


@contextlib.contextmanager
def mounted(source: str, image: Image) -> Iterator[str]:
    """A folder with the file system that `source` holds.  Raises NotSupported, BadRequest, IoError (223)."""
    start, size = (0, None) if image.partition is None else _extent(source, image)
    kind = _file_system(source, start, size, image)
    options = MOUNT_OPTIONS + (f",offset={start},sizelimit={size}" if size is not None else "")
    with tempfile.TemporaryDirectory(prefix="openxt-mount-") as folder:
        try:
            _output(needed("mount", "Debian's mount"), "-i", "-t", kind, "-o", options, source, folder)
        except IoError as error:
            raise IoError(
                f"IO error: {image.words} cannot be mounted as {kind} (one that was not unmounted cleanly is"
                f" not: playing its journal back would change it): {error}"
            ) from error
        try:
            yield folder
        finally:
            _output(needed("umount", "Debian's mount"), folder)


def _file_system(source: str, start: int, size: int | None, image: Image) -> str:
    """Its kind, in the kernel's words.  Raises NotSupported naming what is there in its place."""
    where = ("-O", str(start), *(("-S", str(size)) if size is not None else ()))
    blkid = needed("blkid", "Debian's util-linux")
    done = subprocess.run((blkid, "-p", *where, "-o", "export", source), capture_output=True, check=False)
    lines = done.stdout.decode(errors="replace").splitlines()
    known = dict(line.partition("=")[::2] for line in lines)
    kind = known.get("TYPE", "")
    if kind in FILE_SYSTEMS:
        return kind
    what = "no file system that is known"
    if kind:
        what = f"a file system of type {kind}; allowed are {', '.join(FILE_SYSTEMS)}"
    elif "PTTYPE" in known:
        what = f"a partition table ({known['PTTYPE']}), and no file system on the whole disk"
    raise NotSupported(f"{image.words} holds {what}")


def _extent(source: str, image: Image) -> tuple[int, int]:
    """Where the partition begins, and its length, in bytes.  Raises BadRequest when it is not there."""
    columns = ("--raw", "--noheadings", "-o", "NR,START,SECTORS")
    with contextlib.suppress(IoError):  # no table at all
        for line in _output(needed("partx", "Debian's util-linux"), *columns, source).splitlines():
            number, start, sectors = map(int, line.split())
            if number == image.partition:
                return start * SECTOR, sectors * SECTOR
    raise BadRequest(f"there is no {image.words}")


@contextlib.contextmanager
def rooted(folder: str) -> Iterator[None]:
    """`folder` is the root of this process: no name leads out of it, absolute links stay inside."""
    outside = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chroot(folder)
        os.chdir("/")
        yield
    finally:
        os.fchdir(outside)
        os.chroot(".")
        os.close(outside)


def _output(*command: str, more: dict[str, str] | None = None) -> str:
    """What a program prints.  Raises IoError (223)."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        env={**os.environ, **(more or {})},
    )
    if done.returncode:
        complaint = done.stderr.decode(errors="replace").strip()[:300] or "no reason given"
        raise IoError(
            f"IO error: {Path(command[0]).name} failed with exit status {done.returncode}: {complaint}"
        )
    return done.stdout.decode(errors="replace")
