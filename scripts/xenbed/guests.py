# SPDX-License-Identifier: GPL-2.0-or-later
"""The test guests in guests/: two tiny ones of our own, and an initrd for Debian's kernel."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Sequence
from pathlib import Path

from xenbed.folders import BED
from xenbed.kernel import copy_modules
from xenbed.tools import BedError, run

SOURCES = BED / "guests"

FLAGS = (
    *("-O2", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-builtin", "-nostdlib", "-static"),
    *("-fno-pic", "-no-pie", "-mgeneral-regs-only"),
    *("-fno-stack-protector", "-fno-asynchronous-unwind-tables"),
    *("-Wl,--build-id=none", "-Wl,-z,noseparate-code", "-Wl,-z,norelro"),
)

PLAIN = ("-m32", "-march=i686")  # 32 bits, without paging
AS_DISK = (f"-Wl,-T,{SOURCES / 'tiny' / 'disk.ld'}", "-Wl,--oformat=binary")

#            file         own flags                                                       own sources
TINY = (
    ("tiny-pv", ("-m64", "-mno-red-zone", "-Wl,-Ttext-segment=0x200000"), ("entry_pv.S", "boot_pv.c")),
    ("tiny-pvh", (*PLAIN, "-Wl,-Ttext-segment=0x100000"), ("entry_pvh.S", "boot_pvh.c", "container.c")),
    ("tiny-hvm.img", (*PLAIN, *AS_DISK), ("entry_hvm.S", "boot_hvm.c", "container.c")),
)
SHARED = ("life.c", "rings.c")

LINUX_MODULES = [
    "xen-evtchn",
    "xen-gntdev",
    "xen-gntalloc",
    "xen-privcmd",
    "xenfs",
    "xen-blkfront",
    "xen-netfront",
    "xen-pcifront",
    "e1000",  # a card to pass through
]
HVM_MODULES = [*LINUX_MODULES, "ata_piix", "sr_mod"]  # an emulated CD drive
LINUX_FOLDERS = ("bin", "sbin", "dev", "proc", "sys", "mnt")


def build_tiny(into: Path) -> None:
    for name, flags, sources in TINY:
        files = [SOURCES / "tiny" / source for source in (*sources, *SHARED)]
        command: list[str | Path] = ["gcc", *FLAGS, *flags, *files, "-o", into / name]
        run(command)


def build_linux_initrds(kernel: Path, into: Path) -> None:
    for name, modules in (("initrd.gz", LINUX_MODULES), ("initrd-hvm.gz", HVM_MODULES)):
        _build_initrd(kernel, into / name, modules)


def _build_initrd(kernel: Path, initrd: Path, modules: Sequence[str]) -> None:
    root = initrd.with_name(f"{initrd.name}.root")
    start_root(root, LINUX_FOLDERS)
    shutil.copy(SOURCES / "linux-init", root / "init")
    for name in ("poweroff", "reboot"):
        shutil.copy(SOURCES / "linux-stop", root / "sbin" / name)
    copy_modules(kernel, root, modules)
    pack_initramfs(root, initrd)
    shutil.rmtree(root)


def start_root(root: Path, folders: tuple[str, ...]) -> None:
    """An initramfs tree with nothing but a static busybox."""
    for folder in folders:
        (root / folder).mkdir(parents=True)
    busybox = next((file for file in (Path("/bin/busybox"), Path("/usr/bin/busybox")) if file.exists()), None)
    if busybox is None:
        raise BedError("busybox-static is not installed")
    shutil.copy(busybox, root / "bin" / "busybox")


def pack_initramfs(root: Path, archive: Path) -> None:
    names = "\n".join(sorted(str(file.relative_to(root)) for file in root.rglob("*")))
    plain = archive.with_suffix(".cpio")
    run(
        ["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0", "-F", plain],
        cwd=root,
        stdin=f"{names}\n".encode(),
    )
    archive.write_bytes(gzip.compress(plain.read_bytes(), compresslevel=1))
    plain.unlink()
