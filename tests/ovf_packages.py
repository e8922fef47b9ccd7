# SPDX-License-Identifier: GPL-2.0-or-later
"""Packages to import, made by the test that needs them: descriptors, images, archives, manifests."""

import hashlib
import io
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

STREAM = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
VHD = "http://technet.microsoft.com/en-us/virtualserver/bb676673.aspx"
QCOW2 = "http://www.gnome.org/~markmc/qcow-image-format.html"

CIM = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_"
HEAD = f"""<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:rasd="{CIM}ResourceAllocationSettingData" xmlns:vssd="{CIM}VirtualSystemSettingData"
  xmlns:sasd="{CIM}StorageAllocationSettingData.xsd" xmlns:epasd="{CIM}EthernetPortAllocationSettingData.xsd"
  xmlns:vmw="http://www.vmware.com/schema/ovf" xmlns:vbox="http://www.virtualbox.org/ovf/machine"
  xmlns:xci="http://www.citrix.com/xenclient/ovf/1" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
"""


def item(instance: int | str, resource: int, more: str = "", kind: str = "Item", prefix: str = "rasd") -> str:
    """A hardware item; `more` as `Name=value` words, a blank in a value as `_`."""
    fields = {"ElementName": f"item {instance}", "InstanceID": str(instance), "ResourceType": str(resource)}
    fields |= dict(word.replace("_", " ").split("=", 1) for word in more.split())
    inner = "".join(f"<{prefix}:{name}>{value}</{prefix}:{name}>" for name, value in fields.items())
    return f"<{kind}>{inner}</{kind}>"


@dataclass
class Descriptor:
    """An envelope in its parts; what a test is about it replaces."""

    files: str = ""
    disks: str = ""
    networks: str = '<Network ovf:name="VM Network"/>'
    items: str = item(1, 3, "VirtualQuantity=2") + item(2, 4, "AllocationUnits=byte*2^20 VirtualQuantity=64")
    system: str = ""
    envelope: str = ""
    xci: str = ""
    id: str = "web"
    name: str = "Web server"
    hardware: str = ""

    def text(self) -> str:
        name = f"<Name>{self.name}</Name>" if self.name else ""
        return (
            f"{HEAD}<References>{self.files}</References>"
            f"<DiskSection><Info/>{self.disks}</DiskSection>"
            f"<NetworkSection><Info/>{self.networks}</NetworkSection>{self.envelope}"
            f'<VirtualSystem ovf:id="{self.id}"><Info/>{name}{self.system}'
            f"<VirtualHardwareSection{self.hardware}><Info/>{self.items}</VirtualHardwareSection></VirtualSystem>"
            f"{self.xci}</Envelope>"
        )

    def data(self) -> bytes:
        return self.text().encode()


def section(inner: str, id: str = "shop", version: str = "1") -> str:
    return (
        f'<xci:ApplianceSection xci:applianceId="{id}" xci:version="{version}"><Info/>{inner}'
        "</xci:ApplianceSection>"
    )


@dataclass
class Package:
    """Members by name, in order, and the descriptor's name."""

    members: dict[str, bytes] = field(default_factory=dict)

    def manifest(self, algorithm: str = "sha256", shape: str = "{0}({1})= {2}\n") -> bytes:
        return "".join(
            shape.format(algorithm.upper(), name, hashlib.new(algorithm, data).hexdigest())
            for name, data in self.members.items()
        ).encode()

    def folder(self, path: Path) -> Path:
        """Its descriptor, in a folder with the rest."""
        for name, data in self.members.items():
            target = path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        return next(path / name for name in self.members if name.endswith(".ovf"))

    def ova(self, path: Path, extra: Iterable[tarfile.TarInfo] = ()) -> Path:
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for name, data in self.members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            for info in extra:
                tar.addfile(info, io.BytesIO(b"x" * info.size))
        return path


def package(
    descriptor: Descriptor | bytes, files: Mapping[str, bytes] | None = None, name: str = "shop"
) -> Package:
    data = descriptor if isinstance(descriptor, bytes) else descriptor.data()
    return Package({f"{name}.ovf": data, **(files or {})})


def image(folder: Path, format: str, content: bytes, size: str = "2M", options: str = "") -> bytes:
    """A disk image of this format that begins with `content`, made by the real qemu-img."""
    raw, made = folder / "image.source", folder / f"image.{format}"
    raw.write_bytes(content)
    with open(raw, "r+b") as file:
        file.truncate(int(size.removesuffix("M")) << 20)
    words = ["qemu-img", "convert", "-q", "-f", "raw", "-O", format]
    words += ["-o", options] if options else []
    subprocess.run([*words, raw, made], check=True)
    return made.read_bytes()


def content_of(path: Path | str, size: int = 64, format: str = "vpc") -> bytes:
    """The first bytes of an image's disk, as qemu-img reads them."""
    out = Path(f"{path}.read")
    subprocess.run(["qemu-img", "convert", "-q", "-f", format, "-O", "raw", path, out], check=True)
    try:
        return out.read_bytes()[:size]
    finally:
        out.unlink()
