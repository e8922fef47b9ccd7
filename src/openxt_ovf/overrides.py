# SPDX-License-Identifier: GPL-2.0-or-later
"""Property overrides of a package: names and texts → typed settings.  Pure.

A name is `property` or `interface.property`; values are written as for xec.  Of several interfaces with a
property the unrestricted one counts: an appliance is installed by dom0, whatever policy says to users.
"""

from collections.abc import Iterable, Sequence

from openxt_api.vm_disk import VMDISK
from openxt_api.vm_nic import VMNIC
from openxt_api.xenmgr_vm import FILE as VM_FILE
from openxt_bus.values import value_of
from openxt_core.errors import BadRequest, InvalidArgs
from openxt_core.signature import Variant
from openxt_core.spec import Interface
from openxt_ovf.model import Item
from openxt_ovf.plan import Setting

VM = VM_FILE.interfaces
NIC = (VMNIC,)
DISK = (VMDISK,)
PREFERRED = ".unrestricted"


def settings(
    pairs: Iterable[tuple[str, str]], interfaces: Sequence[Interface], where: str
) -> tuple[Setting, ...]:
    """Raises BadRequest for a property that does not exist, cannot be written, or cannot have the value."""
    return tuple(_setting(name, text, interfaces, where) for name, text in pairs)


def _setting(name: str, text: str, interfaces: Sequence[Interface], where: str) -> Setting:
    wanted, _, plain = name.rpartition(".")
    having = [one for one in interfaces if plain in one.property and wanted in ("", one.name)]
    if not having:
        raise BadRequest(f"{where}: property {name[:80]!r} not found")
    interface = next((one for one in having if one.name.endswith(PREFERRED)), having[0])
    found = interface.property[plain]
    if not found.writable:
        raise BadRequest(f"{where}: property {name[:80]!r} cannot be written")
    try:
        value = value_of(text, found.type)
    except InvalidArgs as error:
        raise BadRequest(f"{where}: property {name[:80]!r} cannot be {text[:60]!r}: {error}") from None
    return Setting(interface.name, plain, Variant(found.type, value))


def refuse_unknown(instances: Iterable[str], items: Iterable[Item], where: str) -> None:
    """Raises BadRequest for an override of an item that is not there."""
    known = {item.instance for item in items}
    for instance in instances:
        if instance not in known:
            raise BadRequest(f"{where} has no such item: {instance[:40]!r}")
