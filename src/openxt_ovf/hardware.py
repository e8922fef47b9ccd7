# SPDX-License-Identifier: GPL-2.0-or-later
"""Processors, memory and MAC addresses of a system: items → numbers for xenmgr.  Pure.

Source: DMTF DSP0243 and CIM_ResourceAllocationSettingData; VMware and VirtualBox write the variants.
"""

import re

from openxt_core.errors import BadRequest
from openxt_core.signature import Variant
from openxt_ovf import overrides
from openxt_ovf.model import Item, Resource, System
from openxt_ovf.plan import Setting
from openxt_ovf.units import MIB, mib, size_bytes

DEFAULT_MEMORY_MIB = 512
MAX_VCPUS = 128
MAX_MEMORY_MIB = 16 << 20  # 16 TiB

_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}\Z")


def vcpus(system: System) -> int:
    """Raises BadRequest for more than there can be."""
    found = sum(item.quantity or 0 for item in system.items if item.resource == Resource.PROCESSOR) or 1
    if found > MAX_VCPUS:
        raise BadRequest(f"{system.id!r:.80} wants {found} processors; {MAX_VCPUS} at most are possible")
    return found


def cores(system: System) -> tuple[Setting, ...]:
    """VMware's cores per socket, where the processors can be shared out so."""
    wanted = {item.cores_per_socket for item in system.items if item.resource == Resource.PROCESSOR}
    number = wanted.pop() if len(wanted) == 1 else None
    if not number or vcpus(system) % number:
        return ()
    return (Setting(overrides.VM[0].name, "cores-per-socket", Variant("i", number)),)


def memory_mib(system: System) -> int:
    """In MiB, rounded up.  A number without unit that is no sensible number of bytes is one of MiB."""
    items = [item for item in system.items if item.resource == Resource.MEMORY and item.quantity]
    size = mib(sum(_memory_bytes(item) for item in items)) if items else DEFAULT_MEMORY_MIB
    if size > MAX_MEMORY_MIB:
        raise BadRequest(f"{system.id!r:.80} wants {size} MiB of memory, more than is possible")
    return size


def _memory_bytes(item: Item) -> int:
    quantity = item.quantity or 0
    if not item.units:
        return quantity if quantity >= MIB else quantity * MIB
    return size_bytes(quantity, item.units)


def mac(text: str, where: str) -> str:
    """With colons; VirtualBox writes none, others dashes.  Raises BadRequest."""
    plain = text.lower().replace("-", ":")
    if len(plain) == 12:
        plain = ":".join(plain[at : at + 2] for at in range(0, 12, 2))
    if not _MAC.match(plain):
        raise BadRequest(f"{where}: {text[:40]!r} is no MAC address")
    return plain
