# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual hardware of a system: which section, which items of it, and what each says.  Pure.

Items are of OVF 1 (`Item`), or of OVF 2 with kinds of their own (`StorageItem`, `EthernetPortItem`); their
elements have the same names in other namespaces, so namespaces are not asked.
"""

from collections.abc import Iterator

from openxt_core.errors import BadRequest
from openxt_ovf.model import Item
from openxt_ovf.units import whole_number
from openxt_ovf.xml_tree import Node

ITEMS = ("ovf:Item", "ovf:StorageItem", "ovf:EthernetPortItem")
READ_ONLY = "1"  # CIM_StorageAllocationSettingData.Access: 1 read, 2 write, 3 both


def chosen(system: Node) -> Node | None:
    """The hardware section for a Xen host where there is one, else the first."""
    sections = list(system.all("ovf:VirtualHardwareSection"))
    return next((one for one in sections if "xen" in _kind(one)), sections[0] if sections else None)


def _kind(section: Node) -> str:
    described = section.first("ovf:System")
    return "" if described is None else _fields(described).get("VirtualSystemType", "").lower()


def _fields(item: Node) -> dict[str, str]:
    """Texts by local name; of several the first.  OVF 0.9 writes `InstanceId`."""
    found: dict[str, str] = {}
    for child in item.children:
        found.setdefault(child.name.rpartition(":")[2].rpartition("}")[2], child.text)
    if "InstanceId" in found:
        found.setdefault("InstanceID", found["InstanceId"])
    return found


def items(section: Node, configuration: str, system: str) -> tuple[Item, ...]:
    """Items of the configuration in force, by InstanceID.  Raises BadRequest.

    An item that names configurations counts in those alone, and there replaces the one of its InstanceID.
    """
    found: dict[str, Item] = {}
    for node in _in_force(section, configuration):
        item = _item(node, system)
        replaces = bool(node.get("ovf:configuration"))
        if item.instance in found and not replaces:
            raise BadRequest(
                f"VirtualSystem {system!r:.80}: two items have the InstanceID {item.instance!r:.40}"
            )
        found[item.instance] = item
    return tuple(sorted(found.values(), key=lambda item: instance_order(item.instance)))


def _in_force(section: Node, configuration: str) -> Iterator[Node]:
    """Those for every configuration first.  Ranges (`bound`: min, max) are no items of their own."""
    nodes = [node for node in section.all(*ITEMS) if node.get("ovf:bound", "normal") in ("", "normal")]
    yield from (node for node in nodes if not node.get("ovf:configuration"))
    yield from (node for node in nodes if configuration in node.get("ovf:configuration").split())


def instance_order(instance: str) -> tuple[int, int, str]:
    """Numbers in their order, then texts."""
    is_number = instance.isascii() and instance.isdigit() and len(instance) < 20
    return (0, int(instance), "") if is_number else (1, 0, instance)


def _item(node: Node, system: str) -> Item:
    fields = _fields(node)
    instance = fields.get("InstanceID", "")
    if not instance:
        raise BadRequest(f"VirtualSystem {system!r:.80}: an item has no InstanceID")
    what = f"of item {instance!r:.40} of VirtualSystem {system!r:.80}"
    return Item(
        instance=instance,
        resource=whole_number(fields.get("ResourceType", ""), f"ResourceType {what}") or 0,
        name=fields.get("ElementName") or fields.get("Caption", ""),
        quantity=whole_number(fields.get("VirtualQuantity", ""), f"VirtualQuantity {what}"),
        units=fields.get("AllocationUnits", ""),
        connection=fields.get("Connection", ""),
        host_resource=fields.get("HostResource", ""),
        address=fields.get("Address", ""),
        parent=fields.get("Parent", ""),
        address_on_parent=_lenient(fields.get("AddressOnParent", "")),
        is_automatic=fields.get("AutomaticAllocation", "").lower() not in ("false", "0"),
        is_read_only=fields.get("Access", "") == READ_ONLY,
        cores_per_socket=_lenient(fields.get("CoresPerSocket", "")),
    )


def _lenient(text: str) -> int | None:
    """A number that only puts things in order, or says something about them: none is as good as a bad one."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def firmware(system: Node, hardware: Node | None) -> str:
    """`efi`, `bios` or "".  VMware says it among its settings, VirtualBox in a description of its own."""
    for node in hardware.all("vmw:Config") if hardware else ():
        if node.get("vmw:key") == "firmware":
            return node.get("vmw:value").lower()
    for machine in system.all("vbox:Machine"):
        for node in _descendants(machine):
            if node.name.endswith(":Firmware") or node.name.endswith("}Firmware"):
                return "efi" if "efi" in node.get("vbox:type").lower() else "bios"
    return ""


def _descendants(node: Node) -> Iterator[Node]:
    for child in node.children:
        yield child
        yield from _descendants(child)
