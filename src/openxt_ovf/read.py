# SPDX-License-Identifier: GPL-2.0-or-later
"""OVF descriptor → `Envelope`.  Pure.  OVF 1.x, 2.0, and 0.9 as far as early exporters used it.

What has an id is unique, what is a number is one, and what is named elsewhere need not be here: the plan
(`to_template`) looks names up.  Everything that is not understood but marked as required is refused.

Source: DMTF DSP0243 1.1.1 and 2.1.1, DSP8023 (the schema).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from openxt_core.errors import BadRequest
from openxt_ovf import read_hardware, read_xci
from openxt_ovf.model import Disk, Envelope, File, Network, Product, Property, System
from openxt_ovf.units import whole_number
from openxt_ovf.xml_tree import Node, parse

COMPRESSIONS = ("", "identity", "gzip")
PROPERTY_TYPES = {
    word.lower(): word
    for word in (
        *(f"{sign}int{bits}" for sign in "us" for bits in (8, 16, 32, 64)),
        *("Boolean", "String", "real32", "real64"),
    )
}
TRUE = ("true", "1")

_XCI_SECTION = "xci:ApplianceSection"
_CONTENTS = ("ovf:VirtualSystem", "ovf:VirtualSystemCollection")

# Sections that are read, and those that say nothing to a host like ours.
_READ = frozenset(
    f"ovf:{name}"
    for name in (
        "References", "DiskSection", "SharedDiskSection", "NetworkSection", "EulaSection", "ProductSection",
        "DeploymentOptionSection", "InstallSection", "EnvironmentFilesSection", "VirtualHardwareSection",
    )
) | {_XCI_SECTION, *_CONTENTS}  # fmt: skip
_PASSED_OVER = frozenset(
    f"ovf:{name}"
    for name in (
        "Info", "Name", "Strings", "AnnotationSection", "OperatingSystemSection", "StartupSection",
        "ResourceAllocationSection", "ScaleOutSection", "PlacementGroupSection", "PlacementSection",
        "BootDeviceSection", "SnapshotsSection",
    )
)  # fmt: skip

_MAX_DEPTH = 16


class _Named(Protocol):
    @property
    def id(self) -> str: ...


_N = TypeVar("_N", bound=_Named)


def read_envelope(data: bytes) -> Envelope:
    """Raises BadRequest naming what cannot be read."""
    root = parse(data)
    if root.name != "ovf:Envelope":
        raise BadRequest(f"OVF parser error: the document is {root.name!r:.80}, no OVF envelope")
    configuration = _default_configuration(root)
    xci = read_xci.read(list(root.all(_XCI_SECTION)))
    tops = list(root.all(*_CONTENTS))
    if not tops:
        raise BadRequest(
            "OVF parser error: the envelope holds no VirtualSystem and no VirtualSystemCollection"
        )
    return Envelope(
        files=unique(
            "File", (_file(node) for part in root.all("ovf:References") for node in part.all("ovf:File"))
        ),
        disks=unique("Disk", _disks(root)),
        networks=tuple(_networks(root)),
        licences=tuple(_licences(root)),
        systems=unique("VirtualSystem", _systems(tops, configuration)),
        xci=xci,
        warnings=tuple(_warnings(root)),
    )


def unique(what: str, things: Iterable[_N]) -> tuple[_N, ...]:
    """Raises BadRequest for an id that is missing or used twice."""
    found: dict[str, _N] = {}
    for thing in things:
        if not thing.id:
            raise BadRequest(f"OVF parser error: a {what} has no id")
        if thing.id in found:
            raise BadRequest(f"OVF parser error: two {what} elements have the id {thing.id[:80]!r}")
        found[thing.id] = thing
    return tuple(found.values())


def _file(node: Node) -> File:
    id = node.get("ovf:id")
    href = node.get("ovf:href")
    if not href:
        raise BadRequest(f"OVF parser error: File {id[:80]!r} has no href")
    compression = node.get("ovf:compression")
    if compression not in COMPRESSIONS:
        raise BadRequest(f"File {id[:80]!r}: compression {compression[:40]!r} is not supported, only gzip is")
    size = whole_number(node.get("ovf:size"), f"size of File {id!r:.80}")
    chunk = whole_number(node.get("ovf:chunkSize"), f"chunkSize of File {id!r:.80}")
    return File(id, href, size, compression, chunk or None)


def _disks(root: Node) -> Iterator[Disk]:
    for section in root.all("ovf:DiskSection", "ovf:SharedDiskSection"):
        is_shared = section.name == "ovf:SharedDiskSection"
        for node in section.all("ovf:Disk"):
            yield Disk(
                id=node.get("ovf:diskId"),
                file=node.get("ovf:fileRef"),
                capacity=node.get("ovf:capacity"),
                units=node.get("ovf:capacityAllocationUnits") or "byte",
                format=node.get("ovf:format"),
                parent=node.get("ovf:parentRef"),
                is_shared=is_shared,
            )


def _networks(root: Node) -> Iterator[Network]:
    for section in root.all("ovf:NetworkSection"):
        for node in section.all("ovf:Network"):
            yield Network(node.get("ovf:name"), node.text_of("ovf:Description"))


def _default_configuration(root: Node) -> str:
    """The one that is marked, else the first; "" without any.  Source: DSP0243, DeploymentOptionSection."""
    section = root.first("ovf:DeploymentOptionSection")
    found = list(section.all("ovf:Configuration")) if section else []
    marked = [one for one in found if one.get("ovf:default") in TRUE]
    return (marked or found)[0].get("ovf:id") if found else ""


def _contents(tops: Sequence[Node], depth: int = 1) -> Iterator[Node]:
    """Collections and systems, each before what is inside."""
    if depth > _MAX_DEPTH:
        raise BadRequest("OVF parser error: VirtualSystemCollections are nested too deep")
    for node in tops:
        yield node
        if node.name == "ovf:VirtualSystemCollection":
            yield from _contents(list(node.all(*_CONTENTS)), depth + 1)


def _licences(root: Node) -> Iterator[str]:
    """Of the package, its collections and its systems: earlier versions of OVF have them there."""
    for part in (root, *_contents(list(root.all(*_CONTENTS)))):
        for section in part.all("ovf:EulaSection"):
            for node in section.all("ovf:License"):
                yield node.text


def _systems(tops: Sequence[Node], configuration: str) -> Iterator[System]:
    for node in _contents(tops):
        if node.name == "ovf:VirtualSystem":
            yield _system(node, configuration)


def _system(node: Node, configuration: str) -> System:
    id = node.get("ovf:id")
    hardware = read_hardware.chosen(node)
    install = node.first("ovf:InstallSection")
    files = (file for part in node.all("ovf:EnvironmentFilesSection") for file in part.all("ovf:File"))
    transport = (
        *(hardware.get("ovf:transport").split() if hardware else ()),
        *node.get("ovf:transport").split(),
    )
    return System(
        id=id,
        name=node.text_of("ovf:Name"),
        info=node.text_of("ovf:Info"),
        transport=transport,
        products=tuple(_product(part, configuration) for part in node.all("ovf:ProductSection")),
        install_delay_s=None if install is None else _delay(install, id),
        environment_files=tuple((file.get("ovf:fileRef"), file.get("ovf:path")) for file in files),
        items=read_hardware.items(hardware, configuration, id) if hardware else (),
        firmware=read_hardware.firmware(node, hardware),
    )


def _delay(install: Node, id: str) -> int:
    return whole_number(install.get("ovf:initialBootStopDelay"), f"initialBootStopDelay of {id!r:.80}") or 0


def _product(node: Node, configuration: str) -> Product:
    properties = (_property(one, configuration) for one in node.all("ovf:Property"))
    return Product(node.get("ovf:class"), node.get("ovf:instance"), tuple(properties))


def _property(node: Node, configuration: str) -> Property:
    key = node.get("ovf:key")
    if not key:
        raise BadRequest("OVF parser error: a Property of a ProductSection has no key")
    word = node.get("ovf:type")
    return Property(
        key=key,
        type=PROPERTY_TYPES.get(word.lower(), "String"),
        value=_property_value(node, configuration),
        is_user_configurable=node.get("ovf:userConfigurable").lower() in TRUE,
        is_password=node.get("ovf:password").lower() in TRUE or word.startswith("password"),
        description=node.text_of("ovf:Description") or node.text_of("ovf:Label"),
    )


def _property_value(node: Node, configuration: str) -> str:
    """The value of the configuration in force, where there is one of its own."""
    for value in node.all("ovf:Value"):
        if configuration and value.get("ovf:configuration") == configuration:
            return value.attributes.get("ovf:value", "")
    return node.attributes.get("ovf:value", node.attributes.get("value", ""))


def _warnings(root: Node) -> Iterator[str]:
    """What is passed over.  Raises BadRequest for what may not be."""
    for part in (root, *_contents(list(root.all(*_CONTENTS)))):
        for node in part.children:
            if node.name in _READ or node.name in _PASSED_OVER:
                continue
            if node.name == "ovf:EncryptionSection":
                raise BadRequest("the package is encrypted (EncryptionSection), which is not supported")
            if node.get("ovf:required") in TRUE:
                raise BadRequest(f"the package requires {node.name!r:.120}, which is not supported")
            if not node.get("ovf:required"):
                yield f"{node.name!r:.120} is not understood and passed over"
