# SPDX-License-Identifier: GPL-2.0-or-later
"""What apptool makes disks of: images of each kind, empty ones, archives, enciphered ones; by qemu-img."""

import bz2
import gzip
import os
import struct
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from ovf_house import Shop, disk, imported_disk, shop

from ovf_packages import QCOW2, STREAM, VHD, Descriptor, content_of, image, item, package, section


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Shop]:
    async with shop(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize(
    ("format", "uri", "options"),
    [
        ("vmdk", STREAM, "subformat=streamOptimized"),
        ("vmdk", "http://www.vmware.com/specifications/vmdk.html#sparse", ""),
        ("vpc", VHD, "subformat=dynamic"),
        ("vpc", "vhd", "subformat=fixed"),
        ("qcow2", QCOW2, ""),
        ("vdi", "http://www.virtualbox.org/ovf/formats/vdi", ""),
        ("vhdx", "http://example.com/formats/vhdx", ""),
        ("vmdk", "", ""),
        ("raw", "rawfilesystem", ""),
        ("raw", "http://en.wikipedia.org/wiki/Byte", ""),
    ],
)
async def test_each_kind_of_image_becomes_a_vhd(it: Shop, format: str, uri: str, options: str) -> None:
    content = image(it.folder, format, b"what is in it", options=options)
    path = await imported_disk(it, disk(uri), {"a.img": content})
    assert content_of(path).startswith(b"what is in it")
    assert Path(path).stat().st_mode & 0o777 == 0o600


async def test_a_disk_without_capacity_has_that_of_its_image(it: Shop) -> None:
    path = await imported_disk(it, disk(STREAM, ""), {"a.img": image(it.folder, "vmdk", b"x", "7M")})
    assert len(content_of(path, 1 << 30)) == 7 << 20


async def test_a_raw_image_gets_the_capacity_of_its_disk(it: Shop) -> None:
    path = await imported_disk(it, disk("rawfilesystem", "5000000"), {"a.img": b"x" * 700})
    assert content_of(path, 1 << 30) == (b"x" * 700).ljust(5 << 20, b"\0")


async def test_compressed_and_cut_up_files_are_put_together(it: Shop) -> None:
    data = image(it.folder, "qcow2", b"in pieces")
    path = await imported_disk(
        it, disk(QCOW2), {"a.img": gzip.compress(data)}, more=' ovf:compression="gzip"'
    )
    assert content_of(path).startswith(b"in pieces")
    chunks = {f"b.img.{n:09}": data[n * 70000 : (n + 1) * 70000] for n in range(-(-len(data) // 70000))}
    made = package(
        Descriptor(
            files='<File ovf:id="f" ovf:href="b.img" ovf:chunkSize="70000"/>',
            disks=disk(QCOW2),
            items=item(7, 17, "HostResource=ovf:/disk/d"),
            xci=section("", "pieces"),
        ),
        chunks,
    )
    made.members["shop.mf"] = made.manifest()
    await it.does("--import", made.ova(it.folder / "b.ova"))
    (path,) = await it.paths(await it.vm_of("pieces"))
    assert content_of(path).startswith(b"in pieces")


@pytest.mark.parametrize("format", ["vmdk", "qcow2"])
async def test_a_disk_above_another_shows_both(it: Shop, format: str) -> None:
    base = image(it.folder, format, b"below" + b"\0" * 70000 + b"kept")
    above = it.folder / "above"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", format, "-F", format, "-b", f"image.{format}", "above"],
        cwd=it.folder, check=True,
    )  # fmt: skip
    subprocess.run(["qemu-io", "-f", format, "-c", "write -P 65 0 65536", "above"], cwd=it.folder, check=True)
    below = '<Disk ovf:diskId="e" ovf:fileRef="g" ovf:capacity="2097152"/>'
    disks = below + disk("", more=' ovf:parentRef="e"')
    path = await imported_disk(it, disks, {"a.img": above.read_bytes(), "b.img": base})
    found = content_of(path, 80000)
    assert found[:65536] == b"A" * 65536
    assert found[70005:70009] == b"kept"


def differencing(child: bytes, parent: bytes, hidden: int) -> bytes:
    """A dynamic VHD made one that lies above another, with its sectors from `hidden` on not its own."""
    data = bytearray(child)
    header, bitmap = 512, struct.unpack_from(">I", data, struct.unpack_from(">Q", data, 512 + 16)[0])[0] * 512
    data[header + 40 : header + 56] = parent[-512:][68:84]
    for sector in range(hidden, 4096):
        data[bitmap + sector // 8] &= ~(0x80 >> sector % 8) & 0xFF
    for at, size, checksum in ((header, 1024, 36), (0, 512, 64), (len(data) - 512, 512, 64)):
        if size == 512:
            struct.pack_into(">I", data, at + 60, 4)
        struct.pack_into(">I", data, at + checksum, 0)
        struct.pack_into(">I", data, at + checksum, ~sum(data[at : at + size]) & 0xFFFFFFFF)
    return bytes(data)


async def test_a_differencing_vhd_is_laid_over_its_parent(it: Shop) -> None:
    options = "subformat=dynamic,force_size=on"
    parent = image(it.folder, "vpc", b"p" * 4096, options=options)
    child = differencing(image(it.folder, "vpc", b"c" * 4096, options=options), parent, hidden=3)
    below = '<Disk ovf:diskId="e" ovf:fileRef="g" ovf:capacity="2097152" ovf:format="vhd"/>'
    disks = below + disk("vhd", more=' ovf:parentRef="e"')
    path = await imported_disk(it, disks, {"a.vhd": child, "b.vhd": parent})
    assert content_of(path, 8192) == b"c" * 1536 + b"p" * 2560 + bytes(4096)
    other = image(it.folder, "vpc", b"o" * 4096, options=options)
    made = package(
        Descriptor(
            files='<File ovf:id="f" ovf:href="a"/><File ovf:id="g" ovf:href="b"/>',
            disks=disks,
            items=item(7, 17, "HostResource=ovf:/disk/d"),
        ),
        {"a": child, "b": other},
    )
    text = await it.fails("--import", made.ova(it.folder / "o.ova"))
    assert "was made above another image than its parentRef names" in text


async def test_an_empty_disk_has_its_capacity_and_file_system(it: Shop) -> None:
    path = await imported_disk(it, disk("vhd", "9000000", file=""), {})
    assert content_of(path, 1 << 30) == bytes(9 << 20)
    await it.does("--remove", "shop")
    swap = '<xci:Disk xci:ovfId="d" xci:filesystem="swap"/>'
    path = await imported_disk(it, disk("vhd", "9000000", file=""), {}, swap)
    assert content_of(path, 4096)[4086:] == b"SWAPSPACE2"


async def test_an_archive_becomes_a_file_system(it: Shop) -> None:
    tree = it.folder / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/hostname").write_text("appliance\n")
    (tree / "link").symlink_to("/etc")
    packed = subprocess.run(
        ["bsdtar", "-c", "-f", "-", "--format=newc", "."], cwd=tree, check=True, capture_output=True
    ).stdout
    archive = bz2.compress(packed)
    xci = '<xci:Disk xci:ovfId="d" xci:filesystem="ext4"/>'
    path = await imported_disk(it, disk("cpiobz2", str(16 << 20)), {"a.img": archive}, xci)
    raw = it.folder / "raw"
    raw.write_bytes(content_of(path, 1 << 30))
    asked = subprocess.run(["/sbin/debugfs", "-R", "cat /etc/hostname", raw], check=True, capture_output=True)
    assert asked.stdout == b"appliance\n"
    assert subprocess.run(["/sbin/e2fsck", "-fn", raw], capture_output=True).returncode == 0


async def test_an_archive_that_leads_out_of_its_tree_is_refused(it: Shop) -> None:
    def entry(name: str, mode: int, data: bytes) -> bytes:
        words = (1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % word for word in words) + name.encode() + b"\0"
        return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)

    outside = it.folder / "outside"
    outside.mkdir()
    link = entry("x", 0o120777, str(outside).encode())
    evil = link + entry("x/file", 0o100644, b"evil") + entry("TRAILER!!!", 0, b"")
    archive = bz2.compress(evil)
    made = package(
        Descriptor(
            files='<File ovf:id="f" ovf:href="a"/>',
            disks=disk("cpiobz2", str(8 << 20)),
            items=item(7, 17, "HostResource=ovf:/disk/d"),
        ),
        {"a": archive},
    )
    before = await it.state()
    assert "the archive cannot be unpacked" in await it.fails("--import", made.ova(it.folder / "a.ova"))
    assert list(outside.iterdir()) == []
    assert await it.state() == before


# Enciphered disks


async def test_disks_get_keys_that_are_removed_with_them(it: Shop) -> None:
    xci = '<xci:Disk xci:ovfId="d"><xci:GenerateEncryptionKey/></xci:Disk>'
    before = await it.state()
    path = await imported_disk(it, disk("vhd", file=""), {}, xci)
    key = it.desk.places.at(f"/config/platform-crypto-keys/{Path(path).stem},aes-xts-plain,512.key")
    assert (key.stat().st_size, key.stat().st_mode & 0o777) == (64, 0o600)
    await it.does("--remove", "shop")
    assert await it.state() == before


async def test_a_key_that_comes_along_is_kept_beside_its_vhd(it: Shop) -> None:
    xci = '<xci:Disk xci:ovfId="d"><xci:ImportEncryptionKey xci:fileRef="g"/></xci:Disk>'
    vhd = image(it.folder, "vpc", b"enciphered")
    path = await imported_disk(it, disk("vhd"), {"a.vhd": vhd, "a.key": b"k" * 32}, xci)
    assert Path(path).read_bytes() == vhd
    key = it.desk.places.at(f"/config/platform-crypto-keys/{Path(path).stem},aes-xts-plain,256.key")
    assert key.read_bytes() == b"k" * 32


async def test_blktap_is_told_of_a_key_and_enciphers_what_is_written(it: Shop) -> None:
    """Stand-ins for blktap's programs, which stock Debian lacks, write down what they are asked."""
    log, device = it.folder / "log", it.folder / "device"
    programs = {
        "vhd-util": 'case "$1" in create) : > "$5" ;; query) echo 0 ;; esac',
        "tap-ctl": f'if [ "$1" = create ]; then truncate -s 2M {device}; echo {device}; fi',
    }
    for name, does in programs.items():
        program = it.folder / name
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> {log}\n{does}\n')
        program.chmod(0o755)
    it.more = {"PATH": f"{it.folder}:{os.environ['PATH']}"}
    xci = '<xci:Disk xci:ovfId="d"><xci:GenerateEncryptionKey xci:keySize="256"/></xci:Disk>'
    path = await imported_disk(it, disk("rawfilesystem"), {"a.img": b"secret" * 100}, xci)
    assert device.read_bytes().startswith(b"secretsecret")
    said = [line.split()[:2] for line in log.read_text().splitlines()]
    expected = ("vhd-util create", "vhd-util query", "vhd-util key", "tap-ctl create", "tap-ctl destroy")
    assert said == [words.split() for words in expected]
    assert Path(path).name in log.read_text()


async def test_without_blktap_what_must_be_enciphered_is_refused(it: Shop) -> None:
    xci = '<xci:Disk xci:ovfId="d"><xci:GenerateEncryptionKey/></xci:Disk>'
    made = package(
        Descriptor(
            files='<File ovf:id="f" ovf:href="a"/>',
            disks=disk("rawfilesystem"),
            items=item(7, 17, "HostResource=ovf:/disk/d"),
            xci=section(xci),
        ),
        {"a": b"x" * 512},
    )
    before = await it.state()
    assert "needs tap-ctl to be written" in await it.fails("--import", made.ova(it.folder / "a.ova"))
    assert await it.state() == before
