# SPDX-License-Identifier: GPL-2.0-or-later
"""The OVF environment document: what an appliance's guest reads its settings from.  Pure.

Both xenmgr (`get_ovf_env_xml`) and apptool (`--genenvdoc`, `--genenviso`) give it.  Its facts are in two
places of the database, which the caller reads: `/appliance` says which VMs belong together and what they are
called in their package, `/vm/<uuid>/productproperty` what was asked and answered for each.

Source: DMTF DSP0243 2.1.1, clause 11, and DSP8027 (the schema).
"""

from collections.abc import Callable, Mapping
from typing import Any

from openxt_core.errors import BadRequest
from openxt_core.ids import Uuid

NAMESPACE = "http://schemas.dmtf.org/ovf/environment/1"
PLATFORM = "XenClient XT"

Tree = Mapping[str, Any]


def environment(appliances: Tree, uuid: Uuid, product_properties: Callable[[str], Tree]) -> str:
    """The environment of a VM; `product_properties` gives what the database has for a VM of the appliance.

    Raises BadRequest for a VM outside any appliance.
    """
    systems = systems_beside(appliances, uuid)
    own = systems.pop(uuid)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<Environment xmlns="{NAMESPACE}" xmlns:ovfenv="{NAMESPACE}" ovfenv:id={_quoted(own)}>',
        f"  <PlatformSection>\n    <Kind>{PLATFORM}</Kind>\n  </PlatformSection>",
        *_property_section(product_properties(uuid), "  "),
    ]
    for other, name in systems.items():
        lines.append(f"  <Entity ovfenv:id={_quoted(name)}>")
        lines += [*_property_section(product_properties(other), "    "), "  </Entity>"]
    return "\n".join((*lines, "</Environment>", ""))


def systems_beside(appliances: Tree, uuid: Uuid) -> dict[str, str]:
    """VM uuid → its name in the package, of all VMs of the appliance that has `uuid`.  Raises BadRequest."""
    for appliance in appliances.values():
        vms = appliance.get("vm") if isinstance(appliance, Mapping) else None
        if isinstance(vms, Mapping) and uuid in vms:
            return {vm: str(tree.get("id", "")) for vm, tree in vms.items() if isinstance(tree, Mapping)}
    raise BadRequest(f"VM {uuid} does not belong to any appliance")


def _property_section(properties: Tree, indent: str) -> list[str]:
    rows = [
        f"{indent}  <Property ovfenv:key={_quoted(_key(id, one))} ovfenv:value={_value(one)}/>"
        for id, one in properties.items()
        if isinstance(one, Mapping)
    ]
    return [f"{indent}<PropertySection>", *rows, f"{indent}</PropertySection>"] if rows else []


def property_id(class_: str, key: str, instance: str) -> str:
    """What a product property is called: `[class.]key[.instance]`."""
    return ".".join(part for part in (class_, key, instance) if part)


def _key(id: str, entry: Tree) -> str:
    if not entry.get("key"):
        return id
    return property_id(*(str(entry.get(name, "")) for name in ("class", "key", "instance")))


def _value(entry: Tree) -> str:
    return _quoted(str(entry.get("value", "")))


def _quoted(text: str) -> str:
    """An attribute's value; what XML cannot hold is replaced.  Line breaks stay line breaks."""
    allowed = "".join(char if _is_char(ord(char)) else "\N{REPLACEMENT CHARACTER}" for char in text)
    return f'"{allowed.translate(_ESCAPES)}"'


# By hand: xml.sax.saxutils loads urllib and email, which costs more than all of this.
_ESCAPES = str.maketrans({char: f"&#{ord(char)};" for char in '&<>"\n\r\t'})


def _is_char(code: int) -> bool:
    """Source: XML 1.0, production 2."""
    return code in (0x9, 0xA, 0xD) or 0x20 <= code < 0xD800 or 0xE000 <= code < 0xFFFE or code >= 0x10000
