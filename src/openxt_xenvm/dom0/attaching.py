# SPDX-License-Identifier: GPL-2.0-or-later
"""The real control domain's ways to make a block device of a disk image: one class a layer.

`propose` names the device before it is made, `attach` makes it ("" when somebody else was faster), `detach`
takes it away, but never one that stands before something else.  Sources: losetup(8), qemu-nbd(8),
cryptsetup(8); tap-ctl and td-util as OpenXT used them in 2015.
"""

import os
import select
import shutil
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path

from openxt_core.ids import Uuid
from openxt_xenvm.config.model import Disk
from openxt_xenvm.devices import backing
from openxt_xenvm.devices.backing import OVERLAY_SUFFIX, Attachment, Layer
from openxt_xenvm.devices.images import FOOTER, image_format
from openxt_xenvm.dom0 import overlays
from openxt_xenvm.dom0.programs import PATH, TIMEOUT_S, run
from openxt_xenvm.errors import DeviceError

DELETED = " (deleted)"
"""Linux ends the name of an open file that has no name any more with this."""

NO_UUID = Uuid("")
DIFFERENCE_MAKER = "/usr/sbin/prepare-system-snapshot"


@dataclass(frozen=True)
class Attacher:
    sys: Path = Path("/sys")

    @abstractmethod
    def propose(self, disk: Disk, source: str) -> str: ...

    @abstractmethod
    def attach(self, disk: Disk, source: str, device: str) -> str: ...

    @abstractmethod
    def detach(self, made: Attachment) -> None: ...


class Loops(Attacher):
    def propose(self, disk: Disk, source: str) -> str:
        return run("losetup", "--find").strip()

    def attach(self, disk: Disk, source: str, device: str) -> str:
        read_only = [] if disk.writable else ["--read-only"]
        try:
            run("losetup", *read_only, device, source)
        except DeviceError:
            if self._backing_file(device):
                return ""
            raise
        return device

    def detach(self, made: Attachment) -> None:
        if self._backing_file(made.device) == made.source:
            run("losetup", "--detach", made.device)

    def _backing_file(self, device: str) -> str:
        """ "" when the device stands before no file."""
        text = read_text(self.sys / "block" / Path(device).name / "loop/backing_file")
        return text.removesuffix("\n").removesuffix(DELETED)


class Nbds(Attacher):
    """qemu-nbd of Debian's qemu-utils: a process a disk, on a device of the kernel's module nbd."""

    def propose(self, disk: Disk, source: str) -> str:
        if not any(self.sys.glob("block/nbd*")):
            run("modprobe", "nbd")
        known = sorted(self.sys.glob("block/nbd*"), key=lambda folder: int(folder.name.removeprefix("nbd")))
        for folder in known:
            if not (folder / "pid").exists():
                return f"/dev/{folder.name}"
        raise DeviceError(f"all {len(known)} nbd devices are in use")

    def attach(self, disk: Disk, source: str, device: str) -> str:
        read_only = [] if disk.writable else ["--read-only"]
        options = ("--discard=unmap", f"--connect={device}")
        try:
            run("qemu-nbd", "--fork", *options, *read_only, *_served_as(disk, source))
        except DeviceError:
            if self._server(device) is not None:
                return ""
            raise
        overlays.forget_key(source)
        return device

    def detach(self, made: Attachment) -> None:
        """Until its process is gone, and with it the lock on the image."""
        server = self._server(made.device)
        if server is None or not overlays.is_served(made.source, _command_line(server)):
            return
        try:
            process = os.pidfd_open(server)
        except ProcessLookupError:
            return
        try:
            run("qemu-nbd", "--disconnect", made.device)
            if not select.select([process], [], [], TIMEOUT_S)[0]:
                raise DeviceError(f"qemu-nbd of {made.device} did not end within {TIMEOUT_S:.0f} s")
        finally:
            os.close(process)

    def _server(self, device: str) -> int | None:
        """Its process; the kernel names one of its threads."""
        thread = read_text(self.sys / "block" / Path(device).name / "pid").strip()
        for line in read_text(Path("/proc") / thread / "status").splitlines() if thread else ():
            if line.startswith("Tgid:"):
                return int(line.split()[1])
        return None


class Taps(Attacher):
    """blktap's tap-ctl, which only hosts with its own kernel module have.  It chooses the device itself."""

    def propose(self, disk: Disk, source: str) -> str:
        return f"{disk.type}:{source}"

    def attach(self, disk: Disk, source: str, device: str) -> str:
        read_only = [] if disk.writable else ["-R"]
        keys = {"TAPDISK2_CRYPTO_KEYDIR": disk.key_dirs[0]} if disk.key_dirs else {}
        made = run(
            "tap-ctl",
            "create",
            *read_only,
            "-a",
            f"{disk.type}:{source}",
            TAPDISK2="/usr/sbin/tapdisk2",
            **keys,
        )
        return made.strip()

    def detach(self, made: Attachment) -> None:
        """One that was only proposed may exist, too: the list of all tells."""
        for line in run("tap-ctl", "list").splitlines():
            words = dict(word.partition("=")[::2] for word in line.split())
            if words.get("args", "").partition(":")[2] == made.source:
                run("tap-ctl", "destroy", "-d", f"/dev/xen/blktap-2/tapdev{words['minor']}")


@dataclass(frozen=True)
class Crypts(Attacher):
    """dm-crypt without a header, as blktap's own ciphers have none either."""

    tap: bool = False  # it takes keys from folders itself

    def propose(self, disk: Disk, source: str) -> str:
        """The device itself when no folder has a key for the disk: it is not enciphered."""
        return backing.mapping_of(source) if self._key(disk) else source

    def attach(self, disk: Disk, source: str, device: str) -> str:
        key = self._key(disk)
        if not key:
            return source
        cipher, bits = (disk.cipher, disk.key_size) if disk.key_file else backing.cipher_of_key(key)
        read_only = [] if disk.writable else ["--readonly"]
        options = (f"--cipher={cipher}", f"--key-size={bits}", f"--key-file={key}")
        run("cryptsetup", "open", "--batch-mode", "--type=plain", *options, *read_only, source, _name(device))
        return device

    def _key(self, disk: Disk) -> str:
        return "" if self.tap and not disk.key_file else key_of(disk)

    def detach(self, made: Attachment) -> None:
        if made.device == made.source:
            return
        for folder in self.sys.glob("block/dm-*"):
            is_ours = read_text(folder / "dm/name").strip() == _name(made.device)
            if is_ours and (folder / "slaves" / Path(os.path.realpath(made.source)).name).exists():
                run("cryptsetup", "close", _name(made.device))


class Snapshots(Attacher):
    """A file that takes the writes, made anew for each run of the domain."""

    def propose(self, disk: Disk, source: str) -> str:
        return backing.overlay_of(source)

    def attach(self, disk: Disk, source: str, device: str) -> str:
        overlays.make(device, source, format_of(disk.type, source), enciphered=is_enciphered(disk))
        return device

    def detach(self, made: Attachment) -> None:
        overlays.forget(made.device)


@dataclass(frozen=True)
class Scripted(Attacher):
    """Left to a program of the host, which also takes care of what it made."""

    uuid: Uuid = NO_UUID

    def propose(self, disk: Disk, source: str) -> str:
        return _vhd_overlay(source) if disk.snapshot == "scripted" else source

    def attach(self, disk: Disk, source: str, device: str) -> str:
        is_plain = disk.snapshot == "scripted-no-snapshot"
        target = ["--no-snapshot"] if is_plain else ["-s", _vhd_overlay(source)]
        author = ["--author-mode"] if disk.snapshot == "scripted-author" else []
        run(DIFFERENCE_MAKER, "-i", source, *target, "-u", self.uuid, *author)
        return device

    def detach(self, made: Attachment) -> None:
        """Nothing: the program's."""


def is_enciphered(disk: Disk) -> bool:
    """Its snapshot is."""
    return disk.snapshot == backing.ENCIPHERED


def _served_as(disk: Disk, source: str) -> tuple[str, ...]:
    if source.endswith(OVERLAY_SUFFIX):
        return overlays.served_as(source, enciphered=is_enciphered(disk))
    return (f"--format={format_of(disk.type, source)}", "--", source)


def _vhd_overlay(image: str) -> str:
    return str(Path(image).with_suffix(".snap.tmp.vhd"))


def format_of(type_: str, file: str) -> str:
    """Raises DeviceError when the file is none of its type."""
    try:
        with Path(file).open("rb") as opened:
            head = opened.read(FOOTER)
            opened.seek(max(0, opened.seek(0, os.SEEK_END) - FOOTER))
            return image_format(type_, head, opened.read(FOOTER))
    except ValueError as error:
        raise DeviceError(f"{file} {error}") from error
    except OSError as error:
        raise DeviceError(f"cannot open {file}: {error.strerror}") from error


def key_of(disk: Disk) -> str:
    """The file with the disk's key; "" when it has none."""
    if disk.key_file:
        return disk.key_file
    found = (Path(folder) / name for folder in disk.key_dirs for name in backing.key_names(disk.path))
    return next((str(key) for key in found if key.is_file()), "")


def read_text(path: Path) -> str:
    """ "" for what is not there."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _command_line(process: int) -> list[str]:
    return read_text(Path(f"/proc/{process}/cmdline")).split("\0")


def _name(mapping: str) -> str:
    return Path(mapping).name


def has_tap() -> bool:
    return shutil.which("tap-ctl", path=PATH) is not None


def attachers(sys: Path, uuid: Uuid) -> dict[Layer, Attacher]:
    """Those of this host."""
    tap = has_tap()
    return {
        Layer.SNAPSHOT: Snapshots(sys),
        Layer.SCRIPTED: Scripted(sys, uuid),
        Layer.LOOP: Loops(sys),
        Layer.IMAGE: Taps(sys) if tap else Nbds(sys),
        Layer.CRYPT: Crypts(sys, tap),
    }
