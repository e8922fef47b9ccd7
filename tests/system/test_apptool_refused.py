# SPDX-License-Identifier: GPL-2.0-or-later
"""Packages that are malformed or mean harm: refused with their reason, and nothing is left behind."""

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from ovf_house import Shop, shop

from ovf_packages import QCOW2, STREAM, VHD, Descriptor, Package, image, item, package, section


@pytest.fixture
async def it(tmp_path: Path) -> AsyncIterator[Shop]:
    async with shop(tmp_path) as opened:
        yield opened


DISK_ITEM = item(7, 17, "HostResource=ovf:/disk/d")


def one_disk(format: str = VHD, capacity: str = "2097152", href: str = "a.img", more: str = "") -> Descriptor:
    return Descriptor(
        files=f'<File ovf:id="f" ovf:href="{href}"{more}/>',
        disks=f'<Disk ovf:diskId="d" ovf:fileRef="f" ovf:capacity="{capacity}" ovf:format="{format}"/>',
        items=Descriptor().items + DISK_ITEM,
    )


def with_image(format: str, content: bytes, capacity: str = "2097152") -> Package:
    return package(one_disk(format, capacity), {"a.img": content})


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    info.size = 1 if kind == tarfile.REGTYPE else 0
    return info


def mistaken_manifest(line: str) -> Package:
    made = with_image("raw", b"x" * 512)
    made.members["shop.mf"] = made.manifest() + line.encode()
    return made


def changed_afterwards(name: str) -> Package:
    made = with_image("raw", b"x" * 512)
    made.members["shop.mf"] = made.manifest()
    made.members[name] += b" "
    return made


def unlisted() -> Package:
    made = package(one_disk("raw"))
    made.members["shop.mf"] = made.manifest()
    made.members["a.img"] = b"x" * 512
    return made


def reaching_vmdk(folder: Path, how: str) -> bytes:
    """An image that names another file of the host."""
    secret = folder / "secret"
    secret.write_bytes(b"s" * 65536)
    if how == "flat":
        return f'# Disk DescriptorFile\ncreateType="monolithicFlat"\nRW 128 FLAT "{secret}" 0\n'.encode()
    data = bytearray(image(folder, "vmdk", b"x"))
    if how == "extents":
        text = f'# Disk DescriptorFile\nCID=1\nparentCID=ffffffff\nRW 128 FLAT "{secret}" 0\n'
        struct.pack_into("<Q", data, 12, 0)
    else:
        text = f'# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=1\nparentFileNameHint="{secret}"\n'
    data[512 : 512 + 4096] = text.encode().ljust(4096, b"\0")
    return bytes(data)


def reaching_qcow2(folder: Path, how: str) -> bytes:
    data = bytearray(image(folder, "qcow2", b"x"))
    if how == "backing":
        struct.pack_into(">QI", data, 8, 4096, 11)
        data[4096 : 4096 + 11] = b"/etc/passwd"
    else:
        (bits,) = struct.unpack_from(">Q", data, 72)
        struct.pack_into(">Q", data, 72, bits | 4)
    return bytes(data)


def differencing_vhd(folder: Path) -> bytes:
    data = bytearray(image(folder, "vpc", b"x", options="subformat=dynamic"))
    for at in (0, len(data) - 512):
        struct.pack_into(">II", data, at + 60, 4, 0)
        footer = data[at : at + 512]
        struct.pack_into(">I", data, at + 64, ~sum(footer) & 0xFFFFFFFF)
    return bytes(data)


def zipped(folder: Path, name: str) -> bytes:
    path = folder / "z"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("shop.ovf", Descriptor().data())
        archive.writestr(name, b"x")
    return path.read_bytes()


def xci(inner: str) -> Package:
    return package(
        Descriptor(xci=section(f'<xci:VirtualMachine xci:ovfId="web">{inner}</xci:VirtualMachine>'))
    )


def override(name: str, value: str) -> Package:
    return xci(
        f'<xci:PropertyOverride><xci:Property xci:name="{name}" xci:value="{value}"/></xci:PropertyOverride>'
    )


Case = Package | bytes | Callable[[Path], Package | bytes]

# What the package is → what is said of it.  Bytes are the .ova itself.
ARCHIVES: dict[str, tuple[Case, str]] = {
    "no archive at all": (b"this is no tar archive" * 100, "is no tar archive, or damaged"),
    "an empty file": (b"", "is no tar archive, or damaged"),
    "no descriptor": (Package({"a.txt": b"x"}), "no .ovf files inside, exactly one is expected"),
    "two descriptors": (
        Package({"a.ovf": b"x", "b.ovf": b"x"}),
        "2 .ovf files inside, exactly one is expected",
    ),
    "a name that leads out": (
        Package({"shop.ovf": b"x", "../evil": b"x"}),
        "'../evil' leads out of the archive",
    ),
    "an absolute name": (
        Package({"shop.ovf": b"x", "/etc/evil": b"x"}),
        "'/etc/evil' leads out of the archive",
    ),
    "two members of one name": (Package({"shop.ovf": b"x", "./shop.ovf": b"y"}), "two members 'shop.ovf'"),
    "an archive cut off": (
        lambda folder: with_image("raw", b"x" * 99000).ova(folder / "c.ova").read_bytes()[:-30000],
        "or damaged: unexpected end of data",
    ),
    "a broken gzip stream": (gzip.compress(b"x" * 5000)[:-8], "is damaged"),
    "a zip file that leads out": (lambda folder: zipped(folder, "../evil"), "leads out of the archive"),
    "a zip file with a wrong checksum": (
        lambda folder: zipped(folder, "a").replace(b"<Envelope", b"<envelope"),
        "is damaged: Bad CRC-32",
    ),
}
DESCRIPTORS: dict[str, tuple[Case, str]] = {
    "no XML": (package(b"hello"), "OVF parser error"),
    "an XML bomb": (
        package(b'<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><x>&b;</x>'),
        "declaration is not allowed",
    ),
    "an entity of the host": (
        package(b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'),
        "declaration is not allowed",
    ),
    "another document": (package(b"<html/>"), "no OVF envelope"),
    "a required part that nobody knows": (
        package(Descriptor(envelope='<vmw:New ovf:required="true"/>')),
        "the package requires 'vmw:New'",
    ),
    "an unknown network": (
        package(Descriptor(items=item(1, 10, "Connection=Nowhere"))),
        "there is no network 'Nowhere' in the NetworkSection",
    ),
    "a unit of no size": (
        package(Descriptor(items=item(1, 4, "VirtualQuantity=1 AllocationUnits=stone"))),
        "'stone'",
    ),
}
FILES: dict[str, tuple[Case, str]] = {
    "a missing file": (package(one_disk()), "missing file: a.img"),
    "a reference that leads out": (package(one_disk(href="../../etc/passwd")), "leads out of the package"),
    "an encoded reference that leads out": (package(one_disk(href="%2e%2e/x")), "leads out of the package"),
    "a file of the host": (
        package(one_disk("rawfilesystem", href="file:///etc/hostname")),
        "missing file: file:///etc/hostname",
    ),
    "a file from far away": (package(one_disk(href="http://example.com/a")), "is not fetched"),
    "a file cut off": (package(one_disk(more=' ovf:size="999"'), {"a.img": b"x"}), "it has 1 bytes of 999"),
    "an image that was changed": (
        changed_afterwards("a.img"),
        "is not as shop.mf says: its SHA256 digest differs",
    ),
    "a descriptor that was changed": (changed_afterwards("shop.ovf"), "'shop.ovf' is not as shop.mf says"),
    "a manifest that lists too little": (unlisted(), "shop.mf does not list 'a.img'"),
    "a manifest that lists too much": (
        mistaken_manifest(f"SHA1(gone)= {'0' * 40}\n"),
        "lists 'gone', which is missing",
    ),
    "a malformed manifest": (mistaken_manifest("hello\n"), "malformed manifest: 'hello'"),
    "a damaged compressed file": (
        package(one_disk("raw", more=' ovf:compression="gzip"'), {"a.img": gzip.compress(b"x" * 9999)[:-9]}),
        "'a.img' is damaged".replace("'", ""),
    ),
}
IMAGES: dict[str, tuple[Case, str]] = {
    "an unknown format": (with_image("http://example.com/strange", b"x"), "unknown disk format"),
    "an image of another format": (
        lambda folder: with_image(STREAM, image(folder, "qcow2", b"x")),
        "calls it a VMDK image, but it is a QCOW2 image",
    ),
    "a VMDK with files of the host": (
        lambda folder: with_image(STREAM, reaching_vmdk(folder, "flat")),
        "only VMDK images in one sparse file",
    ),
    "a VMDK with extents elsewhere": (
        lambda folder: with_image(STREAM, reaching_vmdk(folder, "extents")),
        "refers to other files as its extents",
    ),
    "a VMDK above a file of the host": (
        lambda folder: with_image(STREAM, reaching_vmdk(folder, "parent")),
        "builds on another file",
    ),
    "a qcow2 above a file of the host": (
        lambda folder: with_image(QCOW2, reaching_qcow2(folder, "backing")),
        "the qcow2 image builds on another file",
    ),
    "a qcow2 with its data elsewhere": (
        lambda folder: with_image(QCOW2, reaching_qcow2(folder, "data")),
        "keeps its data in another file",
    ),
    "a differencing VHD": (
        lambda folder: with_image(VHD, differencing_vhd(folder)),
        "the package names no parent",
    ),
    "a VHD with a damaged footer": (
        lambda folder: with_image(VHD, image(folder, "vpc", b"x")[:-100] + b"\1" * 100),
        "footer is damaged",
    ),
    "a damaged VMDK": (
        lambda folder: with_image(
            STREAM, image(folder, "vmdk", b"x", options="subformat=streamOptimized")[:11000]
        ),
        "the image cannot be read",
    ),
    "content larger than its disk": (
        with_image("rawfilesystem", b"x" * 4096, "1024"),
        "4096 bytes, more than its capacity of 1024",
    ),
    "an archive of no archive": (with_image("cpiobz2", b"x" * 4096), "damaged"),
}
EXTENSION: dict[str, tuple[Case, str]] = {
    "an unknown property": (override("no-such", "1"), "property 'no-such' not found"),
    "a value of another type": (override("memory", "much"), "property 'memory' cannot be 'much'"),
    "a value that xenmgr refuses": (override("s3-mode", "dance"), "s3-mode"),
    "a program in dom0": (override("run-pre-boot", "reboot"), "has dom0 run a program: run-pre-boot"),
    "a bad v4v rule": (
        xci("<xci:V4VFirewall><xci:V4VRule>let me</xci:V4VRule></xci:V4VFirewall>"),
        "no '->' in the v4v rule",
    ),
    "a bad rpc rule": (
        xci("<xci:RpcFirewall><xci:RpcRule>let me</xci:RpcRule></xci:RpcFirewall>"),
        "an RpcRule cannot be read",
    ),
    "a template that is not there": (
        package(Descriptor(xci=section('<xci:VirtualMachine xci:ovfId="web" xci:templateId="nothing"/>'))),
        "template 'nothing'",
    ),
}


@pytest.mark.parametrize(
    "cases",
    [ARCHIVES, DESCRIPTORS, FILES, IMAGES, EXTENSION],
    ids=["archives", "descriptors", "files", "images", "extension"],
)
async def test_a_bad_package_is_refused_with_its_reason_and_leaves_nothing(
    it: Shop, tmp_path: Path, cases: dict[str, tuple[Case, str]]
) -> None:
    before = await it.state()
    wrong = {}
    for number, (case, (made, reason)) in enumerate(cases.items()):
        found = made(tmp_path) if callable(made) else made
        path = tmp_path / f"case-{number}.ova"
        if isinstance(found, Package):
            found.ova(path)
        else:
            path.write_bytes(found)
        result = await it.run("--import", path)
        if result.status != 1 or reason not in result.err or "Traceback" in result.err:
            wrong[case] = result
        assert await it.state() == before, case
    assert wrong == {}


@pytest.mark.parametrize(
    "info",
    [
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("hard", tarfile.LNKTYPE, "shop.ovf"),
        member("device", tarfile.CHRTYPE),
        member("fifo", tarfile.FIFOTYPE),
    ],
    ids=lambda info: info.name,
)
async def test_links_and_devices_in_an_archive_are_refused(
    it: Shop, tmp_path: Path, info: tarfile.TarInfo
) -> None:
    path = package(Descriptor()).ova(tmp_path / "a.ova", [info])
    before = await it.state()
    assert await it.fails("--import", path) == f"the archive's member {info.name!r} is no plain file"
    assert await it.state() == before


async def test_a_header_that_claims_gigabytes_is_not_believed(it: Shop, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 5 << 30
    buffer.write(info.tobuf(tarfile.USTAR_FORMAT))
    path = tmp_path / "a.ova"
    path.write_bytes(buffer.getvalue() + bytes(10240))
    assert "is no tar archive, or damaged" in await it.fails("--import", path)


async def test_a_link_out_of_a_folder_is_refused(it: Shop, tmp_path: Path) -> None:
    descriptor = package(one_disk("rawfilesystem")).folder(tmp_path / "p")
    (tmp_path / "p/a.img").symlink_to("/etc/hostname")
    assert await it.fails("--import", descriptor) == "'a.img' leads out of the package"


async def test_a_file_that_is_no_package_is_refused_by_its_name(it: Shop, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"x")
    assert "unknown file extension" in await it.fails("--import", tmp_path / "a.zip")
    assert "does not exist" in await it.fails("--import", tmp_path / "b.ova")
    (tmp_path / "c.ovf").mkdir()
    assert "is no file" in await it.fails("--import", tmp_path / "c.ovf")


async def test_files_of_the_host_are_read_for_trusted_packages_alone(it: Shop, tmp_path: Path) -> None:
    secret = it.desk.places.at("/config/secret")
    secret.write_bytes(b"s" * 512)
    path = package(one_disk("rawfilesystem", href="file:/config/secret")).ova(tmp_path / "a.ova")
    before = await it.state()
    assert "reads the file /config/secret of this host" in await it.fails("--import", path)
    assert await it.state() == before
