# SPDX-License-Identifier: GPL-2.0-or-later
"""Make disk images: VHD files from what a package has, or empty ones, with file systems and keys.

qemu-img reads and writes images; file systems are made in a plain file first, so that no device, no mount and
no root is needed.  Only what is to be enciphered while it is written goes through blktap's devices.
Sources: qemu-img(1), mke2fs(8), OpenXT apptool 1.0 for blktap's command lines.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from openxt_core.errors import BadRequest, NotSupported, OpenxtError, Unavailable
from openxt_ovf import image_format, programs, vhd
from openxt_ovf.archive import bunzip2
from openxt_ovf.image_format import CPIO, HEAD_BYTES, RAW_FILESYSTEM, TAIL_BYTES, Format
from openxt_ovf.model import File
from openxt_ovf.overlay import flattened
from openxt_ovf.plan import KEYS, Image
from openxt_ovf.progress import Progress
from openxt_ovf.qemu_nodes import Node, file_node, image_node, name_of
from openxt_ovf.references import References
from openxt_ovf.slices import Slice, sync, write_all
from openxt_ovf.to_drives import MAX_IMAGE_BYTES
from openxt_ovf.units import MIB, mib

EXT = ("ext2", "ext3", "ext4")
DEFAULT_FILESYSTEM = "ext3"
KEY_SIZES = {256 // 8: 256, 512 // 8: 512}
KEY_FOLDERS = "TAPDISK2_CRYPTO_KEYDIR"  # blktap's word
CPIO_OVERHEAD = 16 * MIB  # names and headers of an archive of small files

# File system → program and options; the file comes last.
_MAKE = {
    **{name: ("mke2fs", "-q", "-F", "-t", name, "-m", "0") for name in EXT},
    "ntfs": ("mkfs.ntfs", "-q", "-Q", "-F"),
    "minix": ("mkfs.minix",),
    "swap": ("mkswap",),
}


@dataclass(frozen=True)
class Below:
    """What a disk builds on; `id` is what a VHD calls itself."""

    node: Node
    id: bytes = b""


@dataclass(frozen=True)
class Maker:
    """`place` maps a path of the plan to where it is written for now."""

    references: References
    temp: Path
    place: Callable[[str], Path]
    progress: Progress

    def make(self, image: Image) -> str | None:
        """The image and its key; path of the key in the plan, None without one.

        Raises BadRequest for a bad image, NotSupported where the host lacks something.  A failure may leave
        files half written: they lie where everything is removed then.
        """
        target = self.place(image.path)
        self.progress.tell(f"importing disk {image.disk.id} as {image.path}")
        try:
            key = self._key(image)
            self._make(image, target, key)
        except BadRequest as error:
            raise BadRequest(f"Disk {image.disk.id[:80]!r}: {error}") from None
        target.chmod(0o600)
        sync(target)  # qemu-img leaves that to the kernel
        return key

    def check_all(self, images: Iterable[Image]) -> None:
        for image in images:
            self._check(image)

    def _check(self, image: Image) -> None:
        """Raises BadRequest for an image that cannot be made, as far as is seen without making it."""
        if image.disk.format == CPIO or image.file is None or image.parents:
            return
        try:
            with tempfile.TemporaryDirectory(dir=self.temp) as folder:
                self._size(image, self._content(image, Path(folder)))
        except BadRequest as error:
            raise BadRequest(f"Disk {image.disk.id[:80]!r}: {error}") from None

    def _key(self, image: Image) -> str | None:
        if image.key is None:
            return None
        data = self._key_file(image.key_file) if image.key_file else os.urandom(image.key.bits // 8)
        path = image.key_path(len(data) * 8)
        write_all(self.place(path), [data])
        self.place(path).chmod(0o600)
        return path

    def _key_file(self, file: File) -> bytes:
        found = self.references.slice(file)
        if found.size not in KEY_SIZES:
            raise BadRequest(
                f"the key {file.href[:120]!r} has {found.size * 8} bits: 256 or 512 are expected"
            )
        return found.read(max(KEY_SIZES), file.href)

    def _make(self, image: Image, target: Path, key: str | None) -> None:
        if image.file is not None and self._is_plain_vhd(image, self.references.slice(image.file)):
            part = self.references.slice(image.file)
            write_all(target, self.progress.counted(part.chunks(), part.size))
            self._set_key(key, target)
            return
        with tempfile.TemporaryDirectory(dir=self.temp) as folder:
            content = self._content(image, Path(folder))
            size = self._size(image, content)
            self._create(image, target, size)
            self._set_key(key, target)
            if content is not None:
                self._fill(target, content, size, is_enciphered=key is not None)

    def _is_plain_vhd(self, image: Image, part: Slice) -> bool:
        """Copied as it is.  One that comes with its key is enciphered already."""
        if image.disk.format in (RAW_FILESYSTEM, CPIO) or image.parents or (image.key and not image.key_file):
            return False
        head, tail = part.head(HEAD_BYTES), part.tail(TAIL_BYTES)
        is_vhd = image_format.found(head, tail) is Format.VHD
        if is_vhd:
            image_format.checked(head, tail, image_format.declared(image.disk.format), has_parent=False)
        return is_vhd

    # What is in it

    def _content(self, image: Image, folder: Path) -> Node | None:
        """What is to be written; None for nothing."""
        if image.file is None and not image.parents:
            return self._empty(image, folder)
        if image.disk.format == CPIO:
            return self._from_cpio(image, folder)
        below: Below | None = None
        for disk, file in reversed(image.parents):
            # QEMU takes the name that stands in the image above, unless the one below is a file of its own
            below = self._layer(disk.format, self.references.whole_file(file), below, folder)
        if image.file is not None:
            below = self._layer(image.disk.format, self.references.slice(image.file), below, folder)
        return below.node if below else None

    def _layer(self, declared: str, part: Slice, below: "Below | None", folder: Path) -> "Below":
        """An image, above another one or none."""
        file = file_node(part, part.path.stat().st_size)
        if declared == RAW_FILESYSTEM:
            return Below(image_node(Format.RAW, file))
        head, tail = part.head(HEAD_BYTES), part.tail(TAIL_BYTES)
        wanted = image_format.declared(declared)
        format = image_format.checked(head, tail, wanted, has_parent=below is not None)
        id = vhd.image_id(tail) if format is Format.VHD else b""
        if below is not None and format is Format.VHD and image_format.is_differencing_vhd(tail):
            flat = folder / f"flat-{len(list(folder.iterdir()))}"
            flattened(part, below.node, below.id, flat)
            return Below(image_node(Format.RAW, {"driver": "file", "filename": str(flat)}), id)
        if below is not None and format not in (Format.VMDK, Format.QCOW2):
            raise BadRequest(f"a {format.name} image of this kind cannot build on another (parentRef)")
        return Below(image_node(format, file, below.node if below else None), id)

    def _empty(self, image: Image, folder: Path) -> Node | None:
        if image.disk.format in (RAW_FILESYSTEM, CPIO):
            raise BadRequest(f"a disk of format {image.disk.format} must have a fileRef")
        image_format.declared(image.disk.format)
        if not image.filesystem:
            return None
        return self._file_system(image.filesystem, image.capacity or 0, folder)

    def _from_cpio(self, image: Image, folder: Path) -> Node:
        """A file system with what an archive holds; members that leave the tree are refused by bsdtar."""
        filesystem = image.filesystem or DEFAULT_FILESYSTEM
        if filesystem not in EXT:
            raise BadRequest(f"{CPIO} goes into {', '.join(EXT)} alone, not into {filesystem}")
        if image.file is None or image.capacity is None:
            raise BadRequest(f"a disk of format {CPIO} must have a fileRef and a capacity")
        part, tree = self.references.slice(image.file), folder / "tree"
        archive = bunzip2(part, folder / "cpio", image.capacity + CPIO_OVERHEAD, image.file.href[:120])
        tree.mkdir()
        try:
            programs.run("bsdtar", "-x", "-p", "--numeric-owner", "-f", str(archive), "-C", str(tree))
        except Unavailable as error:
            raise BadRequest(f"the archive cannot be unpacked: {error}") from None
        archive.unlink()
        return self._file_system(filesystem, image.capacity, folder, "-d", str(tree))

    def _file_system(self, name: str, size: int, folder: Path, *options: str) -> Node:
        path = folder / "filesystem"
        with open(path, "wb") as file:
            file.truncate(mib(size) * MIB)
        program, *words = _MAKE[name]
        programs.run(program, *words, *options, str(path))
        if name in EXT:
            programs.run("tune2fs", "-i", "0", "-c", "-1", "-m", "0", str(path))
        return image_node(Format.RAW, {"driver": "file", "filename": str(path)})

    # The image around it

    def _size(self, image: Image, content: Node | None) -> int:
        """Of the virtual disk, in MiB: what the package says, or what the image has, if that is more."""
        inside = virtual_size(content) if content is not None else 0
        declared = image.capacity or 0
        if image.disk.format == RAW_FILESYSTEM and declared and inside > declared:
            raise BadRequest(f"its content has {inside} bytes, more than its capacity of {declared}")
        size = max(inside, declared)
        if not 0 < size <= MAX_IMAGE_BYTES:
            raise BadRequest(f"{size} bytes cannot be; 1 byte to 2040 GiB can")
        return mib(size)

    def _create(self, image: Image, target: Path, size_mib: int) -> None:
        if image.key is not None and programs.found("vhd-util"):
            programs.run("vhd-util", "create", "-s", str(size_mib), "-n", str(target))
            return
        # Without force_size the size is rounded up to what old cylinders and heads can say.
        options = ("-q", "-f", "vpc", "-o", "subformat=dynamic,force_size=on")
        programs.run("qemu-img", "create", *options, str(target), f"{size_mib}M")

    def _set_key(self, key: str | None, target: Path) -> None:
        """Tell an image of its key if nothing is in it yet.

        Without blktap there is nothing to tell: xenvm finds the key by its name.
        """
        if key is None or not programs.found("vhd-util"):
            return
        blocks = programs.run("vhd-util", "query", "-a", "-n", str(target)).strip()
        if blocks in ("", "0"):
            programs.run("vhd-util", "key", "-s", "-n", str(target), "-k", str(self.place(key)))

    def _fill(self, target: Path, content: Node, size_mib: int, *, is_enciphered: bool) -> None:
        where = self._device(target) if is_enciphered else contextlib.nullcontext(("vpc", str(target)))
        with where as (driver, path):
            self.progress.tell(f"  {size_mib} MiB")
            words = ("convert", "-p", "-n", "-O", driver, name_of(content), path)
            programs.run("qemu-img", *words, percent=self.progress.percent)

    @contextlib.contextmanager
    def _device(self, target: Path) -> Iterator[tuple[str, str]]:
        """The block device that enciphers what is written."""
        if not programs.found("tap-ctl"):
            package = programs.PACKAGES["tap-ctl"]
            raise NotSupported(
                f"an encrypted disk with content needs tap-ctl to be written: install {package}"
            )
        keys = {KEY_FOLDERS: str(self.place(KEYS))}
        device = programs.run("tap-ctl", "create", "-a", f"vhd:{target}", more=keys).strip()
        try:
            yield "raw", device
        except BaseException:
            with contextlib.suppress(OpenxtError):
                programs.run("tap-ctl", "destroy", "-d", device)
            raise
        programs.run("tap-ctl", "destroy", "-d", device)


def virtual_size(node: Node) -> int:
    """Bytes that a guest would see.  Raises BadRequest for what qemu-img cannot read."""
    alone = node | ({"backing": None} if "backing" in node else {})  # `info` opens nothing below an image
    try:
        text = programs.run("qemu-img", "info", "--output=json", name_of(alone))
        return int(json.loads(text)["virtual-size"])
    except Unavailable as error:
        raise BadRequest(f"the image cannot be read: {error}") from None
    except (ValueError, KeyError) as error:
        raise Unavailable(f"qemu-img info answered in another form: {error}") from error


def copy_file(part: Slice, target: Path, progress: Progress) -> None:
    """A file of the package as a file of the host."""
    target.parent.mkdir(parents=True, exist_ok=True)
    write_all(target, progress.counted(part.chunks(), part.size))
