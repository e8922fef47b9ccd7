# SPDX-License-Identifier: GPL-2.0-or-later
"""The door for XML from outside: bytes → a small frozen tree with names such as `ovf:Disk`.

No document type, no entities, nothing fetched; size, depth and number of elements are bounded.  Namespaces
are told apart by their URIs, of which exporters use several for the same thing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml import ElementTree as DefusedTree

from openxt_core.errors import BadRequest

MAX_BYTES = 16 << 20
MAX_DEPTH = 64
MAX_ELEMENTS = 200_000

_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_CIM = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_"
PREFIXES = {
    "http://schemas.dmtf.org/ovf/envelope/1": "ovf",
    "http://schemas.dmtf.org/ovf/envelope/2": "ovf",
    "http://schemas.dmtf.org/ovf/1/envelope": "ovf",  # drafts and early exporters
    "http://www.vmware.com/schema/ovf/1/envelope": "ovf",  # OVF 0.9
    f"{_CIM}ResourceAllocationSettingData": "rasd",
    f"{_CIM}StorageAllocationSettingData": "sasd",
    f"{_CIM}EthernetPortAllocationSettingData": "epasd",
    f"{_CIM}VirtualSystemSettingData": "vssd",
    "http://www.citrix.com/xenclient/ovf/1": "xci",
    "http://www.vmware.com/schema/ovf": "vmw",
    "http://www.virtualbox.org/ovf/machine": "vbox",
    _XSI: "xsi",
    "http://www.w3.org/XML/1998/namespace": "xml",
}


@dataclass(frozen=True, slots=True)
class Node:
    """An element.  What has a namespace unknown here keeps its URI, as `{uri}name`."""

    name: str
    text: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    children: tuple["Node", ...] = ()

    def get(self, name: str, default: str = "") -> str:
        """An attribute, without blanks around it; an unqualified one counts as one of the element's own."""
        value = self.attributes.get(name, self.attributes.get(name.partition(":")[2], default))
        return value.strip()

    def all(self, *names: str) -> Iterator["Node"]:
        return (child for child in self.children if child.name in names)

    def first(self, name: str) -> "Node | None":
        return next(self.all(name), None)

    def text_of(self, name: str) -> str:
        child = self.first(name)
        return "" if child is None else child.text


def parse(data: bytes) -> Node:
    """Raises BadRequest for what is no plain XML document."""
    if len(data) > MAX_BYTES:
        raise BadRequest(f"OVF parser error: the document has more than {MAX_BYTES >> 20} MiB")
    try:
        root = DefusedTree.fromstring(data, forbid_dtd=True)
    except DefusedXmlException as error:
        reason = type(error).__name__.removesuffix("Forbidden").removesuffix("s").lower()
        raise BadRequest(f"OVF parser error: a {reason} declaration is not allowed") from None
    except (ParseError, LookupError, ValueError) as error:
        raise BadRequest(f"OVF parser error: {error}") from None
    return _Reader().node(root, 1)


class _Reader:
    def __init__(self) -> None:
        self._count = 0

    def node(self, element: Element, depth: int) -> Node:
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_ELEMENTS:
            raise BadRequest("OVF parser error: too many elements, or nested too deep")
        return Node(
            _element_name(element),
            (element.text or "").strip(),
            {_short(name): value for name, value in element.attrib.items()},
            tuple(self.node(child, depth + 1) for child in element),
        )


def _element_name(element: Element) -> str:
    """OVF 0.9 calls sections `Section` and gives their kind as an XML Schema type; no prefix means ovf."""
    kind = element.get(f"{{{_XSI}}}type", "") if _local(element.tag) in ("Section", "Content") else ""
    name = _short(element.tag)
    if kind:
        name = "ovf:" + kind.rpartition(":")[2].removesuffix("_Type")
    return name if ":" in name else f"ovf:{name}"


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _short(name: str) -> str:
    """`{uri}local` → `prefix:local`; CIM's URIs have a `.xsd` in OVF 2, others may have a slash too much."""
    if name[:1] != "{":
        return name
    uri, _, local = name[1:].partition("}")
    prefix = PREFIXES.get(uri.rstrip("/").removesuffix(".xsd"))
    return f"{prefix}:{local}" if prefix else name
