# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's kernel, taken apart: the plain ELF inside a bzImage, and modules with what they need."""

from __future__ import annotations

import lzma
import shutil
import struct
import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path

from xenbed.tools import BedError, run

# The boot protocol's header.  Source: Documentation/arch/x86/boot.rst of Linux.
SETUP_SECTORS_AT = 0x1F1
MAGIC_AT, MAGIC = 0x202, b"HdrS"
PAYLOAD_AT = 0x248  # offset and length, 32 bits each, counted from the end of the set-up sectors
SECTOR = 512
SIZE_TRAILER = 4  # after the compressed bytes: the length of the plain ones


def vmlinux_of(bzimage: bytes) -> bytes:
    """The ELF kernel.  Building a domain from it is six times as fast as from the compressed one."""
    if bzimage[MAGIC_AT : MAGIC_AT + 4] != MAGIC:
        raise BedError("the kernel package holds no bzImage")
    offset, length = struct.unpack_from("<II", bzimage, PAYLOAD_AT)
    start = (bzimage[SETUP_SECTORS_AT] + 1) * SECTOR + offset
    plain = _decompressed(bzimage[start : start + length])
    if plain[:4] != b"\x7fELF":
        raise BedError("the kernel inside the bzImage is no ELF file")
    return plain


def _decompressed(data: bytes) -> bytes:
    if data.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor().decompress(data)
    if data.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(wbits=31).decompress(data)
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        zstd = ["zstd", "-dc"]
        return subprocess.run(zstd, input=data[:-SIZE_TRAILER], capture_output=True, check=True).stdout
    raise BedError(f"kernel compression {data[:6].hex()} is not known")


def load_order(dependencies: str, wanted: Sequence[str]) -> list[str]:
    """Module files in the order to load them.  `dependencies` is the text of modules.dep."""
    needs = {
        file: rest.split() for file, _, rest in (line.partition(":") for line in dependencies.splitlines())
    }
    files = {_module_name(file): file for file in needs}
    order: list[str] = []
    for name in wanted:
        file = files.get(_module_name(name))
        if file is None:
            raise BedError(f"the kernel package has no module {name}")
        # modules.dep names the nearest dependency first
        order += [one for one in [*reversed(needs[file]), file] if one not in order]
    return order


def _module_name(file: str) -> str:
    return Path(file).name.partition(".")[0].replace("-", "_")


def copy_modules(kernel: Path, into: Path, wanted: Sequence[str]) -> None:
    """Copy modules out of an unpacked kernel package; `load.order` beside them tells insmod what to do."""
    (source,) = (kernel / "lib" / "modules").iterdir()
    if not (source / "modules.dep").exists():
        run(["depmod", "-b", kernel, source.name])
    target = into / "lib" / "modules" / source.name
    order = load_order((source / "modules.dep").read_text(), wanted)
    for file in order:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / file, target / file)
    for file in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(source / file, target)
    run(["depmod", "-b", into, source.name])
    (target / "load.order").write_text("".join(f"{file}\n" for file in order))
