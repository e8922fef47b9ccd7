# SPDX-License-Identifier: GPL-2.0-or-later
"""The XCI extension of OVF → `Xci`: what an appliance wants of a XenClient host.  Pure.

Strict: an unknown element or a missing attribute is an error, as it decides what a guest may do.
Source: OpenXT apptool 1.0, `xciovf.xsd`.
"""

from collections.abc import Callable, Iterator, Sequence

from openxt_core.errors import BadRequest
from openxt_core.ids import parse_uuid
from openxt_ovf.model import DbEntry, Key, Overrides, PciMatch, Xci, XciDisk, XciSystem
from openxt_ovf.units import whole_number
from openxt_ovf.xml_tree import Node

KEY_BITS = (256, 512)
FILESYSTEMS = ("ext2", "ext3", "ext4", "minix", "ntfs", "swap")
DB_SECTIONS = ("vm", "vm-domstore")
MAX_VERSION = (1 << 31) - 1
ANY = ("", "any")


def read(sections: Sequence[Node]) -> Xci:
    """Raises BadRequest.  Without the section everything has its default."""
    if not sections:
        return Xci()
    if len(sections) > 1:
        raise BadRequest("there are two xci:ApplianceSections")
    (section,) = sections
    _expect(section, "Disk", "Network", "VirtualMachine")
    return Xci(
        appliance_id=section.get("xci:applianceId"),
        version=whole_number(section.get("xci:version"), "xci:version", MAX_VERSION),
        disks=tuple(_disk(node) for node in section.all("xci:Disk")),
        networks=tuple(
            (_need(node, "name"), node.get("xci:clientNetworkId")) for node in section.all("xci:Network")
        ),
        systems=_systems(section),
    )


def _expect(node: Node, *children: str) -> None:
    for child in node.children:
        if child.name not in {f"xci:{name}" for name in children} | {"ovf:Info"}:
            raise BadRequest(f"{child.name!r:.80} is not known inside {node.name}")


def _need(node: Node, name: str) -> str:
    value = node.get(f"xci:{name}")
    if not value:
        raise BadRequest(f"{node.name} has no attribute xci:{name}")
    return value


def _disk(node: Node) -> XciDisk:
    _expect(node, "GenerateEncryptionKey", "ImportEncryptionKey")
    filesystem = node.get("xci:filesystem")
    if filesystem and filesystem not in FILESYSTEMS:
        raise BadRequest(
            f"xci:filesystem cannot be {filesystem[:40]!r}: allowed are {', '.join(FILESYSTEMS)}"
        )
    keys = [_key(child) for child in node.all("xci:GenerateEncryptionKey", "xci:ImportEncryptionKey")]
    if len(keys) > 1:
        raise BadRequest(f"xci:Disk {node.get('xci:ovfId')!r:.80} has two encryption keys")
    return XciDisk(_need(node, "ovfId"), filesystem, keys[0] if keys else None)


def _key(node: Node) -> Key:
    if node.name == "xci:ImportEncryptionKey":
        return Key(file=_need(node, "fileRef"))
    bits = node.get("xci:keySize") or "512"
    if bits not in map(str, KEY_BITS):
        raise BadRequest(f"xci:keySize cannot be {bits[:40]!r}: allowed are 256 and 512")
    return Key(bits=int(bits))


def _systems(section: Node) -> tuple[XciSystem, ...]:
    found = tuple(_system(node) for node in section.all("xci:VirtualMachine"))
    _refuse_twice([one.id for one in found], "ovfId")
    _refuse_twice([one.uuid for one in found], "uuid")
    return found


def _refuse_twice(values: Sequence[str], name: str) -> None:
    given = [value for value in values if value]
    for value in given:
        if given.count(value) > 1:
            raise BadRequest(f"two xci:VirtualMachine elements have the {name} {value[:80]!r}")


_PARTS = (
    "PropertyOverride", "V4VFirewall", "RpcFirewall", "PCIPassthrough", "NetworkAdapter", "StorageDevice",
    "DBEntry", "DomStoreFile",
)  # fmt: skip


def _system(node: Node) -> XciSystem:
    _expect(node, *_PARTS)
    uuid = node.get("xci:uuid")
    return XciSystem(
        id=_need(node, "ovfId"),
        template=node.get("xci:templateId"),
        uuid=parse_uuid(uuid) if uuid else "",
        properties=_properties(node),
        v4v_rules=_texts(node, "V4VFirewall", "V4VRule"),
        rpc_rules=_texts(node, "RpcFirewall", "RpcRule"),
        pci=tuple(_each(node, "PCIPassthrough", _pci, "MatchBDF", "MatchID")),
        nics=tuple(_overrides(one) for one in node.all("xci:NetworkAdapter")),
        disks=tuple(_overrides(one) for one in node.all("xci:StorageDevice")),
        db_entries=tuple(_db_entry(one) for one in node.all("xci:DBEntry")),
        domstore_files=tuple(_need(one, "fileRef") for one in node.all("xci:DomStoreFile")),
    )


def _each(node: Node, part: str, make: Callable[[Node], PciMatch], *children: str) -> Iterator[PciMatch]:
    for one in node.all(f"xci:{part}"):
        _expect(one, *children)
        yield from (make(child) for child in one.all(*(f"xci:{name}" for name in children)))


def _texts(node: Node, part: str, child: str) -> tuple[str, ...]:
    found = []
    for one in node.all(f"xci:{part}"):
        _expect(one, child)
        found += [text.text for text in one.all(f"xci:{child}")]
    return tuple(found)


def _properties(node: Node) -> tuple[tuple[str, str], ...]:
    found = []
    for part in node.all("xci:PropertyOverride"):
        _expect(part, "Property")
        for one in part.all("xci:Property"):
            if "xci:value" not in one.attributes and "value" not in one.attributes:
                raise BadRequest(f"xci:Property {one.get('xci:name')!r:.80} has no attribute xci:value")
            value = one.attributes.get("xci:value", one.attributes.get("value", ""))
            found.append((_need(one, "name"), value))
    return tuple(found)


def _overrides(node: Node) -> Overrides:
    _expect(node, "PropertyOverride")
    return Overrides(_need(node, "ovfInstanceId"), _properties(node))


def _pci(node: Node) -> PciMatch:
    if node.name == "xci:MatchBDF":
        return PciMatch(bdf=_need(node, "bdf"))
    words = {name: _pci_number(node, name) for name in ("class", "vendor", "device")}
    if not any(words.values()):
        raise BadRequest("xci:MatchID names no class, vendor or device: it would take every device")
    return PciMatch("", words["class"], words["vendor"], words["device"])


def _pci_number(node: Node, name: str) -> str:
    """As `0x1234`; "" for any."""
    text = node.get(f"xci:{name}").lower()
    if text in ANY:
        return ""
    try:
        number = int(text, 16 if text.startswith("0x") else 10)
    except ValueError:
        number = -1
    if not 0 <= number <= 0xFFFF:
        raise BadRequest(
            f"xci:{name} of xci:MatchID cannot be {text[:40]!r}: a number up to 0xffff is expected"
        )
    return f"0x{number:04x}"


def _db_entry(node: Node) -> DbEntry:
    section = node.get("xci:section") or DB_SECTIONS[0]
    if section not in DB_SECTIONS:
        raise BadRequest(f"xci:section cannot be {section[:40]!r}: allowed are {', '.join(DB_SECTIONS)}")
    key = _need(node, "key").strip("/")
    if not all(key.split("/")):
        raise BadRequest(f"xci:key {key[:80]!r} is no path in the database")
    return DbEntry(section, key, node.attributes.get("xci:value", node.attributes.get("value", "")))
