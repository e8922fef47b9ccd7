# SPDX-License-Identifier: GPL-2.0-or-later
"""Packages as other hypervisors export them are imported with their disks, discs, manifests and odd names."""

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from ovf_house import Shop, shop

from ovf_packages import Package, content_of, image

GOLDEN = Path(__file__).parents[1] / "golden/ovf"


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Shop]:
    async with shop(tmp_path) as opened:
        yield opened


def stream(it: Shop, content: bytes, size: str = "3M") -> bytes:
    return image(it.folder, "vmdk", content, size, "subformat=streamOptimized")


def members(it: Shop, name: str) -> dict[str, bytes]:
    """The files of an export, each disk with its number as content."""
    return {
        "vmware-esxi": lambda: {
            "my server (old)-1.vmdk": stream(it, b"disk 0"),
            "my server (old)-2.vmdk": stream(it, b"disk 1", "2M"),
            "my server (old).nvram": b"n",
        },
        "vmware-vapp": lambda: {"appliance-disk1.vmdk.gz": gzip.compress(stream(it, b"disk 0", "4M"))},
        "virtualbox": lambda: {
            "desk top-disk001.vmdk": stream(it, b"disk 0"),
            "desk top-file002.iso": b"disc",
        },
        "virtualbox-2": lambda: {"két-disk001.vmdk": stream(it, b"disk 0", "2M")},
        "early": lambda: {"early.vmdk": image(it.folder, "vmdk", b"disk 0")},
        "xenserver": lambda: {
            "0c1b0000-0000-4000-8000-000000000001.vhd": image(
                it.folder, "vpc", b"disk 0", options="subformat=dynamic"
            )
        },
    }[name]()


# Spelling of each exporter's manifest
MANIFESTS = {
    "vmware-esxi": ("sha256", "{0}({1})= {2}\n"),
    "vmware-vapp": ("sha1", "{0}({1})= {2}\r\n"),
    "virtualbox": ("sha1", "{0} ({1}) = {2}\n"),
    "virtualbox-2": ("sha256", "{0} ({1}) = {2}\n"),
}


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.ovf")))
async def test_an_export_is_imported_and_removed(it: Shop, name: str) -> None:
    made = Package({f"{name}.ovf": (GOLDEN / f"{name}.ovf").read_bytes(), **members(it, name)})
    if name in MANIFESTS:
        made.members[f"{name}.mf"] = made.manifest(*MANIFESTS[name])
    before = await it.state()
    await it.does("--import", made.ova(it.folder / f"{name}.ova"), "--set-id", name, answer="y\ny\n")
    vm = await it.vm_of(name)
    images = [path for path in await it.paths(vm) if path.endswith(".vhd")]
    assert content_of(images[0]).startswith(b"disk 0")
    for number, path in enumerate(images[1:], 1):
        assert content_of(path).startswith((b"disk %d" % number, b"\0"))
    await it.does("--remove", name)
    assert await it.state() == before
