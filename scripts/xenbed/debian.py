# SPDX-License-Identifier: GPL-2.0-or-later
"""What comes from Debian: the host's tools, single packages, and dom0's root file system."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from xenbed.tools import BedError, run, say

SUITE = "bookworm"  # the release that has Xen 4.17

HOST_PACKAGES = (
    "busybox-static",
    "ca-certificates",
    "cpio",
    "e2fsprogs",
    "fakeroot",
    "gcc",
    "kmod",
    "libdbus-1-dev",  # of the quick xec, as the next and pkg-config
    "libexpat1-dev",
    "libxen-dev",
    "mmdebstrap",
    "pkg-config",
    "python3",
    "python3-cffi",
    "python3-dev",
    "python3-pip",
    "python3-setuptools",
    "qemu-system-x86",
    "zlib1g-dev",
)

# Without root, dom0's files are made in a user namespace.
UNPRIVILEGED_PACKAGES = ("uidmap",)

DOM0_PACKAGES = (
    "bridge-utils",
    "busybox",
    "cryptsetup-bin",  # disks with keys
    "dbus",
    "e2fsprogs",
    "iproute2",
    "kmod",
    "libglib2.0-bin",  # gdbus
    "libxenmisc4.17",
    "procps",
    "python3",
    "python3-pyxs",
    "qemu-system-xen",  # device model of HVM guests
    "qemu-utils",  # disks of types qcow and vhd
    "strace",
    "systemd",  # busctl
    "xen-utils-4.17",
    "xen-utils-common",
    "xenstore-utils",
)

NOT_IN_DOM0 = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")

APT = Path("/etc/apt")
USUAL_SOURCES = ("sources.list", "sources.list.d/debian.sources")  # before Debian 12, and since


def install_host_packages() -> None:
    """Installs what the host lacks, or raises BedError with the one command that does."""
    wanted = HOST_PACKAGES if os.geteuid() == 0 else HOST_PACKAGES + UNPRIVILEGED_PACKAGES
    missing = [name for name in wanted if not is_installed(name)]
    if not missing:
        return
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing]
    if os.geteuid() != 0:
        if not _may_sudo():
            raise BedError(f"this machine lacks packages; install them with\n  sudo {' '.join(command)}")
        command = ["sudo", "-n", "DEBIAN_FRONTEND=noninteractive", *command]
    say(f"installing {' '.join(missing)}")
    _with_package_lists(command)


def is_installed(package: str) -> bool:
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout == "installed"


def sources_file() -> Path:
    """The host's own list of mirrors for SUITE, in either format."""
    others = sorted((APT / "sources.list.d").glob("*"))
    for file in (*(APT / name for name in USUAL_SOURCES), *others):
        if file.is_file() and _names_suite(file.read_text()):
            return file
    raise BedError(f"no list of mirrors in {APT} names {SUITE}; the bed needs Debian 12")


def _names_suite(sources: str) -> bool:
    lines = (line.split() for line in sources.splitlines() if not line.startswith("#"))
    return any(SUITE in words for words in lines)


def unpack_packages(names: Sequence[str], into: Path) -> None:
    """Download packages and unpack all of them into one tree; nothing is installed."""
    downloads = into.with_name(f"{into.name}.debs")
    downloads.mkdir()
    _with_package_lists(["apt-get", "download", "-q", *names], cwd=downloads)
    for package in downloads.glob("*.deb"):
        run(["dpkg-deb", "-x", package, into])
    shutil.rmtree(downloads)


def kernel_package() -> str:
    """Debian's current kernel: what linux-image-amd64 depends on."""
    for line in _with_package_lists(["apt-cache", "depends", "linux-image-amd64"]).splitlines():
        kind, _, name = line.strip().partition(" ")
        if kind == "Depends:":
            return name
    raise BedError("apt knows no linux-image-amd64")


def make_root(tar: Path) -> None:
    """dom0's root file system with DOM0_PACKAGES, as a tar file."""
    run(
        [
            "mmdebstrap",
            f"--mode={'root' if os.geteuid() == 0 else 'auto'}",
            "--variant=minbase",
            f"--include={','.join(DOM0_PACKAGES)}",
            "--aptopt=APT::Install-Recommends false",
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in NOT_IN_DOM0),
            SUITE,
            tar,
            sources_file(),
        ]
    )


def _may_sudo() -> bool:
    return bool(shutil.which("sudo")) and subprocess.run(["sudo", "-n", "true"], check=False).returncode == 0


def _with_package_lists(command: list[str], *, cwd: Path | None = None) -> str:
    """Once more after `apt-get update`, because a fresh machine has no package lists."""
    try:
        return run(command, cwd=cwd)
    except BedError:
        run(["apt-get", "update", "-q"] if os.geteuid() == 0 else ["sudo", "-n", "apt-get", "update", "-q"])
        return run(command, cwd=cwd)
