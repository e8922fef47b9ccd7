# SPDX-License-Identifier: GPL-2.0-or-later
"""The layers of a bed, from Debian packages to a frozen machine, and how one becomes the next.

parts   hypervisor, kernel and its modules         root   dom0's files as Debian installs them
wheels  the project's third-party packages         bed    disk image, initramfs, frozen machine
"""

from __future__ import annotations

import gzip
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from xenbed import debian, guests, kernel, machine, wheels
from xenbed.cache import Layer, ready
from xenbed.folders import BED, cache_folder
from xenbed.tools import compile_ahead, run

HYPERVISOR_PACKAGE = "xen-hypervisor-4.17-amd64"

STAGE1_MODULES = ("crc32c_generic", "ext4", "virtio_pci", "virtio_blk")
DOM0_MODULES = (
    *("xenfs", "xen-evtchn", "xen-gntdev", "xen-gntalloc", "xen-privcmd", "xen-blkback", "xen-netback"),
    *(
        "xen-pciback",
        "loop",
        "nbd",
        "dm-crypt",
        "xts",
        "ecb",
        "bridge",
        "tun",
        "squashfs",
        "overlay",
    ),
)
STAGE1_FOLDERS = ("bin", "dev", "proc", "sys", "mnt")
DOM0_FOLDERS = ("openxt", "bed", "guest", "var/lib/xen", "var/lib/xenstored")  # mount points, but for guest
SITE_PACKAGES = "usr/local/lib/python3.11/dist-packages"  # where Debian's python3 looks by itself
PROJECT_PATH_FILE = "openxt.pth"  # … and this makes it look into the payload, too
IMAGE_SIZE = "1G"  # sparse


@dataclass(frozen=True)
class Parts:
    """The layers that the bed layer is made from."""

    parts: Path
    root: Path
    wheels: Path


def bed() -> machine.Machine:
    """The machine, ready to be resumed.  Everything that is missing is made first."""
    cache = cache_folder()
    layers = _part_layers()
    names = (layer.folder_name for layer in layers)
    ingredients = (
        *names,
        *_sources("dom0/*", "guests/**/*", "guests.py", "image.py", "machine.py"),
        machine.version(),
        machine.clock(),
    )

    def build(folder: Path) -> None:
        _build_bed(Parts(*(ready(cache, layer) for layer in layers)), folder)

    return machine.Machine(ready(cache, Layer("bed", ingredients, build)))


def _part_layers() -> tuple[Layer, Layer, Layer]:
    packages = _sources("debian.py", "kernel.py")
    wanted = wheels.requirements()
    mirrors = debian.sources_file()
    return (
        Layer("parts", packages, _build_parts),
        Layer("root", (*packages, mirrors.read_text()), lambda folder: debian.make_root(folder / "root.tar")),
        Layer("wheels", (*wanted, *_sources("wheels.py")), lambda folder: wheels.install(wanted, folder)),
    )


def _sources(*patterns: str) -> tuple[str, ...]:
    files = sorted(file for pattern in patterns for file in BED.glob(pattern) if file.is_file())
    return tuple(f"{file.relative_to(BED)}\n{file.read_text()}" for file in files)


def _build_parts(folder: Path) -> None:
    packages = folder / "packages"
    debian.unpack_packages([debian.kernel_package(), HYPERVISOR_PACKAGE], packages)
    (hypervisor,) = (packages / "boot").glob("xen-4.17-*.gz")
    (vmlinuz,) = (packages / "boot").glob("vmlinuz-*")
    (folder / "xen").write_bytes(gzip.decompress(hypervisor.read_bytes()))
    shutil.copy(vmlinuz, folder / "vmlinuz")
    (folder / "vmlinux").write_bytes(kernel.vmlinux_of(vmlinuz.read_bytes()))


def _build_bed(parts: Parts, folder: Path) -> None:
    for file in ("xen", "vmlinuz"):
        shutil.copy(parts.parts / file, folder)
    _build_stage1(parts.parts / "packages", folder / "initramfs.gz")
    root = folder / "root"
    _fill_root(parts, root)
    _make_image(parts.root / "root.tar", root, folder / "dom0.img")
    shutil.rmtree(root)
    machine.Machine(folder).freeze()


def _build_stage1(packages: Path, initramfs: Path) -> None:
    root = initramfs.with_name("stage1")
    guests.start_root(root, STAGE1_FOLDERS)
    shutil.copy(BED / "dom0" / "stage1-init", root / "init")
    kernel.copy_modules(packages, root, STAGE1_MODULES)
    guests.pack_initramfs(root, initramfs)
    shutil.rmtree(root)


def _fill_root(parts: Parts, root: Path) -> None:
    """What dom0 has beyond Debian's packages, laid out as it will lie over them."""
    for name in DOM0_FOLDERS:
        (root / name).mkdir(parents=True)
    # Debian's /lib is a link to /usr/lib: a real folder would replace it
    kernel.copy_modules(parts.parts / "packages", root / "usr", DOM0_MODULES)
    _install(BED / "dom0" / "bed-init", root / "usr" / "sbin" / "bed-init")
    _install(BED / "dom0" / "dbus-policy.conf", root / "etc" / "dbus-1" / "system.d" / "openxt-bed.conf")
    shutil.copytree(parts.wheels, root / SITE_PACKAGES)
    (root / SITE_PACKAGES / PROJECT_PATH_FILE).write_text("/openxt/src\n")
    compile_ahead(root / SITE_PACKAGES, root)
    for kernel_file in ("vmlinux", "vmlinuz"):  # for Xen's builders, and for QEMU's loader
        shutil.copy(parts.parts / kernel_file, root / "guest")
    guests.build_tiny(root / "guest")
    guests.build_linux_initrds(parts.parts / "packages", root / "guest")


def _install(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)


def _make_image(debian_root: Path, additions: Path, image: Path) -> None:
    """One ext4 image of Debian's files and ours, owned by root whoever builds it."""
    tree = image.with_name("tree")
    steps = f"""
        mkdir '{tree}'
        tar -xf '{debian_root}' -C '{tree}' --exclude='./dev/*'
        cp -dR --preserve=mode,timestamps '{additions}/.' '{tree}'
        chown -R 0:0 '{tree}/usr/local' '{tree}/guest'
        truncate -s {IMAGE_SIZE} '{image}'
        mke2fs -q -t ext4 -O ^has_journal -E lazy_itable_init=0,nodiscard -d '{tree}' '{image}'
        rm -rf '{tree}'
    """
    run([*([] if os.geteuid() == 0 else ["fakeroot"]), "sh", "-e", "-c", steps])
