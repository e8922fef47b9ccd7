# SPDX-License-Identifier: GPL-2.0-or-later
"""VHD images: make, measure, give a key, attach to dom0.

`vhd-util` and `tap-ctl` where the host has them; where not, qemu-img makes and measures.  Keys and attaching
need the former.  Source of the command lines: OpenXT xenmgr, 2015.
"""

import json
import os
import uuid as uuids
from collections.abc import Sequence
from pathlib import Path

from openxt_core.errors import BadRequest, CryptoKeyAlreadyExists, IoError, VhdKeyAlreadySet
from openxt_core.places import Places
from openxt_xenmgr.host import programs
from openxt_xenmgr.host.facts import MIB
from openxt_xenmgr.vm.tree import parse_int

MAX_MB = 2040 * 1024  # what the format's addresses reach
KEY_BITS = (256, 512)
BITS_PER_BYTE = 8
CREATE_TIMEOUT_S = 120.0
BLKTAP = "OpenXT's blktap (Debian 12 has no package of it)"
QEMU = "Debian's qemu-utils"
KEY_FOLDERS = "TAPDISK2_CRYPTO_KEYDIR"  # blktap's word


def real_path(places: Places, path: str) -> Path:
    """A path that a client gave; nothing outside the host's own root."""
    given = Path(path)
    if places.root != Path("/") and not given.is_relative_to(places.root):
        return places.at(path)
    return given


def is_there(path: Path) -> bool:
    """False as well for a name that no file system takes: `exists` raises when one is too long."""
    try:
        return path.exists()
    except OSError:
        return False


async def create(places: Places, size_mb: int) -> Path:
    """A new empty image that grows.  Leaves nothing when it fails."""
    if not 1 <= size_mb <= MAX_MB:
        raise BadRequest(f"size_mb cannot be {size_mb}: 1 to {MAX_MB} is allowed")
    image = places.storage / "disks" / f"{uuids.uuid4()}.vhd"
    command = _creation(image, size_mb)
    try:
        image.parent.mkdir(parents=True, exist_ok=True)
        await programs.run(*command, timeout_s=CREATE_TIMEOUT_S)
        image.chmod(0o600)
    except OSError as error:
        raise IoError(f"IO error: {image}: {error.strerror}") from error
    except BaseException:
        image.unlink(missing_ok=True)
        raise
    return image


def _creation(image: Path, size_mb: int) -> tuple[str, ...]:
    vhd_util = programs.found("vhd-util")
    if vhd_util is not None:
        return vhd_util, "create", "-s", str(size_mb), "-n", str(image)
    qemu_img = programs.needed("qemu-img", QEMU)
    # Without force_size the size is rounded up to what old cylinders and heads can say.
    options = "subformat=dynamic,force_size=on"
    return qemu_img, "create", "-q", "-f", "vpc", "-o", options, str(image), f"{size_mb}M"


async def virtual_mb(image: Path) -> int:
    """Size that the guest sees; 0 for what is no image."""
    if programs.found("vhd-util"):
        return parse_int(await programs.output_of("vhd-util", "query", "-v", "-n", str(image))) or 0
    return (await _qemu_figure(image, "virtual-size")) // MIB


async def used_bytes(image: Path) -> int:
    """Bytes that the image takes; 0 for what is no image."""
    if programs.found("vhd-util"):
        return parse_int(await programs.output_of("vhd-util", "query", "-s", "-n", str(image))) or 0
    return await _qemu_figure(image, "actual-size")


async def _qemu_figure(image: Path, name: str) -> int:
    """The format is named, never guessed: a guest chooses what its disk begins with."""
    text = await programs.output_of("qemu-img", "info", "-U", "-f", "vpc", "--output=json", str(image))
    try:
        return int(json.loads(text)[name])
    except (ValueError, KeyError):
        return 0


async def has_key(image: Path) -> bool:
    """False for what is no image, and where there is no vhd-util."""
    answer = await programs.output_of("vhd-util", "key", "-n", str(image), "-p")
    return answer.strip() not in ("", "none")


async def make_key(image: Path, bits: int, folder: Path) -> Path:
    """Make a random key in `folder` and tell the image of it.  Leaves no key when that fails.

    Raises CryptoKeyAlreadyExists (238), VhdKeyAlreadySet (239), BadRequest for other sizes.
    """
    if bits not in KEY_BITS:
        raise BadRequest(f"keysize cannot be {bits}: allowed are 256 and 512")
    vhd_util = programs.needed("vhd-util", BLKTAP)
    key = folder / f"{image.stem},aes-xts-plain,{bits}.key"
    if key.exists():
        raise CryptoKeyAlreadyExists(f"{key} exists already")
    if await has_key(image):
        raise VhdKeyAlreadySet(f"{image} has a key already")
    _write_key(key, bits // BITS_PER_BYTE)
    try:
        await programs.run(vhd_util, "key", "-n", str(image), "-k", str(key), "-s")
    except BaseException:
        key.unlink(missing_ok=True)
        raise
    return key


def _write_key(path: Path, size: int) -> None:
    """For root alone, and never over another one."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise CryptoKeyAlreadyExists(f"{path} exists already") from None
    except OSError as error:
        raise IoError(f"IO error: {path}: {error.strerror}") from error
    with open(file, "wb") as opened:
        opened.write(os.urandom(size))
        opened.flush()
        os.fsync(opened.fileno())  # a disk whose key is lost is lost


async def attach(image: Path, *, readonly: bool, key_folders: Sequence[str]) -> str:
    """The block device that shows an image."""
    flags = ("-R",) if readonly else ()
    tap_ctl = programs.needed("tap-ctl", BLKTAP)
    more = {KEY_FOLDERS: ",".join(key_folders)}
    device = (await programs.run(tap_ctl, "create", *flags, "-a", f"vhd:{image}", more=more)).strip()
    if not device.startswith("/dev/"):
        raise IoError(f"IO error: tap-ctl gave no device for {image}: {device[:60]!r}")
    return device


async def detach(device: str) -> None:
    await programs.run(programs.needed("tap-ctl", BLKTAP), "destroy", "-d", device)
